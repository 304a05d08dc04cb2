package load

import (
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestCheck: each setting that makes no sense is refused with words that name it.
func TestCheck(t *testing.T) {
	good := Config{Target: "127.0.0.1:443", Kind: Request}
	tlstest.Must(t, good.Check())
	for want, change := range map[string]func(*Config){
		"host:port":          func(c *Config) { c.Target = "localhost" },
		"want host:port":     func(c *Config) { c.Target = ":443" },
		`bad port "0"`:       func(c *Config) { c.Target = "localhost:0" },
		`bad port "99999"`:   func(c *Config) { c.Target = "localhost:99999" },
		`kind "" is`:         func(c *Config) { c.Kind = "" },
		`kind "flood"`:       func(c *Config) { c.Kind = "flood" },
		`answer "shout"`:     func(c *Config) { c.Answer = "shout" },
		`answer "reverse"`:   func(c *Config) { c.Kind, c.Answer = Stream, Reverse },
		"size -1":            func(c *Config) { c.Size = -1 },
		"size 16777217":      func(c *Config) { c.Size = MaxSize + 1 },
		"use 2 to 16384":     func(c *Config) { c.Answer, c.Size = Reverse, 1 },
		"size 16385":         func(c *Config) { c.Answer, c.Size = Reverse, MaxLine+1 },
		"rate 10: only":      func(c *Config) { c.Kind, c.Rate = Stream, 10 },
		"rate -1":            func(c *Config) { c.Rate = -1 },
		"rate NaN":           func(c *Config) { c.Rate = math.NaN() },
		"rate 1e+08":         func(c *Config) { c.Rate = 1e8 },
		"-1 connections":     func(c *Config) { c.Conns = -1 },
		"2000 loops":         func(c *Config) { c.Loops = 2000 },
		"ramp -1s":           func(c *Config) { c.Ramp = -time.Second },
		"timeout 1µs":        func(c *Config) { c.Timeout = time.Microsecond },
		"file descriptors":   func(c *Config) { c.Conns = 1 << 30 },
		"CAFile":             func(c *Config) { c.TLS.CAFile = "/nonexistent.pem" },
		"ServerName":         func(c *Config) { c.ServerName = strings.Repeat("x", 300) },
		"no-such-host.test:": func(c *Config) { c.Target = "no-such-host.test:443" },
	} {
		cfg := good
		change(&cfg)
		if l, err := New(cfg); err == nil {
			t.Errorf("no error that says %q", want)
			l.Close()
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

// TestNamedTarget: a host name is resolved, and of several addresses the one that answers is found.
func TestNamedTarget(t *testing.T) {
	_, port, _ := net.SplitHostPort(serve(t, echo, nil))
	cfg := config(net.JoinHostPort("localhost", port), Request)
	cfg.ServerName = ""
	l := mustNew(t, cfg)
	// Nobody listens at the first address.
	l.addrs = append([]netip.AddrPort{netip.MustParseAddrPort(refusing(t))}, l.addrs...)
	mustOpen(t, l, 10)
	mustRun(t, l, 20*time.Millisecond)
}

// TestIPv6 over the loopback interface, where there is one.
func TestIPv6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6: ", err)
	}
	defer ln.Close()
	cfg := config(ln.Addr().String(), Handshake)
	cfg.Timeout = 100 * time.Millisecond // it listens and never answers: that is an answer
	r, err := mustNew(t, cfg).Run(t.Context(), time.Hour)
	if err == nil {
		t.Error("no error")
	}
	wantOnly(t, r, TimedOut, "[::1]:")
}

// TestSourceAddresses: connections beyond what one address has ports for come from others.
func TestSourceAddresses(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	for index, want := range map[int]string{0: "127.0.0.1", connsPerSource: "127.0.0.2", 300 * connsPerSource: "127.0.1.45"} {
		fd := tlstest.Value(connect(netip.MustParseAddrPort(ln.Addr().String()), index))(t)
		c := tlstest.Value(ln.Accept())(t)
		if host, _, _ := net.SplitHostPort(c.RemoteAddr().String()); host != want {
			t.Errorf("connection %d comes from %s, want %s", index, host, want)
		}
		c.Close()
		unix.Close(fd)
	}
}

// TestLocalFailure: when this side runs out of something, the failure says so.
func TestLocalFailure(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.EADDRNOTAVAIL, unix.ENOBUFS} {
		if f := ofHandshake(errno); f.what != Local {
			t.Errorf("%v is %q", errno, f.what)
		}
	}
	tlstest.Equal(t, "an error of no connection", ofHandshake(io.ErrShortBuffer).what, Local)
}
