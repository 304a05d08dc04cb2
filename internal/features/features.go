// Package features lists what OpenSSL versions after 3.0 introduced: groups,
// signature algorithms, types of keys, and extensions of TLS.
package features

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"strconv"
	"strings"
)

// Feature is a feature of OpenSSL that is newer than 3.0.
type Feature struct {
	Name  string
	Since uint32 // major and minor version: 0x305 is 3.5
}

const (
	since32 = 0x302
	since33 = 0x303
	since35 = 0x305
)

// What settings of their own turn on.
var (
	CertificateCompression = Feature{"certificate compression", since32}
	RawPublicKeys          = Feature{"a raw public key", since32}
)

// Names in lists, in lower case, and operators of the list syntax
// (SSL_CTX_set1_curves(3), section HISTORY; release notes of OpenSSL 3.2 and
// 3.5). docs/guide/openssl.md has the same table.
var (
	groups = map[string]uint32{
		"x25519mlkem768": since35, "secp256r1mlkem768": since35, "secp384r1mlkem1024": since35,
		"mlkem512": since35, "mlkem768": since35, "mlkem1024": since35,
		"brainpoolp256r1tls13": since32, "brainpoolp384r1tls13": since32, "brainpoolp512r1tls13": since32,
		"default": since35, "*": since35, "/": since35, "?": since33,
	}
	signatures = map[string]uint32{
		"mldsa44": since35, "mldsa65": since35, "mldsa87": since35,
		"ecdsa_brainpoolp256r1tls13_sha256": since32, "ecdsa_brainpoolp384r1tls13_sha384": since32,
		"ecdsa_brainpoolp512r1tls13_sha512": since32, "?": since33,
	}
	// By the last arc below 2.16.840.1.101.3.4.3 (FIPS 204).
	mldsa = map[int]string{17: "ML-DSA-44", 18: "ML-DSA-65", 19: "ML-DSA-87"}
)

// The operators of lists in OpenSSL 3.3 and 3.5.
const betweenNames, beforeName = ":/", "?*-"

// Names returns the names in a list, without operators.
func Names(list string) []string {
	items := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(betweenNames, r) })
	for i, item := range items {
		items[i] = strings.TrimLeft(strings.TrimSpace(item), beforeName)
	}
	return items
}

// MissingGroup returns the first group or operator in a list of groups that is
// newer than version; the zero value if there is none.
func MissingGroup(version uint32, list string) Feature { return missing(version, list, groups) }

// MissingSignature does the same for a list of signature algorithms.
func MissingSignature(version uint32, list string) Feature {
	return missing(version, list, signatures)
}

func missing(version uint32, list string, since map[string]uint32) Feature {
	for _, name := range Names(list) {
		if f := (Feature{name, since[strings.ToLower(name)]}); f.Since > version {
			return f
		}
	}
	// A name may contain "-" itself, but no other operator.
	for _, sign := range []string{"/", "*", "?"} {
		if since[sign] > version && strings.Contains(list, sign) {
			return Feature{strconv.Quote(sign) + " in a list", since[sign]}
		}
	}
	return Feature{}
}

// MissingKey checks the keys in PEM: those of certificates, and unencrypted
// private keys. It returns the first one whose type is newer than version, or
// the zero value, and the number of other keys.
func MissingKey(version uint32, data []byte) (first Feature, others int) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		name := mldsa[keyArc(block)]
		if name == "" || version >= since35 {
			others++
		} else if first.Name == "" {
			first = Feature{name, since35}
		}
	}
	return first, others
}

// nistSigAlgs is NIST's arc of signature algorithms; an ML-DSA key has the
// number of its algorithm.
var nistSigAlgs = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3}

// keyArc returns the number below nistSigAlgs of the key in a block, or 0.
func keyArc(block *pem.Block) int {
	type algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	var id asn1.ObjectIdentifier
	switch block.Type {
	case "CERTIFICATE", "TRUSTED CERTIFICATE":
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			var key struct {
				Algorithm algorithm
				Key       asn1.BitString
			}
			if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &key); err == nil {
				id = key.Algorithm.ID
			}
		}
	case "PRIVATE KEY": // PKCS #8, RFC 5958
		var key struct {
			Version   int
			Algorithm algorithm
			Key       []byte
			More      []asn1.RawValue `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(block.Bytes, &key); err == nil {
			id = key.Algorithm.ID
		}
	}
	if n := len(nistSigAlgs); len(id) == n+1 && id[:n].Equal(nistSigAlgs) {
		return id[n]
	}
	return 0
}
