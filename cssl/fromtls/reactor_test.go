package fromtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

type echo struct{ reactor.BaseHandler }

func (echo) OnData(c *reactor.Conn, p []byte) { c.Write(p) }

// TestReactor: all callbacks, and a key that is remote, behind an event loop.
func TestReactor(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	cert.PrivateKey = remote{keys()["ECDSA"]}
	var refuses atomic.Bool
	var calls, addresses atomic.Int64
	server := &reactor.Server{Addr: "127.0.0.1:0", Handler: echo{}, Context: serverContext(t, &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours().pool,
		GetCertificate: func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if info.Conn.RemoteAddr() != nil && info.Conn.LocalAddr() != nil {
				addresses.Add(1)
			}
			return &cert, nil
		},
		VerifyPeerCertificate: func(raw [][]byte, chains [][]*x509.Certificate) error {
			if len(raw) == 0 || len(chains) == 0 {
				return errors.New("nothing was verified")
			}
			return nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			calls.Add(1)
			if refuses.Load() {
				return errors.New("refused")
			}
			return nil
		},
	})}
	listeners := tlstest.Value(server.Listen())(t)
	served := tlstest.Later(func() error { return server.Serve(listeners...) })
	defer func() {
		server.Close()
		tlstest.Receive(t, served, "the server")
	}()
	dial := func(c *tls.Config) (bool, error) {
		conn, err := tls.Dial("tcp", listeners[0].Addr().String(), c)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(tlstest.Hang))
		if _, err = conn.Write([]byte("hello")); err == nil {
			_, err = io.ReadFull(conn, make([]byte, 5))
		}
		return conn.ConnectionState().DidResume, err
	}
	for _, version := range tlsVersions {
		calls.Store(0)
		addresses.Store(0)
		client := clientFor("a.example")
		client.MaxVersion, client.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
		client.Certificates = []tls.Certificate{ours().issue(t, keys()["RSA"], nil, "client")}
		for i := range 3 {
			refuses.Store(i == 2)
			resumed, err := dial(client)
			if resumed || (err != nil) != (i == 2) {
				t.Errorf("%x, %d: resumed %v, %v", version, i, resumed, err)
			}
		}
		client.ClientSessionCache = nil
		if _, err := dial(client); alertIn(err) != "tls: bad certificate" {
			t.Error(err)
		}
		if calls.Load() != 4 || addresses.Load() != 4 {
			t.Errorf("%x: %d calls of VerifyConnection, %d of GetCertificate", version, calls.Load(), addresses.Load())
		}
		refuses.Store(false)
	}
}
