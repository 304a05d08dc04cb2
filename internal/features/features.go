// Package features lists what OpenSSL versions after 3.0 introduced: groups,
// signature algorithms, types of keys, and extensions of TLS.
package features

import (
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
	since36 = 0x306
	since40 = 0x400
)

// What settings of their own turn on.
var (
	CertificateCompression = Feature{"certificate compression", since32}
	RawPublicKeys          = Feature{"a raw public key", since32}
)

// UnauthenticatedPKCS12 is what PKCS12_parse(3) refused before.
var UnauthenticatedPKCS12 = Feature{"an encrypted PKCS#12 file without a MAC", since32}

// Names in lists, in lower case, and operators of the list syntax
// (SSL_CTX_set1_curves(3), section HISTORY; release notes of OpenSSL 3.2 and
// 3.5 to 4.0). TestFeatureTable compares docs/guide/openssl.md with it.
var (
	groups = map[string]uint32{
		"x25519mlkem768": since35, "secp256r1mlkem768": since35, "secp384r1mlkem1024": since35,
		"mlkem512": since35, "mlkem768": since35, "mlkem1024": since35,
		"brainpoolp256r1tls13": since32, "brainpoolp384r1tls13": since32, "brainpoolp512r1tls13": since32,
		"curvesm2": since40, "curvesm2mlkem768": since40,
		"default": since35, "*": since35, "/": since35, "?": since33,
	}
	signatures = map[string]uint32{
		"mldsa44": since35, "mldsa65": since35, "mldsa87": since35,
		"ecdsa_brainpoolp256r1tls13_sha256": since32, "ecdsa_brainpoolp384r1tls13_sha384": since32,
		"ecdsa_brainpoolp512r1tls13_sha512": since32, "sm2sig_sm3": since40, "?": since33,
	}
	suites = map[string]uint32{"tls_sm4_gcm_sm3": since40, "tls_sm4_ccm_sm3": since40} // RFC 8998
	// By the algorithm (FIPS 204) or, of EC keys, by the curve (RFC 8998,
	// section 3.2.1). Older versions know SM2 keys, but not in TLS.
	keys = map[string]Feature{
		"2.16.840.1.101.3.4.3.17": {"ML-DSA-44", since35},
		"2.16.840.1.101.3.4.3.18": {"ML-DSA-65", since35},
		"2.16.840.1.101.3.4.3.19": {"ML-DSA-87", since35},
		"1.2.156.10197.1.301":     {"SM2", since40},
	}
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

// MissingSuite does the same for a list of cipher suites of TLS 1.3.
func MissingSuite(version uint32, list string) Feature { return missing(version, list, suites) }

// MissingStaples does the same for so many OCSP responses of one chain.
func MissingStaples(version uint32, responses int) Feature {
	if responses > 1 && version < since36 {
		return Feature{"an OCSP response about an intermediate", since36}
	}
	return Feature{}
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
		f := keys[keyType(block)]
		if f.Since <= version {
			others++
		} else if first.Name == "" {
			first = f
		}
	}
	return first, others
}

// keyType returns the object identifier of the key in a block: of its curve if
// it is an EC key, of its algorithm otherwise.
func keyType(block *pem.Block) string {
	type algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	var a algorithm
	switch block.Type {
	case "CERTIFICATE", "TRUSTED CERTIFICATE":
		var c struct {
			Body struct {
				Version   asn1.RawValue `asn1:"optional,tag:0"`
				Serial    asn1.RawValue
				Signature algorithm
				Issuer    asn1.RawValue
				Validity  asn1.RawValue
				Subject   asn1.RawValue
				Key       struct {
					Algorithm algorithm
					Key       asn1.BitString
				}
			}
		}
		if _, err := asn1.Unmarshal(block.Bytes, &c); err == nil {
			a = c.Body.Key.Algorithm
		}
	case "PRIVATE KEY": // PKCS #8, RFC 5958
		var key struct {
			Version   int
			Algorithm algorithm
			Key       []byte
			More      []asn1.RawValue `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(block.Bytes, &key); err == nil {
			a = key.Algorithm
		}
	}
	var curve asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(a.Parameters.FullBytes, &curve); err == nil {
		return curve.String()
	}
	return a.ID.String()
}
