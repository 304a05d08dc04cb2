package load

import (
	"crypto/tls"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// TestStallShows: a server that stops once for 300 ms delays every message that falls due in that time, and not just
// the one for each connection that it had in hand.
func TestStallShows(t *testing.T) {
	const rate, stall = 1000, 300 * time.Millisecond
	var seen, stalled atomic.Int64
	// One loop serves all connections, so all of them stall.
	cfg := config(serve(t, handler{data: func(c *reactor.Conn, p []byte) {
		if seen.Add(1) > 100 && stalled.CompareAndSwap(0, 1) {
			time.Sleep(stall)
		}
		c.Write(p)
	}}, nil), Request)
	cfg.Rate, cfg.Conns, cfg.Size = rate, 2, 100
	l := mustNew(t, cfg)
	mustOpen(t, l, cfg.Conns)
	r := mustRun(t, l, time.Second)
	tlstest.Equal(t, "messages", r.Units, rate)
	// Those due in the first 200 of the 300 ms waited for 100 ms or more: some 200.
	late := int64(0)
	for _, bar := range r.Latency.Distribution() {
		if bar.From >= int64(100*time.Millisecond) {
			late += bar.Count
		}
	}
	if late < 150 {
		t.Errorf("%d messages waited for 100 ms or more, want about 200", late)
	}
	if p := r.Latency.ValueAtPercentile(99); p < int64(200*time.Millisecond) {
		t.Errorf("p99 is %v", time.Duration(p))
	}
}

// TestTooSlow: a server that cannot keep up is named, and Run ends.
func TestTooSlow(t *testing.T) {
	slow := func(c *tls.Conn) {
		buf := make([]byte, 100)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
			c.Write(buf)
		}
	}
	cfg := config(serveGo(t, "ecdsa", nil, slow), Request)
	cfg.Rate, cfg.Size = 2000, 100
	l := mustNew(t, cfg)
	mustOpen(t, l, 4)
	r := tlstest.Value(l.Run(t.Context(), 500*time.Millisecond))(t)
	wantOnly(t, r, TooSlow, "2000 messages a second")
	// At most 4 connections × 50 answers come in time.
	if n := r.Failures[TooSlow]; n < 700 || r.Units != 1000 {
		t.Errorf("%d too slow, %d answered", n, r.Units)
	}
	if r.Latency.Max() < int64(time.Second) {
		t.Errorf("the greatest latency is %v", time.Duration(r.Latency.Max()))
	}

	// With a time-out that is short beside the work the rest is given up, and counted all the same.
	cfg.Timeout, cfg.Rate = 2*time.Second, 10_000
	l = mustNew(t, cfg)
	mustOpen(t, l, 4)
	r = tlstest.Value(l.Run(t.Context(), 500*time.Millisecond))(t)
	if n := r.Failures[TooSlow]; n < 4700 || r.Units >= 5000 || r.Units+n+r.Failures[TimedOut] < 5000 {
		t.Errorf("%d answered, %v", r.Units, r.Failures)
	}
}

// TestFastEnough: a server that keeps up is not named, on a machine that is free for a moment.
func TestFastEnough(t *testing.T) {
	cfg := config(serve(t, echo, nil), Request)
	cfg.Rate = 100
	l := mustNew(t, cfg)
	mustOpen(t, l, 4)
	for end := time.Now().Add(tlstest.Hang); ; {
		r := mustRun(t, l, 400*time.Millisecond)
		if len(r.Failures) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("every Run was too slow")
		}
	}
}

// TestRateOverFailures: messages due on a connection that is down are counted one way or the other.
func TestRateOverFailures(t *testing.T) {
	cfg := config(serveGo(t, "ecdsa", nil, echoThen(1000, func(*tls.Conn) {})), Request)
	cfg.Rate, cfg.Size = 400, 100
	l := mustNew(t, cfg)
	mustOpen(t, l, 4)
	r := tlstest.Value(l.Run(t.Context(), 500*time.Millisecond))(t)
	if n := r.Units + r.Failures[Closed] + r.Failures[TooSlow]; r.Units == 0 || r.Failures[Closed] == 0 || n < 200 {
		t.Errorf("%d answered, %v: less than 200 in all", r.Units, r.Failures)
	}
}

// TestOpenedWhileStopping: what was due on a connection that was down, and comes
// back only when the duration is over, is counted too.
func TestOpenedWhileStopping(t *testing.T) {
	l := &Load{cfg: Config{Kind: Request, Rate: 400}, start: time.Now()}
	w := &worker{load: l, phase: stopping}
	s := &slot{w: w, next: 3}
	w.slots, w.load.slots = []*slot{s}, []*slot{s}
	w.due.Store(10)
	w.welcome(s)
	if failures, _ := l.tally.take(); failures[TooSlow] != 7 || s.backlog() != 0 {
		t.Errorf("%v are counted, not 7; %d are left", failures, s.backlog())
	}
}

// TestPacer: each message is due once, none before its time, and a rate of millions a second is reached.
func TestPacer(t *testing.T) {
	for _, rate := range []float64{50, 3e4, 5e6} {
		l := &Load{cfg: Config{Rate: rate}, start: time.Now()}
		const d = 100 * time.Millisecond
		total := uint64(rate * d.Seconds())
		var last atomic.Uint64
		l.zero = l.now()
		end := startPacer(l, total, func(n uint64) {
			if early := l.due(n-1) - l.now(); early > time.Microsecond {
				t.Errorf("rate %v: message %d came %v early", rate, n-1, early)
			}
			if n <= last.Load() || n > total {
				t.Errorf("rate %v: %d are due after %d", rate, n, last.Load())
			}
			last.Store(n)
		})
		tlstest.Until(t, "all to be due", func() bool { return last.Load() == total })
		end(false)
	}
}

// TestNoAllocations: a message in closed loop costs no memory, on the client's side nor on the server's.
func TestNoAllocations(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("sync.Pool keeps nothing reliably under the race detector or the address sanitizer")
	}
	for _, rate := range []float64{0, 5000} {
		cfg := config(serve(t, echo, nil), Request)
		cfg.Conns, cfg.Rate = 64, rate
		l := mustNew(t, cfg)
		mustOpen(t, l, cfg.Conns)
		l.Run(t.Context(), 100*time.Millisecond)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := l.Run(t.Context(), 500*time.Millisecond) // too slow a machine is no matter here
		runtime.ReadMemStats(&after)
		// A Run itself allocates: the histogram, timers, tasks.
		if n := after.Mallocs - before.Mallocs; err != nil || float64(n) > 1000+0.02*float64(r.Units) {
			t.Errorf("rate %v: %d allocations for %d messages; %v", rate, n, r.Units, err)
		}
	}
}
