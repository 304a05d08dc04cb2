package load

import (
	"bytes"
	"crypto/tls"
	"io"
	"math"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
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

// chargenServer sends lines of its own accord, over Go's TLS.
func chargenServer(t testing.TB, spoil int) string {
	return serveGo(t, "ecdsa", nil, func(c *tls.Conn) {
		const all = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
		var buf bytes.Buffer
		for line := 0; ; line++ {
			start := line % len(all)
			buf.WriteString((all + all)[start : start+72])
			buf.WriteString("\r\n")
			if line == spoil {
				buf.Bytes()[buf.Len()-5] ^= 1
			}
			if buf.Len() > 20000 {
				if _, err := c.Write(buf.Bytes()); err != nil {
					return
				}
				buf.Reset()
			}
		}
	})
}

// workTime is how long TestKinds lets a Run work at least.
const workTime = 100 * time.Millisecond

// TestKinds: each kind does work against an honest server, in both versions and over two loops, again and
// again over the same connections, and leaves nothing behind.
func TestKinds(t *testing.T) {
	discard := func(c *tls.Conn) { io.Copy(io.Discard, c) }
	for _, version := range versions {
		for _, test := range []struct {
			name   string
			target func(t *testing.T) string
			change func(*Config)
		}{
			{"handshake", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind = Handshake }},
			{"resume", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind = Resume }},
			{"resume go", func(t *testing.T) string { return serveGo(t, "rsa", nil, discard) }, func(c *Config) { c.Kind = Resume }},
			{"request", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind = Request }},
			{"request 1 byte", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind, c.Size = Request, 1 }},
			{"request 3 MB", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind, c.Size = Request, 3<<20 }},
			{"reverse", func(t *testing.T) string { return serve(t, reverseLines(), nil) }, func(c *Config) { c.Kind, c.Answer = Request, Reverse }},
			{"reverse 2 bytes", func(t *testing.T) string { return serve(t, reverseLines(), nil) }, func(c *Config) { c.Kind, c.Answer, c.Size = Request, Reverse, 2 }},
			{"reverse 16 KiB", func(t *testing.T) string { return serve(t, reverseLines(), nil) }, func(c *Config) { c.Kind, c.Answer, c.Size = Request, Reverse, MaxLine }},
			{"open loop", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind, c.Rate = Request, 500 }},
			{"stream", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind, c.Size = Stream, 100_000 }},
			{"stream 4 MB", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind, c.Size = Stream, 4<<20 }},
			{"send", func(t *testing.T) string { return serve(t, handler{}, nil) }, func(c *Config) { c.Kind = Send }},
			{"send go", func(t *testing.T) string { return serveGo(t, "ecdsa", nil, discard) }, func(c *Config) { c.Kind = Send }},
			{"receive", func(t *testing.T) string { return chargenServer(t, -1) }, func(c *Config) { c.Kind = Receive }},
			{"idle", func(t *testing.T) string { return serve(t, echo, nil) }, func(c *Config) { c.Kind = Idle }},
		} {
			t.Run(test.name+"/"+version.String(), func(t *testing.T) {
				noLeaks(t)
				cfg := config(test.target(t), "")
				cfg.Size, cfg.Loops, cfg.TLS.MinVersion, cfg.TLS.MaxVersion = 1000, 2, version, version
				test.change(&cfg)
				l := mustNew(t, cfg)
				mustOpen(t, l, cfg.Conns)
				for round := range 2 {
					r := mustRun(t, l, workTime)
					// Connections that are opened within a Run may take longer than that.
					for d := workTime; cfg.Kind != Idle && r.Units+r.Sent+r.Received == 0 && d < tlstest.Hang; d *= 2 {
						r = mustRun(t, l, 2*d)
					}
					checkWork(t, &cfg, round, r)
				}
				tlstest.Equal(t, "connections at work after Run", l.state().busy, 0)
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
	open := 0
	switch cfg.Kind {
	case Handshake, Resume:
		if r.Units == 0 || r.Opened < r.Units {
			t.Errorf("%d handshakes done, %d connections opened", r.Units, r.Opened)
		}
		if cfg.Kind == Handshake && r.Opened != r.Units {
			t.Errorf("%d handshakes done, %d connections opened", r.Units, r.Opened)
		}
	case Request:
		open = cfg.Conns
		if want := r.Units * uint64(cfg.Size); r.Units == 0 || r.Sent != want || r.Received != want {
			t.Errorf("%d messages, %d bytes sent and %d received, want %d", r.Units, r.Sent, r.Received, want)
		}
		if cfg.Rate > 0 && r.Units != 50 {
			t.Errorf("%d messages, want one each 2 ms for 100 ms", r.Units)
		}
	case Stream:
		open = cfg.Conns
		if r.Sent < uint64(cfg.Size*cfg.Conns) || r.Sent != r.Received || r.Units != 0 {
			t.Errorf("%d bytes sent and %d received, %d units", r.Sent, r.Received, r.Units)
		}
	case Send:
		if r.Sent == 0 || r.Received != 0 {
			t.Errorf("%d bytes sent and %d received", r.Sent, r.Received)
		}
	case Receive:
		if r.Sent != 0 || r.Received == 0 {
			t.Errorf("%d bytes sent and %d received", r.Sent, r.Received)
		}
	case Idle:
		open = cfg.Conns
		if want := uint64(cfg.Conns); round == 0 && r.Units != want || round > 0 && r.Units != 0 {
			t.Errorf("round %d: %d units", round, r.Units)
		}
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

// TestNoTimeout (P37): the greatest duration as Timeout is never, and not long ago.
func TestNoTimeout(t *testing.T) {
	echoes := func(t *testing.T) string { return serve(t, echo, nil) }
	for name, test := range map[string]struct {
		target func(t *testing.T) string
		cfg    Config
	}{
		"handshake": {echoes, Config{Kind: Handshake}},
		"resume":    {echoes, Config{Kind: Resume}},
		"request":   {echoes, Config{Kind: Request}},
		"open loop": {echoes, Config{Kind: Request, Rate: 500}},
		"stream":    {echoes, Config{Kind: Stream, Size: 1 << 20}},
		"send":      {func(t *testing.T) string { return serve(t, handler{}, nil) }, Config{Kind: Send}},
		"receive":   {func(t *testing.T) string { return chargenServer(t, -1) }, Config{Kind: Receive}},
		"idle":      {echoes, Config{Kind: Idle}},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			cfg := config(test.target(t), test.cfg.Kind)
			cfg.Size, cfg.Rate, cfg.Timeout = test.cfg.Size, test.cfg.Rate, math.MaxInt64
			l := mustNew(t, cfg)
			mustOpen(t, l, cfg.Conns)
			mustRun(t, l, workTime)
			if bound := l.bound(); bound < cfg.Timeout {
				t.Errorf("work that ends may last %v", bound)
			}
		})
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
