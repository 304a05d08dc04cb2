package httpload

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/goserver"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// counting counts connections that are not closed yet.
type counting struct {
	net.Listener
	open atomic.Int64
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.open.Add(1)
	}
	return &counted{c, l}, err
}

type counted struct {
	net.Conn
	l *counting
}

func (c *counted) Close() error {
	c.l.open.Add(-1)
	return c.Conn.Close()
}

// start runs a server over crypto/tls.
func start(t *testing.T, h http.Handler) (*httptest.Server, *counting) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	l := &counting{Listener: s.Listener}
	s.Listener = l
	s.EnableHTTP2 = true
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, l
}

// TestRun: each way of asking has its work done, and a round begins when the
// connections of the load before have gone.
func TestRun(t *testing.T) {
	for name, cfg := range map[string]Config{
		"keep-alive":      {Conns: 3, Size: 1000},
		"large":           {Conns: 1, Size: 1 << 20},
		"full handshakes": {Conns: 3, Size: 1000, New: true},
		"resumed":         {Conns: 3, Size: 1000, New: true, Resume: true},
		"HTTP/2":          {Conns: 2, Size: 1000, HTTP2: true, Streams: 3},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := start(t, goserver.Handler())
			load := tlstest.Value(New(cfg, s.Listener.Addr().String(), testcerts.Path("root.pem")))(t)
			tlstest.Must(t, load.Open(t.Context(), cfg.Conns))
			for range 2 {
				r, err := load.Run(t.Context(), 20*time.Millisecond)
				if err != nil || r.Units == 0 || r.Latency.TotalCount() != int64(r.Units) || r.Version != "TLS 1.3" || r.Group != "X25519" {
					t.Errorf("%+v, %v", r, err)
				}
				if n := l.open.Load(); cfg.New && n != 0 || !cfg.New && n != int64(cfg.Conns) {
					t.Errorf("%d connections are open", n)
				}
			}
			if err := load.Free(t.Context()); err != nil && !cfg.New {
				t.Error(err)
			}
			load.Close()
			tlstest.Equal(t, "connections that are open after Close", l.open.Load(), 0)
		})
	}
}

// TestFailures: an answer that is not what was asked for is an error that says
// how.
func TestFailures(t *testing.T) {
	wrong := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(goserver.Body[1:1001])
	})
	short := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(goserver.Body[:10])
	})
	for _, test := range []struct {
		cfg  Config
		h    http.Handler
		says string
	}{
		{Config{Size: 1000}, wrong, "differs"},
		{Config{Size: 999}, wrong, "differs"},
		{Config{Size: 1000}, short, "unexpected EOF"},
		{Config{Size: 2 << 20}, goserver.Handler(), "404"},
		{Config{Size: 1000, New: true, Resume: true}, goserver.Handler(), "resumed a session: false"},
	} {
		s, _ := start(t, test.h)
		if test.cfg.Resume {
			s.TLS.SessionTicketsDisabled = true
		}
		test.cfg.Conns = 1
		load := tlstest.Value(New(test.cfg, s.Listener.Addr().String(), testcerts.Path("root.pem")))(t)
		if _, err := load.Run(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want %q", err, test.says)
		}
		load.Close()
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "none"), testcerts.Path("ecdsa.key")} {
		if _, err := New(Config{Conns: 1}, "127.0.0.1:1", file); err == nil {
			t.Errorf("%s has no certificate", file)
		}
	}
	load := tlstest.Value(New(Config{Conns: 1}, "127.0.0.1:1", testcerts.Path("root.pem")))(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := load.Open(ctx, 1); err == nil {
		t.Error("a context that has ended is no error")
	}
	if err := load.Open(t.Context(), 1); err == nil {
		t.Error("a server that is not there is no error")
	}
}
