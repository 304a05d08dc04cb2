// Package ja4 computes the JA4 fingerprint of a client from its ClientHello.
package ja4

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spacemonad/go-openssl/cssl"
)

// Fingerprint returns the JA4 fingerprint of h for TLS over TCP, such as
// t13d1516h2_8daaf6152771_e5627efa2ab1. All connections of a client program
// have the same one, even if it randomizes the order of its extensions. It
// proves nothing: a client can send the ClientHello of another program.
func Fingerprint(h *cssl.ClientHello) string {
	name := "i"
	if slices.Contains(h.Extensions, 0) { // server_name
		name = "d"
	}
	ciphers, extensions := hexOf(h.CipherSuites), hexOf(h.Extensions)
	head := fmt.Sprintf("t%s%s%02d%02d%s", version(h), name, min(len(ciphers), 99), min(len(extensions), 99), alpn(h))
	slices.Sort(ciphers)
	// The first part already contains server_name and ALPN.
	extensions = slices.DeleteFunc(extensions, func(s string) bool { return s == "0000" || s == "0010" })
	slices.Sort(extensions)
	rest := strings.Join(extensions, ",")
	if signatures := hexOf(h.SignatureAlgorithms); rest != "" && len(signatures) > 0 {
		rest += "_" + strings.Join(signatures, ",")
	}
	return head + "_" + hash(strings.Join(ciphers, ",")) + "_" + hash(rest)
}

// version returns the newest version that the client offers, as two characters.
func version(h *cssl.ClientHello) string {
	newest := cssl.TLSVersion(0)
	for _, v := range h.Versions {
		if !grease(uint16(v)) {
			newest = max(newest, v)
		}
	}
	switch newest {
	case cssl.TLS13:
		return "13"
	case cssl.TLS12:
		return "12"
	case cssl.TLS11:
		return "11"
	case cssl.TLS10:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// alpn returns the first and last character of the first protocol. If one of
// them is not alphanumeric, it takes them from the protocol in hexadecimal.
func alpn(h *cssl.ClientHello) string {
	if len(h.ALPN) == 0 || h.ALPN[0] == "" {
		return "00"
	}
	p := h.ALPN[0]
	if !alphanumeric(p[0]) || !alphanumeric(p[len(p)-1]) {
		p = hex.EncodeToString([]byte(p))
	}
	return p[:1] + p[len(p)-1:]
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// grease reports whether v is a GREASE value (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// hexOf formats numbers as four hexadecimal digits, without GREASE values.
func hexOf(numbers []uint16) []string {
	out := make([]string, 0, len(numbers))
	for _, n := range numbers {
		if !grease(n) {
			out = append(out, fmt.Sprintf("%04x", n))
		}
	}
	return out
}

func hash(s string) string {
	if s == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
