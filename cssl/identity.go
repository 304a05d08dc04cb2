package cssl

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// identity says which Contexts may resume each other's sessions: those of the same names, trust and demands. Without it, resumption with
// client certificates fails, or leaks from one server name to another. What changes with each renewal is not in it: dates, serial numbers,
// our keys, revocation lists (session.c looks those up anew).
func (b *builder) identity(certs []loaded, trust, crl []byte) [sha256.Size]byte {
	c := b.cfg
	var names, anchors [][]byte
	for _, cert := range certs {
		names = append(names, ownNames(cert.chain, b.server))
	}
	for _, block := range certificateBlocks(trust) {
		anchors = append(anchors, anchorOf(block))
	}
	demands := fmt.Sprint(c.Verify, c.VerifyDepth, b.systemCAs(trust), len(crl) > 0, c.VerifyPeer != nil, c.Properties)
	return sha256.Sum256(list(set(names), set(anchors), []byte(demands), []byte(c.CipherList), []byte(c.SignatureAlgorithms),
		[]byte(strings.Join(c.ALPN, "\x00"))))
}

// list puts parts into one, so that other parts give another one.
func list(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = fmt.Appendf(out, "%d:%s", len(p), p)
	}
	return out
}

// set is a list of parts whose order and number do not count.
func set(parts [][]byte) []byte {
	slices.SortFunc(parts, bytes.Compare)
	return list(slices.CompactFunc(parts, bytes.Equal)...)
}

// certificateBlocks returns the certificates in PEM that OpenSSL reads (certs.c).
// It returns p itself as the only one where encoding/pem and OpenSSL may see
// different ones: OpenSSL also reads a block behind a byte order mark or in the
// middle of an overlong line, and ends a block's type at a NUL.
func certificateBlocks(p []byte) (blocks [][]byte) {
	begun := bytes.Count(p, []byte("-----BEGIN"))
	for rest := p; ; begun-- {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && (begun != 0 || bytes.IndexByte(p, 0) >= 0):
			return [][]byte{p}
		case block == nil:
			return blocks
		}
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
			blocks = append(blocks, block.Bytes)
		}
	}
}

var oidAlternativeName = asn1.ObjectIdentifier{2, 5, 29, 17}

// ownNames is whom a chain's leaf is for. A server is known by its alternative names, or if there are none by its subject; a client by both.
// Without a name it is the key that is known. What cannot be read is only like itself.
func ownNames(chain []byte, server bool) []byte {
	blocks := certificateBlocks(chain)
	if len(blocks) == 0 {
		return chain
	}
	leaf, err := x509.ParseCertificate(blocks[0])
	if err != nil {
		return blocks[0]
	}
	var names [][]byte
	for _, e := range leaf.Extensions {
		var all, name asn1.RawValue
		if !e.Id.Equal(oidAlternativeName) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &all); err != nil {
			return blocks[0]
		}
		for rest := all.Bytes; len(rest) > 0; names = append(names, name.FullBytes) {
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return blocks[0]
			}
		}
	}
	var subject []byte
	if len(leaf.Subject.Names) > 0 && (!server || len(names) == 0) {
		subject = leaf.RawSubject
	}
	if len(names) == 0 && subject == nil {
		return leaf.RawSubjectPublicKeyInfo
	}
	return list(set(names), subject)
}

// anchorOf is what makes a CA: its name and its key (RFC 5280, section 6.1.1), so a CA that was renewed with its key is the same.
func anchorOf(certificate []byte) []byte {
	ca, err := x509.ParseCertificate(certificate)
	if err != nil {
		return certificate
	}
	return list(ca.RawSubject, ca.RawSubjectPublicKeyInfo)
}
