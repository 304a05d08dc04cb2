package sslnetpoll

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/cloudwego/netpoll"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) {
	netpoll.SetLoggerOutput(io.Discard) // it logs each reset
	testmain.Run(m, testmain.Freed)
}

// echo is netpoll's example of that name.
func echo(_ context.Context, c netpoll.Connection) error {
	r, w := c.Reader(), c.Writer()
	p, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	buf, _ := w.Malloc(len(p))
	copy(buf, p)
	return errors.Join(r.Release(), w.Flush())
}

// server is a running event loop.
type server struct {
	t *testing.T
	*Server
	address string
	loop    netpoll.EventLoop
	failed  chan error // what OnError got
}

// serve runs an event loop, which ends with the test. set may change the Server,
// whose OnRequest is echo, and the settings.
func serve(t *testing.T, set func(s *server, c *cssl.Config)) *server {
	t.Helper()
	s := &server{t: t, Server: &Server{OnRequest: echo}, failed: make(chan error, 100)}
	s.OnError = func(remote net.Addr, err error) {
		if remote == nil {
			err = fmt.Errorf("no address, and %w", err)
		}
		s.failed <- err
	}
	c := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}
	if set != nil {
		set(s, &c)
	}
	s.TLS = tlstest.Value(cssl.NewServerContext(c))(t)
	t.Cleanup(s.TLS.Close)
	s.loop = tlstest.Value(s.EventLoop())(t)
	s.address = listen(t, s.loop)
	return s
}

// listen serves loop on an address, until the end of the test.
func listen(t testing.TB, loop netpoll.EventLoop) string {
	t.Helper()
	l := tlstest.Value(netpoll.CreateListener("tcp", "127.0.0.1:0"))(t)
	served := tlstest.Later(func() error { return loop.Serve(l) })
	t.Cleanup(func() {
		shutDown(t, loop)
		tlstest.Receive(t, served, "the end of Serve")
	})
	return l.Addr().String()
}

func shutDown(t testing.TB, loop netpoll.EventLoop) {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	defer cancel()
	tlstest.IsError(t, "Shutdown", loop.Shutdown(ctx), nil)
}

// goClient is a client's configuration for crypto/tls.
func goClient(version uint16) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
}

// dial makes a connection of crypto/tls, which ends with the test.
func (s *server) dial(version uint16) *tls.Conn {
	s.t.Helper()
	c := tlstest.Value(tls.Dial("tcp", s.address, goClient(version)))(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c
}

// context is that of a client which checks the server's name.
func clientContext(t *testing.T, version cssl.TLSVersion) *cssl.Context {
	t.Helper()
	x := tlstest.Value(cssl.NewClientContext(cssl.Config{MinVersion: version, MaxVersion: version,
		CAFile: testcerts.Path("root.pem"), Renegotiation: true}))(t)
	t.Cleanup(x.Close)
	return x
}

// dialSSL makes a connection whose end is io.EOF only after close_notify. It
// ends with the test.
func (s *server) dialSSL(version cssl.TLSVersion) *sslnet.Conn {
	s.t.Helper()
	d := sslnet.Dialer{Context: clientContext(s.t, version), Config: cssl.ConnConfig{ServerName: "localhost"}}
	c := tlstest.Value(d.Dial("tcp", s.address))(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c.(*sslnet.Conn)
}

// dialNetpoll makes a connection of this package, which ends with the test.
func (s *server) dialNetpoll(version cssl.TLSVersion) *Conn {
	s.t.Helper()
	d := &Dialer{TLS: clientContext(s.t, version), Conn: cssl.ConnConfig{ServerName: "localhost"}}
	c := tlstest.Value(d.DialConnection("tcp", s.address, tlstest.Hang))(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

// connect makes a TCP connection, which ends with the test.
func (s *server) connect() net.Conn {
	s.t.Helper()
	c := tlstest.Value(net.Dial("tcp", s.address))(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c
}
