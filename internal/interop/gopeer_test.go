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

func goRoots(t *testing.T) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	return pool
}

// goExchange streams both ways over c: it sends n bytes and checks n bytes. Then the
// side that closes says close_notify, and both read until the peer's.
func goExchange(c *tls.Conn, send, receive uint64, n int, closes bool) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	if err := c.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	received := tlstest.Later(func() error { return goReceive(c, receive, n) })
	out := newSender(send, false, n)
	for b := out.next(); b != nil; b = out.next() {
		if _, err := c.Write(b); err != nil {
			return errors.Join(err, <-received)
		}
	}
	if err := <-received; err != nil {
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

func goReceive(c *tls.Conn, seed uint64, n int) error {
	in, buf := newStream(seed, false), make([]byte, 20011)
	for in.pos < int64(n) {
		k, err := c.Read(buf[:min(int64(len(buf)), int64(n)-in.pos)])
		if cerr := in.check(buf[:k]); cerr != nil {
			return cerr
		}
		if err != nil && in.pos < int64(n) {
			return fmt.Errorf("after %d of %d bytes: %w", in.pos, n, err)
		}
	}
	return nil
}

// TestGoClient: Go's crypto/tls as the client of our server.
func TestGoClient(t *testing.T) {
	eachCombo(t, func(t *testing.T, c combo) {
		srv := newServer(t, c.serverConfig(t), 0, 0)
		cfg := &tls.Config{
			RootCAs: goRoots(t), ServerName: c.serverName(), MinVersion: c.goVersion(), MaxVersion: c.goVersion(),
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		if c.mtls {
			cfg.Certificates = []tls.Certificate{goCertificate(t, "client")}
		}
		if c.alpn {
			cfg.NextProtos = []string{alpnSecond, alpnFirst}
		}
		rounds := c.connections()
		for i, n := range rounds {
			s := srv.expect(newParty(false, false, n))
			conn := tlstest.Value(tls.Dial("tcp", srv.addr, cfg))(t)
			if err := goExchange(conn, upSeed, downSeed, n, true); err != nil {
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
		cfg := &tls.Config{
			Certificates: []tls.Certificate{goCertificate(t, c.cert)}, MinVersion: c.goVersion(), MaxVersion: c.goVersion(),
		}
		if c.mtls {
			cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, goRoots(t)
		}
		if c.alpn {
			cfg.NextProtos = []string{alpnFirst, alpnSecond}
		}
		if c.sni {
			named := cfg.Certificates[0]
			cfg.Certificates = []tls.Certificate{goCertificate(t, "wrongname")}
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
			if err := goExchange(conn, downSeed, upSeed, n, false); err != nil {
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
