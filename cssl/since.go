package cssl

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// VersionError says that what was asked for needs a newer OpenSSL than the one that is linked. It is the Err of a
// [ConfigError], and [errors.Is] finds [errors.ErrUnsupported] in it.
type VersionError struct {
	// Feature is what was asked for, Needs the version that it came with ("3.5"), Linked the one that runs ("3.0.19").
	Feature, Needs, Linked string
}

// Error names all three.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s needs OpenSSL %s or newer, %s is linked", e.Feature, e.Needs, e.Linked)
}

// Is reports whether target is [errors.ErrUnsupported].
func (e *VersionError) Is(target error) bool { return target == errors.ErrUnsupported }

// feature is what came to OpenSSL after 3.0.
type feature struct {
	name  string
	since uint32 // as Release.series
}

const (
	since32 = 0x302
	since33 = 0x303
	since35 = 0x305
)

// The names that settings may hold, in lower case, and the signs of the lists' syntax (SSL_CTX_set1_curves(3),
// section HISTORY; the changes of OpenSSL 3.2 and 3.5 name the rest). docs/openssl.md has the same table for people.
var (
	groupsSince = map[string]uint32{
		"x25519mlkem768": since35, "secp256r1mlkem768": since35, "secp384r1mlkem1024": since35,
		"mlkem512": since35, "mlkem768": since35, "mlkem1024": since35,
		"brainpoolp256r1tls13": since32, "brainpoolp384r1tls13": since32, "brainpoolp512r1tls13": since32,
		"default": since35, "*": since35, "/": since35, "?": since33,
	}
	sigalgsSince = map[string]uint32{
		"mldsa44": since35, "mldsa65": since35, "mldsa87": since35,
		"ecdsa_brainpoolp256r1tls13_sha256": since32, "ecdsa_brainpoolp384r1tls13_sha384": since32,
		"ecdsa_brainpoolp512r1tls13_sha512": since32, "?": since33,
	}
	// By the last arc below 2.16.840.1.101.3.4.3 (FIPS 204).
	mldsa = map[int]string{17: "ML-DSA-44", 18: "ML-DSA-65", 19: "ML-DSA-87"}
)

// lacking is the VersionError for f, or nil if v has it.
func (v Release) lacking(f feature) error {
	if v.series() >= f.since {
		return nil
	}
	return &VersionError{Feature: f.name, Needs: fmt.Sprintf("%d.%d", f.since>>8, f.since&0xff), Linked: v.String()}
}

// The signs of the lists of OpenSSL 3.3 and 3.5.
const betweenNames, beforeName = ":/", "?*-"

// namesIn are the names of a list, without its signs.
func namesIn(list string) []string {
	items := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(betweenNames, r) })
	for i, item := range items {
		items[i] = strings.TrimLeft(strings.TrimSpace(item), beforeName)
	}
	return items
}

// lackingIn is the VersionError for the first sign or name in a list that v lacks, or nil.
func (v Release) lackingIn(list string, since map[string]uint32) error {
	for _, name := range namesIn(list) {
		if err := v.lacking(feature{name, since[strings.ToLower(name)]}); err != nil {
			return err
		}
	}
	// A name may hold a "-" itself, but none of the others.
	for _, sign := range []string{"/", "*", "?"} {
		if err := v.lacking(feature{strconv.Quote(sign) + " in a list", since[sign]}); err != nil && strings.Contains(list, sign) {
			return err
		}
	}
	return nil
}

// lackingKeys looks at the keys in PEM: of each certificate, and private ones that are not encrypted. It answers how many are of
// a kind that v has, and a VersionError for the first that is of another, or nil.
func (v Release) lackingKeys(data []byte) (others int, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		f := feature{name: mldsa[keyArc(block)], since: since35}
		if f.name == "" {
			others++
		} else if e := v.lacking(f); e == nil {
			others++
		} else if err == nil {
			err = e
		}
	}
	return others, err
}

// nistSigAlgs is the arc of signature algorithms that NIST gives numbers to; a key of ML-DSA has the number of its algorithm.
var nistSigAlgs = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3}

// keyArc is the number below nistSigAlgs of the key in a block, or 0.
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
