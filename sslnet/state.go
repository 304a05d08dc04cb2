package sslnet

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/spacemonad/go-openssl/cssl"
)

// State returns what the handshake led to: the zero value before it is done, and after
// Close unless State was called before. In TLS 1.2 it is that of the first handshake.
// When the answer to RequestCertificate has come, State has its certificates.
func (c *Conn) State() cssl.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil {
		if !c.ready || c.closing {
			return cssl.State{}
		}
		c.keepState(c.tls.State())
	}
	return *c.state
}

// keepState keeps s, for OpenSSL does not know in the midst of a renegotiation. c.mu is held.
func (c *Conn) keepState(s cssl.State) { c.state = &s }

// curves are crypto/tls's numbers for groups by OpenSSL's names, which differ between its versions.
var curves = map[string]tls.CurveID{
	"x25519": tls.X25519, "prime256v1": tls.CurveP256, "secp256r1": tls.CurveP256, "secp384r1": tls.CurveP384,
	"secp521r1": tls.CurveP521, "x448": 30, "X25519": tls.X25519, "X448": 30, "X25519MLKEM768": tls.X25519MLKEM768,
}

// ConnectionState is State in the form of crypto/tls, so that net/http fills Request.TLS. What crypto/tls does not export is
// missing, so its method ExportKeyingMaterial must not be called: use that of Conn. It holds no SCTs, no OCSP
// response and no TLSUnique.
func (c *Conn) ConnectionState() tls.ConnectionState {
	s := c.State()
	// What crypto/x509 cannot parse is left out.
	peer, _ := s.PeerCertificates()
	verified, _ := s.VerifiedChain()
	t := tls.ConnectionState{
		Version: uint16(s.Version), HandshakeComplete: s.Version != 0, DidResume: s.Resumed, CipherSuite: s.CipherID,
		NegotiatedProtocol: s.ALPN, ServerName: s.ServerName,
		PeerCertificates: peer, CurveID: curves[s.Group],
	}
	//lint:ignore SA1019 net/http uses ALPN's answer only where it is set
	t.NegotiatedProtocolIsMutual = true
	if len(verified) > 0 {
		t.VerifiedChains = [][]*x509.Certificate{verified}
	}
	return t
}

// Session is the session to resume later (a client's), or nil if there is none yet; see [cssl.Conn.Session]. In TLS 1.3 it comes
// with a ticket that a Read takes in.
func (c *Conn) Session() *cssl.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || c.closing {
		return nil
	}
	return c.tls.Session()
}

// ExportKeyingMaterial derives n bytes from the connection's secrets (RFC 5705, and RFC 8446, section 7.5).
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil, c.closedError("export")
	}
	return c.tls.ExportKeyingMaterial(label, context, n)
}

// KeyUpdate changes the sending key (TLS 1.3), and asks the peer for the same if request is set. It waits for a Write that is under way,
// and is bounded by the write deadline. In TLS 1.2 it is an error that is tlsio.ErrState.
func (c *Conn) KeyUpdate(request bool) error {
	if request {
		return c.rekey(taskKeyUpdateRequest)
	}
	return c.rekey(taskKeyUpdate)
}

// Renegotiate makes a new handshake (TLS 1.2, with cssl.Config.Renegotiation) under the conditions of KeyUpdate. A server's
// asks for one, and returns; a client's returns when it is done, for which a Read must take in data that arrives before it.
func (c *Conn) Renegotiate() error { return c.rekey(taskRenegotiate) }

func (c *Conn) rekey(t task) error {
	s := &c.writer
	s.sem <- struct{}{}
	_, err := s.do("rekey", t, nil)
	<-s.sem
	return err
}
