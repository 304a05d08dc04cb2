package load

import (
	"cmp"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// reverseLines is a Handler that answers each line reversed.
func reverseLines() handler {
	return handler{data: func(c *reactor.Conn, p []byte) {
		line, _ := c.Data.([]byte)
		for _, b := range p {
			if b != '\n' {
				line = append(line, b)
				continue
			}
			for i := len(line) - 1; i >= 0; i-- {
				c.Write(line[i : i+1])
			}
			c.Write([]byte("\n"))
			line = line[:0]
		}
		c.Data = line
	}}
}

// workTime is how long TestKinds lets a Run work at least.
const workTime = 100 * time.Millisecond

// TestKinds: each kind does work against an honest server, in both versions and over two loops, again and
// again over the same connections, and leaves nothing behind. With the greatest duration as Timeout (P37), that is
// never, and not long ago.
func TestKinds(t *testing.T) {
	echoes, lines := ours(echo, nil), ours(reverseLines(), nil)
	for _, test := range []struct {
		name   string
		target target
		cfg    Config
	}{
		{"handshake", echoes, Config{Kind: Handshake}},
		{"resume", echoes, Config{Kind: Resume}},
		{"resume go", goes("rsa", discard), Config{Kind: Resume}},
		{"request", echoes, Config{Kind: Request}},
		{"request 1 byte", echoes, Config{Kind: Request, Size: 1}},
		{"request 3 MB", echoes, Config{Kind: Request, Size: 3 << 20}},
		{"reverse", lines, Config{Kind: Request, Answer: Reverse}},
		{"reverse 2 bytes", lines, Config{Kind: Request, Answer: Reverse, Size: 2}},
		{"reverse 16 KiB", lines, Config{Kind: Request, Answer: Reverse, Size: MaxLine}},
		{"open loop", echoes, Config{Kind: Request, Rate: 500}},
		{"stream", echoes, Config{Kind: Stream, Size: 100_000}},
		{"stream 4 MB", echoes, Config{Kind: Stream, Size: 4 << 20}},
		{"send", ours(reactor.BaseHandler{}, nil), Config{Kind: Send}},
		{"send go", goes("ecdsa", discard), Config{Kind: Send}},
		{"idle", echoes, Config{Kind: Idle}},
	} {
		for version, timeout := range map[cssl.TLSVersion]time.Duration{cssl.TLS12: tlstest.Hang, cssl.TLS13: math.MaxInt64} {
			t.Run(test.name+"/"+version.String(), func(t *testing.T) {
				noLeaks(t)
				cfg := config(test.target(t), test.cfg.Kind)
				cfg.Answer, cfg.Size, cfg.Rate = test.cfg.Answer, cmp.Or(test.cfg.Size, 1000), test.cfg.Rate
				cfg.Loops, cfg.Timeout, cfg.TLS.MinVersion, cfg.TLS.MaxVersion = 2, timeout, version, version
				l := mustNew(t, cfg)
				mustOpen(t, l, cfg.Conns)
				for round := range 2 {
					r := mustRun(t, l, workTime)
					// Connections that are opened within a Run may take longer than that.
					for d := workTime; cfg.Kind != Idle && r.Units+r.Sent == 0 && d < tlstest.Hang; d *= 2 {
						r = mustRun(t, l, 2*d)
					}
					checkWork(t, &cfg, round, r)
				}
				tlstest.Equal(t, "connections at work after Run", l.sum(busy), 0)
				if bound := l.bound(); bound < timeout {
					t.Errorf("work that ends may last %v", bound)
				}
			})
		}
	}
}

// checkWork wants the figures of a Run to agree.
func checkWork(t *testing.T, cfg *Config, round int, r Result) {
	t.Helper()
	if r.Elapsed < workTime || r.Version != cfg.TLS.MaxVersion.String() || r.Cipher == "" {
		t.Errorf("elapsed %v, version %q, cipher %q", r.Elapsed, r.Version, r.Cipher)
	}
	switch cfg.Kind {
	case Handshake, Resume:
		if r.Units == 0 || r.Opened < r.Units || cfg.Kind == Handshake && r.Opened != r.Units {
			t.Errorf("%d handshakes done, %d connections opened", r.Units, r.Opened)
		}
	case Request:
		if want := r.Units * uint64(cfg.Size); r.Units == 0 || r.Sent != want || r.Received != want {
			t.Errorf("%d messages, %d bytes sent and %d received, want %d", r.Units, r.Sent, r.Received, want)
		}
		if cfg.Rate > 0 && r.Units != 50 {
			t.Errorf("%d messages, want one each 2 ms for 100 ms", r.Units)
		}
	case Stream:
		if r.Sent < uint64(cfg.Size*cfg.Conns) || r.Sent != r.Received || r.Units != 0 {
			t.Errorf("%d bytes sent and %d received, %d units", r.Sent, r.Received, r.Units)
		}
	case Send:
		if r.Sent == 0 || r.Received != 0 {
			t.Errorf("%d bytes sent and %d received", r.Sent, r.Received)
		}
	case Idle:
		if want := uint64(cfg.Conns * (1 - round)); r.Units != want {
			t.Errorf("round %d: %d units", round, r.Units)
		}
	}
	open := 0
	if cfg.persistent() {
		open = cfg.Conns
	}
	tlstest.Equal(t, "connections at the end", r.Open, open)
	if n := r.Latency.TotalCount(); n != int64(r.Units) {
		t.Errorf("%d latencies for %d units", n, r.Units)
	}
	if r.Units > 0 && (r.Latency.Min() <= 0 || r.Latency.Max() > int64(tlstest.Hang)) {
		t.Errorf("latencies from %d to %d", r.Latency.Min(), r.Latency.Max())
	}
	if cfg.persistent() && round > 0 && r.Opened != 0 {
		t.Errorf("%d connections were opened in a later Run", r.Opened)
	}
}

// TestAdd: results add up.
func TestAdd(t *testing.T) {
	one := Result{Units: 1, Latency: NewHistogram(), Failures: map[Failure]uint64{Closed: 2, Refused: 3},
		Examples: map[Failure]string{Closed: "why", Refused: "nobody"}, Facts: Facts{Version: "TLSv1.3"}}
	tlstest.Must(t, one.Latency.RecordValue(7))
	var sum Result
	sum.Add(one)
	sum.Add(one)
	if sum.Units != 2 || sum.Latency.TotalCount() != 2 || sum.Facts != one.Facts ||
		sum.Err().Error() != "6 × refused (nobody); 4 × closed midway (why)" {
		t.Errorf("%+v", sum)
	}
}

// TestGrow: connections are added by and by, with a ramp, and each Run uses them all.
func TestGrow(t *testing.T) {
	cfg := config(serve(t, echo, nil), Request)
	cfg.Ramp, cfg.Rate = 20*time.Millisecond, 1000
	l := mustNew(t, cfg)
	if _, err := l.Run(t.Context(), 0); err == nil {
		t.Error("Run without a connection succeeded")
	}
	for _, n := range []int{1, 2, 200} {
		mustOpen(t, l, n)
		r := mustRun(t, l, 50*time.Millisecond)
		if r.Opened != uint64(n) || r.Units != 50 {
			t.Errorf("%d opened, want %d; %d messages", r.Opened, n, r.Units)
		}
	}
	if p := l.Progress(); p.Open != 203 || p.Opened != 203 || p.Units != 150 || p.Failures != 0 {
		t.Errorf("%+v", p)
	}
}

// TestServerName: the host of the target is checked, an address as an address, and what is set instead.
func TestServerName(t *testing.T) {
	target := serve(t, echo, nil)
	for _, test := range []struct {
		name   string
		verify cssl.VerifyMode
		ok     bool
	}{{"", 0, true}, {"localhost", 0, true}, {"127.0.0.1", 0, true}, {"other.test", 0, false}, {"other.test", cssl.VerifyNone, true}} {
		cfg := config(target, Idle)
		cfg.ServerName, cfg.TLS.Verify = test.name, test.verify
		l := mustNew(t, cfg)
		if err := l.Open(t.Context(), 1); (err == nil) != test.ok {
			t.Errorf("%q: %v", test.name, err)
		}
	}
}

// TestMisuse: calls at the wrong time are refused, in words to which a command can put its name.
func TestMisuse(t *testing.T) {
	l := mustNew(t, config("127.0.0.1:443", Request))
	_, idle := l.Run(t.Context(), time.Second)
	_, negative := l.Run(t.Context(), -1)
	opened := l.Open(t.Context(), -1)
	l.Close()
	_, closed := l.Run(t.Context(), time.Second)
	for want, err := range map[string]error{"no connection is open": idle, "duration -1ns": negative,
		"-1 connections to open": opened, "the load generator is closed": closed} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

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
