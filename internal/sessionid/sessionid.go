// Package sessionid computes the session id context of an SSL_CTX
// (SSL_CTX_set_session_id_context(3)). SSL_CTXs with the same one can resume
// each other's sessions. Without one, resumption with client certificates
// fails, or a session of one server name can be resumed for another.
package sessionid

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
)

// Context returns the session id context, the same for all Contexts with the
// same names, CAs and demands. It does not depend on what each renewal changes:
// dates, serial numbers, this side's keys.
func Context(server bool, chains [][]byte, trust []byte, demands ...string) [sha256.Size]byte {
	var names, anchors, more [][]byte
	for _, chain := range chains {
		names = append(names, ownNames(chain, server))
	}
	for _, block := range certificateBlocks(trust) {
		anchors = append(anchors, anchorOf(block))
	}
	for _, demand := range demands {
		more = append(more, []byte(demand))
	}
	return sha256.Sum256(list(append([][]byte{set(names), set(anchors)}, more...)...))
}

// ForName returns the session id context for a server name within a Context.
func ForName(context []byte, name string) [sha256.Size]byte {
	return sha256.Sum256(list(context, []byte(name)))
}

// list encodes parts unambiguously.
func list(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = fmt.Appendf(out, "%d:%s", len(p), p)
	}
	return out
}

// set encodes parts as a set: order and repetition do not matter.
func set(parts [][]byte) []byte {
	slices.SortFunc(parts, bytes.Compare)
	return list(slices.CompactFunc(parts, bytes.Equal)...)
}

// certificateBlocks returns the certificates in PEM that OpenSSL reads. If
// encoding/pem and OpenSSL may see different ones, it returns only p itself:
// OpenSSL also reads a block after a byte order mark or in the middle of an
// overlong line, and ends a block's type at a NUL.
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

// ownNames returns the identity of a chain's leaf. For a server that is its
// alternative names, or its subject if there are none; for a client it is both.
// A leaf without names is identified by its key, a leaf that cannot be parsed
// by its bytes.
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

// anchorOf returns the identity of a CA: its name and key (RFC 5280, section
// 6.1.1). A CA renewed with the same key has the same identity.
func anchorOf(certificate []byte) []byte {
	ca, err := x509.ParseCertificate(certificate)
	if err != nil {
		return certificate
	}
	return list(ca.RawSubject, ca.RawSubjectPublicKeyInfo)
}
