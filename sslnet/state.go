package sslnet

import (
	"crypto/tls"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/connstate"
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

// ConnectionState returns State as a tls.ConnectionState, so that net/http
// fills Request.TLS. Its method ExportKeyingMaterial returns an error, since it
// needs unexported state of crypto/tls: use Conn.ExportKeyingMaterial.
// OCSPResponse and SignedCertificateTimestamps need cssl.Config.Staples.
func (c *Conn) ConnectionState() tls.ConnectionState { return connstate.Of(c.State()) }

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
