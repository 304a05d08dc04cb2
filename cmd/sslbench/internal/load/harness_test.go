package load

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

var versions = []cssl.TLSVersion{cssl.TLS12, cssl.TLS13}

// handler is a reactor.Handler made of a function.
type handler struct {
	reactor.BaseHandler
	data func(*reactor.Conn, []byte)
}

func (h handler) OnData(c *reactor.Conn, p []byte) { h.data(c, p) }

var echo = handler{data: func(c *reactor.Conn, p []byte) { c.Write(p) }}

// serve runs a reactor.Server until the end of the test.
func serve(t testing.TB, h reactor.Handler, change func(*cssl.Config)) string {
	t.Helper()
	return serveBy(t, &reactor.Server{}, h, change)
}

// serveBy is serve with a Server that the test has a use for.
func serveBy(t testing.TB, srv *reactor.Server, h reactor.Handler, change func(*cssl.Config)) string {
	t.Helper()
	cfg := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}
	if change != nil {
		change(&cfg)
	}
	x := tlstest.Value(cssl.NewServerContext(cfg))(t)
	l := listen(t)
	srv.Handler, srv.Context, srv.Loops, srv.Logger = h, x, 1, slog.New(slog.DiscardHandler)
	served := tlstest.Later(func() error { return srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); <-served; x.Close() })
	return l.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	return tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
}

// serveRaw runs f for each TCP connection, which is closed when f returns or the test ends.
func serveRaw(t testing.TB, f func(c net.Conn)) string {
	t.Helper()
	l := listen(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { c.Close() })()
				f(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().String()
}

// serveGo runs f for each connection of a server of Go's own TLS, after the handshake.
func serveGo(t testing.TB, name string, change func(*tls.Config), f func(c *tls.Conn)) string {
	t.Helper()
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path(name+".pem"), testcerts.Path(name+".key")))(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	if change != nil {
		change(cfg)
	}
	return serveRaw(t, func(c net.Conn) {
		s := tls.Server(c, cfg)
		if s.Handshake() == nil {
			f(s)
			s.CloseWrite()
		}
	})
}

// A target starts a server for a test, and answers its address.
type target func(t testing.TB) string

// ours is a target with the reactor, raw one without TLS, and goes one with Go's own TLS.
func ours(h reactor.Handler, change func(*cssl.Config)) target {
	return func(t testing.TB) string { t.Helper(); return serve(t, h, change) }
}

func raw(f func(c net.Conn)) target {
	return func(t testing.TB) string { t.Helper(); return serveRaw(t, f) }
}

func goes(name string, f func(c *tls.Conn)) target {
	return func(t testing.TB) string { t.Helper(); return serveGo(t, name, nil, f) }
}

func discard(c *tls.Conn) { io.Copy(io.Discard, c) }

// config is a Config that trusts the test's certificates.
func config(target string, k Kind) Config {
	return Config{
		Target: target, Kind: k, Conns: 4, Timeout: tlstest.Hang, ServerName: "localhost",
		TLS: cssl.Config{CAFile: testcerts.Path("root.pem")},
	}
}

func mustNew(t testing.TB, cfg Config) *Load {
	t.Helper()
	l := tlstest.Value(New(cfg))(t)
	t.Cleanup(l.Close)
	return l
}

func mustOpen(t testing.TB, l *Load, n int) { t.Helper(); tlstest.Must(t, l.Open(t.Context(), n)) }

// mustRun wants a Run without failures. A machine that is too slow for the rate is none of the Load's.
func mustRun(t testing.TB, l *Load, d time.Duration) Result {
	t.Helper()
	r, err := l.Run(t.Context(), d)
	if err != nil {
		t.Fatalf("%v; %v", err, r.Examples)
	}
	for what, n := range r.Failures {
		if what != TooSlow {
			t.Errorf("%d × %s: %s", n, what, r.Examples[what])
		}
	}
	return r
}

func openFiles(t testing.TB) int {
	t.Helper()
	return len(tlstest.Value(os.ReadDir("/proc/self/fd"))(t))
}

// noLeaks checks at the end of the test, after what was cleaned up later than this was called.
func noLeaks(t testing.TB) {
	runtime.GC()
	files, ssl, contexts, goroutines := openFiles(t), live.Conns(), live.Contexts(), runtime.NumGoroutine()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		tlstest.Until(t, "descriptors, SSL objects and goroutines to go", func() bool {
			return openFiles(t) <= files && live.Conns() <= ssl && live.Contexts() <= contexts && runtime.NumGoroutine() <= goroutines
		})
	})
}
