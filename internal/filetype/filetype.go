// Package filetype describes the content of a file, for errors about a file
// with the wrong content.
package filetype

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// label matches the line that begins a PEM block.
var label = regexp.MustCompile(`(?m)^-----BEGIN ([A-Z0-9 ]{1,40})-----`)

// Describe returns a short description of p: the labels of its PEM blocks, a
// DER structure with the command that converts it, text, or binary data. It
// contains nothing of p but the labels.
func Describe(p []byte) string {
	plain := bytes.TrimPrefix(p, []byte("\xef\xbb\xbf")) // a byte order mark, which OpenSSL skips too
	switch {
	case len(p) == 0:
		return "nothing, it is empty"
	case len(bytes.TrimSpace(plain)) == 0:
		return "nothing but white space"
	case bytes.HasPrefix(p, []byte("\xff\xfe")) || bytes.HasPrefix(p, []byte("\xfe\xff")):
		return "text in UTF-16, which must be converted to ASCII"
	}
	if found := label.FindAllSubmatch(plain, -1); found != nil {
		return labels(found) + " in PEM"
	}
	if bytes.Contains(p, []byte("-----BEGIN ")) {
		return "PEM whose labels are not at the start of a line"
	}
	if utf8.Valid(p) && bytes.IndexFunc(p, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) < 0 {
		return "text"
	}
	if s := der(p); s != "" {
		return s
	}
	return "binary data"
}

// labels returns each label once, with its number of occurrences.
func labels(found [][][]byte) string {
	count, order := map[string]int{}, []string{}
	for _, f := range found {
		l := string(f[1])
		if count[l]++; count[l] == 1 {
			order = append(order, l)
		}
	}
	const most = 8
	more := ""
	if len(order) > most {
		order, more = order[:most], " and others"
	}
	for i, l := range order {
		if n := count[l]; n > 1 {
			order[i] = fmt.Sprintf("%s (%d)", l, n)
		}
	}
	return strings.Join(order, ", ") + more
}

// The DER tags (X.690) that distinguish the structures.
const (
	integer    = 0x02
	bits       = 0x03
	octets     = 0x04
	oid        = 0x06
	enumerated = 0x0a
	sequence   = 0x30
	explicit0  = 0xa0
)

// der returns which DER structure p begins with, or an empty string. It reads
// only the first tags, so p may be truncated.
func der(p []byte) string {
	outer, _, ok := element(p, sequence)
	if !ok {
		return ""
	}
	switch tag(outer) {
	case enumerated:
		return "an OCSP response in DER"
	case oid:
		return "a PKCS#7 structure in DER (openssl pkcs7 -inform DER -print_certs converts it to PEM)"
	case integer:
		version, _, _ := element(outer, integer)
		switch {
		case PKCS12(p):
			return "a PKCS#12 file (openssl pkcs12 -nodes converts it to PEM)"
		case bytes.Equal(version, []byte{0}) || bytes.Equal(version, []byte{1}):
			return "a private key in DER (openssl pkey -inform DER converts it to PEM)"
		}
	case sequence:
		inner, rest, _ := element(outer, sequence)
		if tag(inner) == oid {
			switch tag(rest) {
			case octets:
				return "an encrypted private key in DER (openssl pkcs8 -inform DER converts it to PEM)"
			case bits:
				return "a public key in DER"
			}
			break
		}
		number, after, _ := element(inner, integer)
		switch {
		case tag(inner) == explicit0, tag(inner) == integer && tag(after) == sequence && len(number) > 1:
			return "a certificate in DER (openssl x509 -inform DER converts it to PEM)"
		case bytes.Equal(number, []byte{0}):
			return "a certificate request in DER"
		case bytes.Equal(number, []byte{1}), tag(inner) == sequence:
			return "a revocation list in DER (openssl crl -inform DER converts it to PEM)"
		}
	}
	return "data in DER"
}

// PKCS12 reports whether p begins like a PKCS#12 file: a sequence of version 3
// and another sequence (RFC 7292, section 4).
func PKCS12(p []byte) bool {
	outer, _, _ := element(p, sequence)
	version, rest, _ := element(outer, integer)
	return bytes.Equal(version, []byte{3}) && tag(rest) == sequence
}

// tag returns the first byte of p, or 0.
func tag(p []byte) byte {
	if len(p) == 0 {
		return 0
	}
	return p[0]
}

// element returns the content of the DER element at the start of p, possibly
// truncated, and the rest. ok is false if the tag is not want, or the length is
// neither valid DER nor indefinite (BER). An element of indefinite length has no
// rest.
func element(p []byte, want byte) (content, rest []byte, ok bool) {
	if len(p) < 2 || p[0] != want {
		return nil, nil, false
	}
	n, p := int(p[1]), p[2:]
	if n == 0x80 {
		return p, nil, true
	}
	if n > 0x80 {
		size := n - 0x80
		if size > 4 || size > len(p) {
			return nil, nil, false
		}
		n = 0
		for _, b := range p[:size] {
			n = n<<8 | int(b)
		}
		if n < 0x80 {
			return nil, nil, false
		}
		p = p[size:]
	}
	n = min(n, len(p))
	return p[:n], p[n:], true
}
