package sslnet

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/spacemonad/go-openssl/cssl"
)

// State returns what the first handshake negotiated. It is the zero value
// before the handshake is done, and after Close unless State was called before.
// After RequestCertificate has been answered, State includes the peer's
// certificates.
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

// keepState keeps s because OpenSSL cannot report it during a renegotiation.
// c.mu is held.
func (c *Conn) keepState(s cssl.State) { c.state = &s }

// curves maps OpenSSL's names of groups, which differ between its versions, to
// the numbers of crypto/tls.
var curves = map[string]tls.CurveID{
	"x25519": tls.X25519, "prime256v1": tls.CurveP256, "secp256r1": tls.CurveP256, "secp384r1": tls.CurveP384,
	"secp521r1": tls.CurveP521, "x448": 30, "X25519": tls.X25519, "X448": 30, "X25519MLKEM768": tls.X25519MLKEM768,
}

// ConnectionState returns State as a tls.ConnectionState, so that net/http
// fills Request.TLS. Do not call its method ExportKeyingMaterial, which needs
// unexported state of crypto/tls: use Conn.ExportKeyingMaterial. SCTs, the OCSP
// response and TLSUnique are missing.
func (c *Conn) ConnectionState() tls.ConnectionState {
	s := c.State()
	// Certificates that crypto/x509 cannot parse are left out.
	peer, _ := s.PeerCertificates()
	verified, _ := s.VerifiedChain()
	t := tls.ConnectionState{
		Version: uint16(s.Version), HandshakeComplete: s.Version != 0, DidResume: s.Resumed, CipherSuite: s.CipherID,
		NegotiatedProtocol: s.ALPN, ServerName: s.ServerName,
		PeerCertificates: peer, CurveID: curves[s.Group],
	}
	//lint:ignore SA1019 net/http uses NegotiatedProtocol only if it is set
	t.NegotiatedProtocolIsMutual = true
	if len(verified) > 0 {
		t.VerifiedChains = [][]*x509.Certificate{verified}
	}
	return t
}

// Session returns the session that a client can resume later, or nil if there
// is none yet; see [cssl.Conn.Session]. In TLS 1.3 a session comes with a
// ticket, which a Read receives.
func (c *Conn) Session() *cssl.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || c.closing {
		return nil
	}
	return c.tls.Session()
}

// ExportKeyingMaterial derives n bytes from the connection's secrets (RFC 5705,
// and RFC 8446, section 7.5).
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil, c.closedError("export")
	}
	return c.tls.ExportKeyingMaterial(label, context, n)
}

// KeyUpdate changes the sending key (TLS 1.3). If request is set, it asks the
// peer to do the same. It waits for a Write that is in progress; the write
// deadline applies. In TLS 1.2 the error wraps tlsio.ErrState.
func (c *Conn) KeyUpdate(request bool) error {
	if request {
		return c.rekey(taskKeyUpdateRequest)
	}
	return c.rekey(taskKeyUpdate)
}

// Renegotiate starts a new handshake (TLS 1.2, with cssl.Config.Renegotiation);
// it waits as KeyUpdate does. A server asks the client for the handshake and
// returns at once. A client returns when the handshake is done; until then a
// Read must consume the data that arrives before it.
func (c *Conn) Renegotiate() error { return c.rekey(taskRenegotiate) }

func (c *Conn) rekey(t task) error {
	s := &c.writer
	s.sem <- struct{}{}
	_, err := s.do("rekey", t, nil)
	<-s.sem
	return err
}
