package sslgnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/panjf2000/gnet/v2"
	gerrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) { testmain.Run(m, testmain.Freed) }

// echo is gnet's example of that name. What happens to its connections comes
// through ends. traffic, if not nil, is called instead.
type echo struct {
	gnet.BuiltinEventEngine
	booted  chan gnet.Engine
	opened  chan gnet.Conn
	ends    chan error
	traffic func(c gnet.Conn) gnet.Action
}

func (e *echo) OnBoot(eng gnet.Engine) gnet.Action {
	e.booted <- eng
	return gnet.None
}

func (e *echo) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.SetContext(e)
	e.opened <- c
	return nil, gnet.None
}

func (e *echo) OnTraffic(c gnet.Conn) gnet.Action {
	if e.traffic != nil {
		return e.traffic(c)
	}
	buf, _ := c.Next(-1)
	c.Write(buf)
	return gnet.None
}

func (e *echo) OnClose(c gnet.Conn, err error) gnet.Action {
	if c.Context() != e {
		err = fmt.Errorf("the connection has lost its context: %v, %w", c.Context(), err)
	}
	e.ends <- err
	return gnet.None
}

// server is a running engine.
type server struct {
	t *testing.T
	*echo
	*Handler
	address string
	engine  gnet.Engine
	failed  chan error // handshakes
	stop    func()
}

func newEcho() *echo {
	return &echo{booted: make(chan gnet.Engine, 1), opened: make(chan gnet.Conn, 100), ends: make(chan error, 100)}
}

// serve runs an engine, which ends with the test. set may change the Handler
// and the settings.
func serve(t *testing.T, set func(s *server, c *cssl.Config), opts ...gnet.Option) *server {
	t.Helper()
	s := &server{t: t, echo: newEcho(), Handler: &Handler{}, failed: make(chan error, 100)}
	s.Handler.EventHandler = s.echo
	s.Handler.OnHandshakeError = func(remote net.Addr, err error) {
		if remote == nil {
			err = fmt.Errorf("no address, and %w", err)
		}
		s.failed <- err
	}
	c := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}
	if set != nil {
		set(s, &c)
	}
	s.Handler.TLS = tlstest.Value(cssl.NewServerContext(c))(t)
	s.address, s.engine, s.stop = run(t, s.Handler, s.booted, opts...)
	t.Cleanup(func() { s.Handler.TLS.Close() })
	return s
}

// run runs an engine with a handler, until stop or the end of the test.
func run(t testing.TB, h gnet.EventHandler, booted chan gnet.Engine, opts ...gnet.Option) (address string, e gnet.Engine, stop func()) {
	t.Helper()
	opts = append([]gnet.Option{gnet.WithNumEventLoop(2)}, opts...)
	ran := tlstest.Later(func() error { return gnet.Run(h, "tcp4://127.0.0.1:0", opts...) })
	e = tlstest.Receive(t, booted, "OnBoot")
	fd := tlstest.Value(e.Dup())(t)
	defer syscall.Close(fd)
	name := tlstest.Value(syscall.Getsockname(fd))(t).(*syscall.SockaddrInet4)
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
		defer cancel()
		if err := e.Stop(ctx); !errors.Is(err, gerrors.ErrEngineInShutdown) {
			tlstest.IsError(t, "Stop", err, nil)
		}
		tlstest.IsError(t, "gnet.Run", <-ran, nil)
	})
	t.Cleanup(stop)
	return fmt.Sprintf("127.0.0.1:%d", name.Port), e, stop
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

// dialSSL makes a connection whose end is io.EOF only after close_notify. It
// ends with the test.
func (s *server) dialSSL(version cssl.TLSVersion) *sslnet.Conn {
	s.t.Helper()
	x := tlstest.Value(cssl.NewClientContext(cssl.Config{MinVersion: version, MaxVersion: version,
		CAFile: testcerts.Path("root.pem"), Renegotiation: true}))(s.t)
	defer x.Close()
	d := sslnet.Dialer{Context: x, Config: cssl.ConnConfig{ServerName: "localhost"}}
	c := tlstest.Value(d.Dial("tcp", s.address))(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c.(*sslnet.Conn)
}

// connect makes a TCP connection, which ends with the test.
func (s *server) connect() net.Conn {
	s.t.Helper()
	c := tlstest.Value(net.Dial("tcp", s.address))(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c
}
