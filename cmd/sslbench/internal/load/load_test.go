package load

import (
	"cmp"
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
		{"send", ours(handler{}, nil), Config{Kind: Send}},
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
