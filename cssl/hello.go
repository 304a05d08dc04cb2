package cssl

import "encoding/binary"

// ClientHello is what a client asks for, before anything was chosen: see [Config.ClientHello]. One of Accept and Refuse must be
// called, once, by the callback or later by any goroutine; what comes after the first is ignored. The fields must not be changed.
type ClientHello struct {
	// ServerName is the host that the client asks for (SNI), or empty.
	ServerName string
	// ALPN are the protocols that it offers, in its order.
	ALPN []string
	// Versions are those of supported_versions, in its order; without that extension the one of the message.
	Versions []TLSVersion
	// CipherSuites, Groups and SignatureAlgorithms are IANA's numbers, in its order.
	CipherSuites, Groups, SignatureAlgorithms []uint16
	// Extensions are the numbers of all extensions, in its order.
	Extensions []uint16
	// Raw is the handshake message, its header of 4 bytes included (RFC 8446, section 4.1.2).
	Raw []byte
	// Owner is what Conn.Bind was given: a *reactor.Conn, a *sslnet.Conn, or your own.
	Owner any

	decision *decision
}

// Accept goes on with x, a server's Context: all settings are x's but those that [Config.SNI] leaves out. With nil, the handshake goes on with the
// Context that SNI has for ServerName, or else with the one that the connection was accepted on. A Context that is closed, or a client's, refuses the client.
//
// ServerName is acknowledged to the client (RFC 6066, section 3) if x is another
// Context than the one that the connection was accepted on, whatever the reason
// for the choice was, or if x chooses its certificate by that name.
func (h *ClientHello) Accept(x *Context) { h.decision.decide(x, nil) }

// Refuse ends the handshake. The connection's error has err in it; the alert is the [tlsio.Alert] in err, or else handshake_failure.
func (h *ClientHello) Refuse(err error) { h.decision.decide(nil, refusal(err)) }

// Numbers of extensions (IANA, TLS ExtensionType Values).
const (
	extServerName        = 0
	extGroups            = 10
	extSignatures        = 13
	extALPN              = 16
	extSupportedVersions = 43
)

// parseHello reads a ClientHello that OpenSSL has found to be well formed. What it cannot read stays empty.
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

// serverNameOf reads the host name from a server_name extension (RFC 6066, section 3).
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

// reader takes bytes from the front. Beyond the end there are zeros and empty runs.
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

// numbers reads all of p as numbers of two bytes.
func numbers(p reader) []uint16 {
	var out []uint16
	for len(p) >= 2 {
		out = append(out, p.u16())
	}
	return out
}
