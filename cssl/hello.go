package cssl

import "encoding/binary"

// ClientHello is a client's first message, before anything was selected: see
// [Config].ClientHello. The application must call Accept or Refuse once, in the
// callback or later, on any goroutine. Further calls are ignored. The fields
// must not be changed.
type ClientHello struct {
	// ServerName is the name that the client sent (SNI), or empty.
	ServerName string
	// ALPN are the protocols that the client offers, in its order.
	ALPN []string
	// Versions are those in the supported_versions extension, in the client's
	// order; without the extension, the version in the message.
	Versions []TLSVersion
	// CipherSuites, Groups and SignatureAlgorithms are IANA numbers, in the
	// client's order.
	CipherSuites, Groups, SignatureAlgorithms []uint16
	// Extensions are the IANA numbers of all extensions, in the client's order.
	Extensions []uint16
	// Raw is the handshake message with its 4-byte header (RFC 8446, section
	// 4.1.2).
	Raw []byte
	// Outer is the unencrypted message, if the client has sent an Encrypted
	// Client Hello (RFC 9849) that was accepted; nil otherwise. The other fields
	// are about the message that was encrypted; Extensions and Raw have only
	// those of its extensions that OpenSSL or Config.Extensions knows.
	Outer *ClientHello
	// Owner is the owner passed to [Conn.Bind]: a *reactor.Conn, a
	// *sslnet.Conn, or your own.
	Owner any

	decision *decision
}

// Accept continues the handshake with the settings of x, a server's Context.
// The settings that a connection keeps from its first Context (see
// [Config].SNI) do not change. If x is nil, the handshake continues with the
// Context in SNI for ServerName, or else with the one that accepted the
// connection. If x is closed, is a client's, or has another Library, the client
// is refused.
//
// The server acknowledges ServerName to the client (RFC 6066, section 3) if x
// is not the Context that accepted the connection, or if x selects its
// certificate by that name.
func (h *ClientHello) Accept(x *Context) { h.decision.decide(x, nil) }

// Refuse ends the handshake. The connection's error wraps err. The alert is the
// [tlsio.Alert] in err, or else handshake_failure.
func (h *ClientHello) Refuse(err error) { h.decision.decide(nil, refusal(err)) }

// Numbers of extensions (IANA, TLS ExtensionType Values).
const (
	extServerName        = 0
	extGroups            = 10
	extSignatures        = 13
	extALPN              = 16
	extSupportedVersions = 43
)

// parseHello parses a ClientHello that OpenSSL found well-formed. Fields that
// it cannot parse stay empty.
func parseHello(raw []byte) *ClientHello {
	h := &ClientHello{Raw: raw}
	r := reader(raw)
	r.skip(4)
	legacy := r.u16()
	r.skip(32) // random
	r.skip(int(r.u8()))
	h.CipherSuites = numbers(r.run(int(r.u16())))
	r.skip(int(r.u8())) // compression methods
	for ext := reader(r.run(int(r.u16()))); len(ext) >= 4; {
		id := ext.u16()
		body := ext.run(int(ext.u16()))
		h.Extensions = append(h.Extensions, id)
		switch id {
		case extServerName:
			h.ServerName, _ = serverNameOf(body)
		case extGroups:
			h.Groups = numbers(body.run(int(body.u16())))
		case extSignatures:
			h.SignatureAlgorithms = numbers(body.run(int(body.u16())))
		case extALPN:
			for list := reader(body.run(int(body.u16()))); len(list) > 0; {
				h.ALPN = append(h.ALPN, string(list.run(int(list.u8()))))
			}
		case extSupportedVersions:
			for _, v := range numbers(body.run(int(body.u8()))) {
				h.Versions = append(h.Versions, TLSVersion(v))
			}
		}
	}
	if h.Versions == nil {
		h.Versions = []TLSVersion{TLSVersion(legacy)}
	}
	return h
}

// serverNameOf returns the host name in a server_name extension (RFC 6066,
// section 3).
func serverNameOf(ext []byte) (string, bool) {
	if len(ext) < 5 {
		return "", false
	}
	list := int(ext[0])<<8 | int(ext[1])
	size := int(ext[3])<<8 | int(ext[4])
	if list != len(ext)-2 || ext[2] != 0 || size == 0 || size > len(ext)-5 {
		return "", false
	}
	return string(ext[5 : 5+size]), true
}

// reader reads bytes from its front. Beyond the end, it returns zeros and empty
// slices.
type reader []byte

func (r *reader) run(n int) reader {
	n = min(n, len(*r))
	p := (*r)[:n:n]
	*r = (*r)[n:]
	return p
}

func (r *reader) skip(n int) { r.run(n) }

func (r *reader) u8() uint8 {
	if p := r.run(1); len(p) == 1 {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.run(2); len(p) == 2 {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

// numbers parses p as 16-bit numbers.
func numbers(p reader) []uint16 {
	var out []uint16
	for len(p) >= 2 {
		out = append(out, p.u16())
	}
	return out
}
