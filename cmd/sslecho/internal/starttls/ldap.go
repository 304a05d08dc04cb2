package starttls

import (
	"bytes"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Names of RFC 4511: sections 4.14.1 and 4.4.1.
const (
	oidStartTLS             = "1.3.6.1.4.1.1466.20037"
	oidDisconnection        = "1.3.6.1.4.1.1466.20036"
	success                 = 0 // result codes, section 4.1.9
	protocolError           = 2
	confidentialityRequired = 13
)

// Tags of operations (RFC 4511, section 4.2 and on).
const (
	unbindRequest    = 0x42
	abandonRequest   = 0x50
	extendedRequest  = 0x77
	extendedResponse = 0x78
)

// responses has the tags of the responses to the other requests: bind, search,
// modify, add, delete, rename and compare.
var responses = map[byte]byte{0x60: 0x61, 0x63: 0x65, 0x66: 0x67, 0x68: 0x69, 0x4a: 0x6b, 0x6c: 0x6d, 0x6e: 0x6f}

// ldap is RFC 4511, section 4.14 (StartTLS).
type ldap struct{}

func (ldap) greeting() []byte { return nil }

func (ldap) tooMuch() []byte { return notice("too much before TLS") }

func (ldap) step(p []byte) (n int, out []byte, next next) {
	_, message, n, err := element(p)
	if p[0] == byte(asn1.SEQUENCE) && err == nil && n == 0 {
		return 0, nil, more
	}
	id, op, body, ok := operation(message)
	if p[0] != byte(asn1.SEQUENCE) || err != nil || !ok {
		return len(p), notice("not an LDAPMessage"), closing
	}
	switch response, known := responses[op]; {
	case op == unbindRequest:
		return n, nil, closing
	case op == abandonRequest:
		return n, nil, more
	case op == extendedRequest && isStartTLS(body):
		return n, result(id, extendedResponse, success, "", oidStartTLS), upgrade
	case op == extendedRequest:
		return n, result(id, extendedResponse, protocolError, "only StartTLS is there before TLS", ""), more
	case known:
		return n, result(id, response, confidentialityRequired, "use StartTLS first", ""), more
	}
	return len(p), notice("there is no such operation"), closing
}

// operation returns what an LDAPMessage has (RFC 4511, section 4.1.1). Its
// messageID is positive and has at most 31 bits: 0 is for notices.
func operation(message []byte) (id []byte, op byte, body []byte, ok bool) {
	tag, id, n, err := element(message)
	if err != nil || n == 0 || asn1.Tag(tag) != asn1.INTEGER ||
		len(id) > 4 || len(bytes.TrimLeft(id, "\x00")) == 0 || id[0] >= 0x80 {
		return nil, 0, nil, false
	}
	op, body, n, err = element(message[n:])
	return id, op, body, err == nil && n > 0
}

// isStartTLS reports whether an ExtendedRequest has the name of StartTLS and no
// value.
func isStartTLS(request []byte) bool {
	tag, name, n, err := element(request)
	return err == nil && tag == 0x80 && string(name) == oidStartTLS && n == len(request)
}

// result is an LDAPMessage with an LDAPResult (RFC 4511, section 4.1.9) and,
// unless it is empty, a responseName (section 4.12).
func result(id []byte, tag byte, code int64, text, name string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(id) })
		b.AddASN1(asn1.Tag(tag), func(b *cryptobyte.Builder) {
			b.AddASN1Enum(code)
			b.AddASN1OctetString(nil) // matchedDN
			b.AddASN1OctetString([]byte(text))
			if name != "" {
				b.AddASN1(asn1.Tag(10).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
			}
		})
	})
	return b.BytesOrPanic()
}

// notice is the Notice of Disconnection.
func notice(text string) []byte {
	return result([]byte{0}, extendedResponse, protocolError, text, oidDisconnection)
}

var errBER = errors.New("starttls: not an element of BER, or too long")

// element returns the first element of p and its size, which is 0 while it is
// incomplete. It is for what cryptobyte refuses: clients write lengths with
// more bytes than needed, which BER allows (X.690, section 8.1.3). LDAP has no
// indefinite lengths (RFC 4511, section 5.1), and no tags of several bytes.
func element(p []byte) (tag byte, body []byte, n int, err error) {
	if len(p) > 0 && p[0]&0x1f == 0x1f {
		return 0, nil, 0, errBER
	}
	if len(p) < 2 {
		return 0, nil, 0, nil
	}
	size, head := int(p[1]), 2
	if size >= 0x80 {
		octets := size & 0x7f
		if octets == 0 || octets > 8 {
			return 0, nil, 0, errBER
		}
		size, head = 0, 2+octets
		for _, b := range p[2:min(len(p), head)] {
			if size = size<<8 | int(b); size > maxMessage {
				return 0, nil, 0, errBER
			}
		}
	}
	switch {
	case head+size > maxMessage:
		return 0, nil, 0, errBER
	case len(p) < head+size:
		return 0, nil, 0, nil
	}
	return p[0], p[head : head+size], head + size, nil
}
