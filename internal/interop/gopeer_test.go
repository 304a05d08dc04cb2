package interop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// goCertificate is one of testdata/certs for crypto/tls.
func goCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	return tlstest.Value(tls.X509KeyPair(testcerts.Read(t, name+".pem"), testcerts.Read(t, name+".key")))(t)
}

// goConfig is for Go's end of a row, with the certificate of that name if there is one.
func (c combo) goConfig(t *testing.T, cert string) *tls.Config {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: c.serverName(), MinVersion: uint16(c.version), MaxVersion: uint16(c.version)}
	cfg.RootCAs.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	if cert != "" {
		cfg.Certificates = []tls.Certificate{goCertificate(t, cert)}
	}
	return cfg
}

// goDial connects Go's client.
func goDial(t *testing.T, addr string, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c := tlstest.Value(tls.Dial("tcp", addr, cfg))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c
}

// goExchange streams both ways over c: it sends n bytes and checks n bytes. Then the
// side that closes says close_notify, and both read until the peer's.
func goExchange(c *tls.Conn, send, receive, n int, closes bool) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	p := &peer{in: c, out: c, more: true}
	received := tlstest.Later(func() error { return p.receive(receive, n) })
	if err := errors.Join(p.feed(send, n), <-received); err != nil {
		return err
	}
	if closes {
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	// A bare FIN instead of close_notify would be io.ErrUnexpectedEOF.
	if k, err := c.Read(make([]byte, 1)); k != 0 || err != io.EOF {
		return fmt.Errorf("at the end: %d bytes, %v, want EOF", k, err)
	}
	return nil
}

// TestGoClient: Go's crypto/tls as the client of our server.
func TestGoClient(t *testing.T) {
	eachCombo(t, func(t *testing.T, c combo) {
		srv := newServer(t, c.serverConfig(t), 0)
		cfg := c.goConfig(t, map[bool]string{true: "client"}[c.mtls])
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if c.alpn {
			cfg.NextProtos = []string{alpnSecond, alpnFirst}
		}
		rounds := c.connections()
		for i, n := range rounds {
			s := srv.expect(newParty(false, false, n))
			conn := goDial(t, srv.addr, cfg)
			if err := goExchange(conn, up, down, n, true); err != nil {
				t.Errorf("Go's client: %v", err)
			}
			s.wait(t)
			c.check(t, s, i == len(rounds)-1)
			tlstest.Equal(t, "Go's client resumed", conn.ConnectionState().DidResume, c.resume && i > 0)
		}
	})
}

// TestGoServer: our client with Go's crypto/tls as its server.
func TestGoServer(t *testing.T) {
	eachCombo(t, func(t *testing.T, c combo) {
		cfg := c.goConfig(t, c.cert)
		if c.mtls {
			cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, cfg.RootCAs
		}
		if c.alpn {
			cfg.NextProtos = []string{alpnFirst, alpnSecond}
		}
		if c.sni {
			named := cfg.Certificates[0]
			cfg.Certificates[0] = goCertificate(t, "wrongname")
			cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if h.ServerName != sniName {
					return nil, nil
				}
				return &named, nil
			}
		}
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer l.Close()
		second := false
		c.clients(t, l.Addr().String(), func(n int) *party { return newParty(true, false, n).set(false, true) }, func(p *party, n int) {
			conn := tls.Server(tlstest.Value(l.Accept())(t), cfg)
			if err := goExchange(conn, down, up, n, false); err != nil {
				t.Errorf("Go's server: %v", err)
			}
			state := conn.ConnectionState()
			tlstest.Equal(t, "Go's server resumed", state.DidResume, c.resume && second)
			second = true
			if c.mtls && (len(state.PeerCertificates) == 0 || state.PeerCertificates[0].Subject.CommonName != "client") {
				t.Error("Go's server got no certificate of the client")
			}
		})
	})
}
