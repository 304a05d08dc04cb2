package sslnet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// goConfigs are crypto/tls's counterparts to what contexts makes.
func goConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	pair := func(name string) []tls.Certificate {
		c, err := tls.LoadX509KeyPair(testcerts.Path(name+".pem"), testcerts.Path(name+".key"))
		must(t, err)
		return []tls.Certificate{c}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	server = &tls.Config{Certificates: pair("ecdsa"), ClientCAs: roots}
	client = &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: pair("client")}
	return server, client
}

// tlsConn is what Conn and *tls.Conn have in common.
type tlsConn interface {
	net.Conn
	CloseWrite() error
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// mixed runs a test with crypto/tls at one of the ends, in both versions, over each network.
func mixed(t *testing.T, over map[string]network, test func(t *testing.T, client, server tlsConn)) {
	for name, network := range over {
		for version, v := range versions {
			t.Run("server, "+name+" "+version, func(t *testing.T) {
				a, b := network(t)
				sx, _ := contexts(t, v)
				_, cfg := goConfigs(t)
				server, err := Server(b, sx)
				must(t, err)
				runMixed(t, tls.Client(a, cfg), server, server, test)
			})
			t.Run("client, "+name+" "+version, func(t *testing.T) {
				a, b := network(t)
				_, cx := contexts(t, v)
				cfg, _ := goConfigs(t)
				client, err := Client(a, cx, cssl.ConnConfig{ServerName: "localhost"})
				must(t, err)
				runMixed(t, client, tls.Server(b, cfg), client, test)
			})
		}
	}
}

func runMixed(t *testing.T, client, server tlsConn, ours *Conn, test func(t *testing.T, client, server tlsConn)) {
	t.Cleanup(func() {
		ours.SetCloseTimeout(0)
		for _, c := range []tlsConn{client, server} {
			if g, ok := c.(*tls.Conn); ok {
				g.NetConn().Close()
			} else {
				c.Close()
			}
		}
	})
	ended := later(server.Handshake)
	must(t, client.Handshake())
	must(t, receive(t, ended, "the server's handshake"))
	test(t, client, server)
}

// TestGoPeerStreams: streams both ways at once, with crypto/tls at the other end.
func TestGoPeerStreams(t *testing.T) {
	mixed(t, narrow, func(t *testing.T, client, server tlsConn) {
		var ends []<-chan error
		for _, c := range []tlsConn{client, server} {
			ends = append(ends,
				later(func() error { return errors.Join(send(c, streamSize, 30_000), c.CloseWrite()) }),
				later(func() error {
					err := expect(c, streamSize)
					if err == nil {
						_, err = c.Read(make([]byte, 1))
					}
					return err
				}))
		}
		for i, end := range ends {
			if err := receive(t, end, "a stream"); err != nil && (i%2 == 0 || err != io.EOF) {
				t.Errorf("stream %d: %v", i, err)
			}
		}
	})
}

// TestGoPeerState: both ends see the same.
func TestGoPeerState(t *testing.T) {
	mixed(t, networks, func(t *testing.T, client, server tlsConn) {
		c, s := client.ConnectionState(), server.ConnectionState()
		if !c.HandshakeComplete || !s.HandshakeComplete || c.Version != s.Version || c.CipherSuite != s.CipherSuite ||
			c.CurveID != s.CurveID || c.CurveID == 0 || c.ServerName != "localhost" || s.ServerName != "localhost" ||
			c.DidResume || s.DidResume || c.NegotiatedProtocol+s.NegotiatedProtocol != "" {
			t.Errorf("client: %+v\nserver: %+v", c, s)
		}
		leaf(t, &c, "go-openssl test ECDSA server", 2, 3)
		leaf(t, &s, "", 0, 0)
	})
}

// leaf checks the peer's certificates: the name of the first, how many there are, and how long the verified chain
// is.
func leaf(t *testing.T, s *tls.ConnectionState, name string, sent, verified int) {
	t.Helper()
	if len(s.PeerCertificates) != sent || sent > 0 && s.PeerCertificates[0].Subject.CommonName != name {
		t.Errorf("got %d certificates %v, want %d of %s", len(s.PeerCertificates), s.PeerCertificates, sent, name)
	}
	switch {
	case verified == 0 && len(s.VerifiedChains) != 0, verified > 0 && (len(s.VerifiedChains) != 1 || len(s.VerifiedChains[0]) != verified):
		t.Errorf("got %d verified chains %v, want one of %d", len(s.VerifiedChains), s.VerifiedChains, verified)
	}
}
