// Package sessionid makes the session id context of an SSL_CTX
// (SSL_CTX_set_session_id_context(3)): what says which of them may resume each
// other's sessions. Without it, resumption with client certificates fails, or
// leaks from one server name to another.
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

// Context is the session id context of those with the same names, trust and
// demands. What changes with each renewal is not in it: dates, serial numbers,
// our keys.
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

// ForName is the session id context of a server name, below that of the Context.
func ForName(context []byte, name string) [sha256.Size]byte {
	return sha256.Sum256(list(context, []byte(name)))
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

// certificateBlocks returns the certificates in PEM that OpenSSL reads. It
// returns p itself as the only one where encoding/pem and OpenSSL may see
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

// ownNames is whom a chain's leaf is for. A server is known by its alternative
// names, or if there are none by its subject; a client by both. Without a name it
// is the key that is known. What cannot be read is only like itself.
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

// anchorOf is what makes a CA: its name and its key (RFC 5280, section 6.1.1), so
// a CA that was renewed with its key is the same.
func anchorOf(certificate []byte) []byte {
	ca, err := x509.ParseCertificate(certificate)
	if err != nil {
		return certificate
	}
	return list(ca.RawSubject, ca.RawSubjectPublicKeyInfo)
}
