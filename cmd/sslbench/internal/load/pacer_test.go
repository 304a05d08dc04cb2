package load

import (
	"crypto/tls"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

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
	if r.Units != rate {
		t.Errorf("%d messages, want %d", r.Units, rate)
	}
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
	r, err := l.Run(t.Context(), 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
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
	r, err = l.Run(t.Context(), 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Failures[TooSlow]; n < 4700 || r.Units >= 5000 || r.Units+n+r.Failures[TimedOut] < 5000 {
		t.Errorf("%d answered, %v", r.Units, r.Failures)
	}
}

// TestALittleTooSlow: a server that falls short of the rate is named after a second already.
func TestALittleTooSlow(t *testing.T) {
	slow := handler{data: func(c *reactor.Conn, p []byte) { time.Sleep(5 * time.Millisecond); c.Write(p) }} // less than 200 a second
	cfg := config(serve(t, slow, nil), Request)
	cfg.Conns, cfg.Rate, cfg.Size = 1, 250, 100
	l := mustNew(t, cfg)
	mustOpen(t, l, 1)
	r, err := l.Run(t.Context(), time.Second)
	if err != nil || r.Units != 250 {
		t.Errorf("%d answered; %v", r.Units, err)
	}
	wantOnly(t, r, TooSlow, "250 messages a second")
	if n := r.Failures[TooSlow]; n < 40 {
		t.Errorf("%d too slow, want 50 or more", n)
	}
}

// TestFastEnough: a server that keeps up is not named, on a machine that is free for a moment.
func TestFastEnough(t *testing.T) {
	cfg := config(serve(t, echo, nil), Request)
	cfg.Rate = 100
	l := mustNew(t, cfg)
	mustOpen(t, l, 4)
	for end := time.Now().Add(hang); ; {
		r := mustRun(t, l, 400*time.Millisecond)
		if len(r.Failures) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("every Run was too slow")
		}
	}
}

// TestTrend: what is too slow for the rate is told from what is held up.
func TestTrend(t *testing.T) {
	const ms = time.Millisecond
	type stall struct{ from, to time.Duration }
	for _, test := range []struct {
		name     string
		d        time.Duration
		rate     float64
		capacity float64
		stalls   []stall
		deaf     stall // the pacer takes no notes
		want     bool
	}{
		{"keeps up", time.Second, 250, 1000, nil, stall{}, false},
		{"195 of 250", time.Second, 250, 195, nil, stall{}, true},
		{"90 % for 360 ms", 360 * ms, 60_000, 54_000, nil, stall{}, true},
		{"97 %", time.Second, 60_000, 58_200, nil, stall{}, false},
		{"five messages", 500 * ms, 20, 10, nil, stall{}, false},
		{"30 ms at the end", 360 * ms, 60_000, 70_000, []stall{{330 * ms, 360 * ms}}, stall{}, false},
		{"100 ms at the end", 360 * ms, 60_000, 70_000, []stall{{260 * ms, 360 * ms}}, stall{}, false},
		{"100 ms in the middle, little to spare", 360 * ms, 60_000, 63_000, []stall{{130 * ms, 230 * ms}}, stall{}, false},
		{"twice 50 ms", 750 * ms, 60_000, 63_000, []stall{{130 * ms, 180 * ms}, {700 * ms, 750 * ms}}, stall{}, false},
		{"nobody looked", time.Second, 250, 195, nil, stall{500 * ms, 750 * ms}, false},
		{"too short to say", 100 * ms, 60_000, 30_000, nil, stall{}, false},
	} {
		tr := trend{d: test.d, conns: 1}
		in := func(s stall, at time.Duration) bool { return at >= s.from && at < s.to }
		const step = ms / 2
		done := 0.0
		for at := time.Duration(0); at < test.d; at += step {
			if !in(test.deaf, at) {
				tr.note(at, uint64(done))
			}
			tr.due = uint64(test.rate * (at + step).Seconds())
			held := false
			for _, s := range test.stalls {
				held = held || in(s, at)
			}
			if !held {
				done = min(float64(tr.due), done+test.capacity*step.Seconds())
			}
		}
		if got := tr.tooSlow(uint64(done)); got != test.want {
			t.Errorf("%s: too slow %v; least %v, %v of %d done", test.name, got, tr.least, done, tr.due)
		}
	}
}

// TestRateOverFailures: messages due on a connection that is down are counted one way or the other.
func TestRateOverFailures(t *testing.T) {
	cfg := config(serveGo(t, "ecdsa", nil, echoThen(1000, func(*tls.Conn) {})), Request)
	cfg.Rate, cfg.Size = 400, 100
	l := mustNew(t, cfg)
	mustOpen(t, l, 4)
	r, err := l.Run(t.Context(), 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Units + r.Failures[Closed] + r.Failures[TooSlow]; r.Units == 0 || r.Failures[Closed] == 0 || n < 200 {
		t.Errorf("%d answered, %v: less than 200 in all", r.Units, r.Failures)
	}
}

// TestOpenedWhileStopping: what was due on a connection that was down, and comes
// back only when the duration is over, is counted too.
func TestOpenedWhileStopping(t *testing.T) {
	l := &Load{cfg: Config{Rate: 400}, start: time.Now()}
	w := &worker{load: l, loops: &loops{load: l}, phase: stopping}
	s := &slot{w: w, next: 3}
	w.slots, w.loops.slots = []*slot{s}, []*slot{s}
	w.due.Store(10)
	if (kept{}).open(s) {
		t.Error("it is to begin")
	}
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
		zero := l.now()
		p := startPacer(l, zero, total, func(n uint64) {
			if early := zero + dueAfter(n-1, rate) - l.now(); early > time.Microsecond {
				t.Errorf("rate %v: message %d came %v early", rate, n-1, early)
			}
			if n <= last.Load() || n > total {
				t.Errorf("rate %v: %d are due after %d", rate, n, last.Load())
			}
			last.Store(n)
		})
		waitFor(t, "all to be due", func() bool { return last.Load() == total })
		p.end(false)
	}
}

// TestNoAllocations: a message in closed loop costs no memory, on the client's side nor on the server's.
func TestNoAllocations(t *testing.T) {
	if sanitized {
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
