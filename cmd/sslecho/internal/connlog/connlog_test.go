package connlog

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// lines is where the log goes; it may be written by loops and read by tests.
type lines struct {
	tlstest.Buffer
	read int
}

// next waits for one line and takes it.
func (l *lines) next(t *testing.T) (m map[string]any) {
	t.Helper()
	tlstest.Until(t, "there is a line", func() bool {
		line, _, ok := strings.Cut(l.String()[l.read:], "\n")
		if ok {
			l.read += len(line) + 1
			tlstest.Must(t, json.Unmarshal([]byte(line), &m))
		}
		return ok
	})
	return m
}

// panics panics at the first byte.
type panics struct{ reactor.Handler }

func (panics) OnData(*reactor.Conn, []byte) { panic("here") }

func serve(t *testing.T, cfg cssl.Config, s reactor.Handler, level slog.Level, idle time.Duration) (net.Addr, *lines) {
	t.Helper()
	cfg.ALPN = []string{"echo"}
	cfg.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}
	x := tlstest.Value(cssl.NewServerContext(cfg))(t)
	out := &lines{}
	srv := services.NewServer(Logged{s, slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))}, x)
	srv.Addr, srv.Loops, srv.Logger, srv.IdleTimeout = "127.0.0.1:0", 1, slog.New(slog.DiscardHandler), idle
	ls := tlstest.Value(srv.Listen())(t)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ls...) }()
	t.Cleanup(func() {
		srv.Close()
		<-ended
		x.Close()
	})
	return ls[0].Addr(), out
}

func dial(t *testing.T, addr net.Addr) *tls.Conn {
	t.Helper()
	c := tlstest.Value(tls.DialWithDialer(&net.Dialer{Timeout: tlstest.Hang}, "tcp", addr.String(),
		&tls.Config{InsecureSkipVerify: true, ServerName: "name.test", NextProtos: []string{"echo"}}))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c
}

// TestLine: the line has all that an operator asks for, and another connection another number.
func TestLine(t *testing.T) {
	addr, out := serve(t, cssl.Config{}, services.Echo{}, slog.LevelInfo, 0)
	var ids []any
	for range 2 {
		c := dial(t, addr)
		io.WriteString(c, "hello")
		tlstest.Value(io.ReadFull(c, make([]byte, 5)))(t)
		remote := c.LocalAddr().String()
		c.Close()
		m := out.next(t)
		for key, want := range map[string]any{
			"level": "INFO", "msg": "connection ended", "remote": remote, "version": "TLSv1.3", "sni": "name.test", "alpn": "echo",
			"resumed": false, "in": 5.0, "out": 5.0, "cause": "clean",
		} {
			if m[key] != want {
				t.Errorf("%s is %v, want %v", key, m[key], want)
			}
		}
		for _, key := range []string{"cipher", "group", "duration", "time"} {
			if m[key] == nil {
				t.Errorf("no %s in %v", key, m)
			}
		}
		ids = append(ids, m["conn"])
	}
	if ids[0] == ids[1] {
		t.Errorf("both are connection %v", ids[0])
	}
}

// TestRecords: where direct records are asked for, the line says whether the connection has them, and why not.
func TestRecords(t *testing.T) {
	for _, tt := range []struct {
		cfg  cssl.Config
		want any
	}{
		{cssl.Config{}, nil},
		{cssl.Config{Records: cssl.RecordsDirect}, "direct"},
		{cssl.Config{Records: cssl.RecordsDirect, MaxVersion: cssl.TLS12, Renegotiation: true}, "openssl: renegotiation is allowed"},
	} {
		addr, out := serve(t, tt.cfg, services.Echo{}, slog.LevelInfo, 0)
		dial(t, addr).Close()
		if m := out.next(t); m["records"] != tt.want {
			t.Errorf("records is %v, want %v", m["records"], tt.want)
		}
	}
}

// TestLevels: what a peer breaks is told at level debug, our own timeouts at info, a panic at error.
func TestLevels(t *testing.T) {
	for name, tt := range map[string]struct {
		service reactor.Handler
		client  func(net.Addr)
		level   string
		cause   string
	}{
		"HTTP": {services.Echo{}, func(a net.Addr) { send(t, a, "GET / HTTP/1.1\r\n\r\n") }, "DEBUG", "plain HTTP"},
		"garbage": {services.Echo{}, func(a net.Addr) { send(t, a, strings.Repeat("garbage", 100)) }, "DEBUG",
			"tls: handshake: SSL routines: "},
		"vanishes":    {services.Echo{}, func(a net.Addr) { send(t, a, "") }, "DEBUG", "before the handshake was done"},
		"half hello":  {services.Echo{}, func(a net.Addr) { send(t, a, "\x16\x03\x01\x02\x00\x01") }, "DEBUG", "before the handshake was done"},
		"no farewell": {services.Echo{}, func(a net.Addr) { dial(t, a).NetConn().(*net.TCPConn).CloseWrite() }, "DEBUG", "without close_notify"},
		"idle":        {services.Echo{}, func(a net.Addr) { dial(t, a) }, "INFO", "idle"},
		"panic":       {panics{services.Echo{}}, func(a net.Addr) { io.WriteString(dial(t, a), "x") }, "ERROR", "panic"},
	} {
		idle := time.Duration(0)
		if tt.cause == "idle" {
			idle = 300 * time.Millisecond
		}
		addr, out := serve(t, cssl.Config{}, tt.service, slog.LevelDebug, idle)
		tt.client(addr)
		m := out.next(t)
		if cause, _ := m["cause"].(string); m["level"] != tt.level || !strings.Contains(cause, tt.cause) {
			t.Errorf("%s: level %v, cause %v; want %s and %q", name, m["level"], m["cause"], tt.level, tt.cause)
		}
	}
}

func send(t *testing.T, addr net.Addr, s string) {
	t.Helper()
	c := tlstest.Value(net.DialTimeout("tcp", addr.String(), tlstest.Hang))(t)
	io.WriteString(c, s)
	c.Close()
}

// TestRefusals: of each reason the first refusal is logged at once, and those that follow are counted for a second.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		this, that := errors.New("this"), errors.New("that")
		var err error
		admit := Refusals(slog.New(slog.NewTextHandler(&b, nil)), func(netip.AddrPort) error { return err })
		for i := range 2001 {
			for _, err = range []error{this, that, nil} {
				if got := admit(netip.MustParseAddrPort("192.0.2.1:99")); got != err {
					t.Fatal(got)
				}
			}
			if i%1000 == 999 {
				time.Sleep(time.Second)
			}
		}
		var got []string
		for line := range strings.Lines(b.String()) {
			_, rest, _ := strings.Cut(line, "level=")
			got = append(got, rest)
		}
		line := func(what string, count int) string {
			return fmt.Sprintf("WARN msg=\"connections refused\" reason=\"limit of %s\" remote=192.0.2.1:99 count=%d\n", what, count)
		}
		if want := []string{line("this", 1), line("that", 1), line("this", 1000), line("that", 1000), line("this", 1000), line("that", 1000)}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
