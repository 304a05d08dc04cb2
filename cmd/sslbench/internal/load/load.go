// Package load is a load generator for TLS servers, on reactor loops.
//
//	l, err := load.New(cfg)    // checks the settings and resolves the target; no connection yet
//	err = l.Open(ctx, n)       // Request, Stream, Idle: n more connections, ramped; returns when all are open
//	r, err := l.Run(ctx, d)    // work for d, then rest: when it returns, nothing is under way
//	r, err = l.Run(ctx, d)     // and again, over the same connections
//	p := l.Progress()          // at any time, from any goroutine
//	l.Close()
//
// Since nothing is under way before and after a Run, a server's CPU time between the two belongs to that
// Run's work and to nothing else. The kinds that use a connection up (Handshake, Resume, Send) open theirs within
// Run and close them before it returns; Open is not needed for them.
//
// Everything that comes back is checked byte for byte. A connection that fails is counted by what went
// wrong and replaced, at a bounded rate; Run ends early only when ctx does or when nothing at all gets
// through any more.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/saturate"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// Load puts load on one target. Open, Run and Close are for one goroutine at a time (a second call waits);
// Progress may be called from any.
type Load struct {
	cfg   Config
	addrs []netip.AddrPort
	start time.Time
	tls   *cssl.Context

	// The connections are dealt out in turn over the loops. One goroutine at a time
	// changes these, while the loops rest.
	workers []*worker
	slots   []*slot // in the order in which they were made
	made    int
	running sync.WaitGroup

	// Open loop: message k is due at zero + k/Rate, which is set before the first is due.
	zero time.Duration

	// address is the index of the one in addrs that worked last.
	address atomic.Int32
	facts   atomic.Pointer[Facts] // of the first handshake
	tally   tally
	health  health
	changed chan struct{} // something happened that the call under way should look at

	mu     sync.Mutex // held by the call under way
	closed atomic.Bool
	before [counters]int64 // as of the end of the last Run
}

// counter is a number that each loop counts for itself.
type counter int

const (
	// Of what was done, from the beginning.
	units counter = iota
	sent
	received
	opened
	// Of connections and slots, as it stands.
	open
	busy    // something is under way
	hopeful // busy, and the last attempt did not fail
	bad     // the last attempt failed
	missing // the Open under way waits for them
	untried // not tried yet, although nothing keeps them from it
	counters
)

// sum is a counter over all loops.
func (l *Load) sum(c counter) (n int64) {
	for _, w := range l.workers {
		n += w.count[c].Load()
	}
	return n
}

// longest is the greatest latency that is told apart.
const longest = time.Hour

// NewHistogram is one for latencies.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(longest), 3) }

// maxSettle is how long a cancelled Run waits for answers before it cuts them off.
const maxSettle = time.Second

// New checks the settings and resolves the target. It makes no connection. The caller closes the Load.
func New(cfg Config) (*Load, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l := &Load{cfg: cfg, start: time.Now(), changed: make(chan struct{}, 1)}
	if err := cfg.needFiles(cfg.Conns); err != nil {
		return nil, err
	}
	var err error
	if l.addrs, err = resolve(cfg.Target, cfg.Timeout); err != nil {
		return nil, err
	}
	// A record buffer of 33 kB for each of thousands of connections is much memory.
	cfg.TLS.ReleaseBuffers = cfg.TLS.ReleaseBuffers || cfg.Kind == Idle || cfg.Conns > 1000
	if l.tls, err = cssl.NewClientContext(cfg.TLS); err != nil {
		return nil, err
	}
	// A name that cannot be one is refused here, not once for each connection.
	probe, err := l.tls.NewEngineConn(l.connConfig(nil))
	if err == nil {
		probe.Close()
		err = l.startLoops()
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// now is the time since the Load was made.
func (l *Load) now() time.Duration { return time.Since(l.start) }

// poke makes the call under way look at the state.
func (l *Load) poke() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// every is how often deadlines are looked at.
func (l *Load) every() time.Duration {
	return min(max(l.cfg.Timeout/10, time.Millisecond), 50*time.Millisecond)
}

// bound is for how long work may go on to its end: a handshake, and the wait for the server's end. Each has
// a deadline of its own; this is for the case that they fail.
func (l *Load) bound() time.Duration {
	return saturate.Add(saturate.Add(l.cfg.Timeout, l.cfg.Timeout), maxSettle)
}

// deadline is that of what begins at now.
func (l *Load) deadline(now time.Duration) time.Duration { return saturate.Add(now, l.cfg.Timeout) }

var (
	errClosed = errors.New("the load generator is closed")
	errOver   = errors.New("the duration is over")
	errNoEnd  = failed(TimedOut, errors.New("a connection did not come to its end"))
)

// wait ticks until done, until ctx ends or, if work goes on, until there is no hope.
func (l *Load) wait(ctx context.Context, goesOn bool, done func() bool) error {
	ticker := time.NewTicker(l.every())
	defer ticker.Stop()
	for !done() {
		if goesOn && l.sum(bad) > 0 && l.sum(hopeful) == 0 && l.health.hopeless(l.now(), l.sum(untried) > 0) {
			return fmt.Errorf("nothing gets through: %w", l.tally.worst())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.changed:
		case <-ticker.C:
			for _, w := range l.workers {
				if !w.ticking.Swap(true) {
					w.loop.Do(w.tick)
				}
			}
		}
	}
	return nil
}

// settle waits until nothing is under way: for bound, then what is left is cut off.
func (l *Load) settle(bound time.Duration, cause error) {
	idle := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return l.wait(ctx, false, func() bool { return l.sum(busy) == 0 })
	}
	if idle(bound) != nil {
		l.cut(cause)
		_ = idle(maxSettle)
	}
	l.each((*worker).rest)
	if l.cfg.persistent() {
		l.slots = slices.DeleteFunc(l.slots, (*slot).never)
	}
}

// cut ends what is under way at once. It counts as cause, or not at all if that is nil.
func (l *Load) cut(cause error) { l.each(func(w *worker) { w.cut(cause) }) }

// Open opens n connections more, over the time Config.Ramp if that is set, and returns when all are open
// (Request, Stream, Idle). For Resume it fetches a session for each connection that has none, n does not
// matter, and Run does so itself otherwise; for the other kinds it does nothing. If ctx ends, or
// nothing gets through, it returns an error, and those that are open stay so. What failed meanwhile is
// in the Result of the next Run.
func (l *Load) Open(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed.Load():
		return errClosed
	case n < 0:
		return fmt.Errorf("%d connections to open", n)
	case l.cfg.persistent():
		if err := l.cfg.needFiles(int(l.sum(open)) + n); err != nil {
			return err
		}
		l.add(n)
	case l.cfg.Kind == Resume:
		l.addAll()
	default:
		return nil
	}
	l.health.begin(true)
	l.each(func(w *worker) { w.begin(opening) })
	err := l.wait(ctx, true, func() bool { return l.sum(missing) == 0 })
	left := l.sum(missing)
	if err != nil {
		l.cut(nil)
	} else {
		l.each(func(w *worker) { w.phase = stopping })
	}
	l.settle(l.bound(), errNoEnd)
	if err != nil && l.cfg.persistent() {
		return fmt.Errorf("%d of %d connections opened: %w", int64(n)-left, n, err)
	}
	return err
}

// Run works for d and then lets what is under way end. Its Result also has what failed and was opened
// since the last Run. It ends early with an error, and with the Result so far, when ctx ends or when
// nothing gets through: when the first connections all fail, or when for 3 s there is nothing but failures.
func (l *Load) Run(ctx context.Context, d time.Duration) (Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	persistent := l.cfg.persistent()
	switch {
	case l.closed.Load():
		return Result{}, errClosed
	case d < 0:
		return Result{}, fmt.Errorf("duration %v", d)
	case persistent && l.sum(open) == 0:
		return l.result(0), errors.New("no connection is open")
	case !persistent:
		l.addAll()
	}
	l.health.begin(!persistent)
	began := l.now()
	for i, s := range l.slots {
		s.next = uint64(i)
	}
	l.each(func(w *worker) { w.begin(running) })
	endPace := func(bool) {}
	if l.cfg.Rate > 0 {
		l.zero = l.now()
		endPace = startPacer(l, uint64(math.Ceil(d.Seconds()*l.cfg.Rate)), l.tellDue)
	}
	over, cancel := context.WithTimeoutCause(ctx, d-(l.now()-began), errOver)
	err := l.wait(over, true, func() bool { return false })
	cancel()
	if errors.Is(err, errOver) {
		err = nil
	}
	endPace(err == nil)
	l.each((*worker).stop) // connections that were not begun are left so
	bound, cause := l.bound(), errNoEnd
	if ctx.Err() != nil {
		bound, cause = min(bound, maxSettle), nil
	}
	l.settle(bound, cause)
	return l.result(l.now() - began), err
}

// Collect is the Result of an Open that no Run follows: what was opened and what failed since the last Run.
func (l *Load) Collect() Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result(0)
}

// result is what happened since the last one.
func (l *Load) result(elapsed time.Duration) Result {
	since := func(c counter) uint64 {
		n := l.sum(c)
		defer func() { l.before[c] = n }()
		return uint64(n - l.before[c])
	}
	r := Result{Elapsed: elapsed, Units: since(units), Sent: since(sent), Received: since(received), Opened: since(opened),
		Open: int(l.sum(open)), Latency: NewHistogram()}
	var mu sync.Mutex
	l.each(func(w *worker) {
		mu.Lock()
		defer mu.Unlock()
		r.Latency.Merge(w.latency)
		w.latency.Reset()
	})
	r.Failures, r.Examples = l.tally.take()
	if f := l.facts.Load(); f != nil {
		r.Facts = *f
	}
	return r
}

// Progress is what a Load has done since it was made.
type Progress struct {
	Units, Sent, Received, Opened, Failures uint64
	Open                                    int // connections now
}

// Progress may be called at any time, from any goroutine.
func (l *Load) Progress() Progress {
	sum := func(c counter) uint64 { return uint64(l.sum(c)) }
	return Progress{sum(units), sum(sent), sum(received), sum(opened), l.tally.total.Load(), int(sum(open))}
}

// Close ends all connections, by a reset, and waits until the loops have ended.
func (l *Load) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return
	}
	for _, w := range l.workers {
		w.loop.Stop()
	}
	l.running.Wait()
	l.tls.Close()
}

// connConfig is what one connection gets; s is a session to resume, or nil.
func (l *Load) connConfig(s *cssl.Session) cssl.ConnConfig {
	return cssl.ConnConfig{ServerName: l.cfg.ServerName, InsecureSkipNameCheck: l.cfg.TLS.Verify == cssl.VerifyNone, Session: s}
}

// startLoops starts an event loop for each of Config.Loops.
func (l *Load) startLoops() error {
	c := &l.cfg
	cfg := reactor.LoopConfig{Limits: reactor.Limits{HandshakeTimeout: c.Timeout, CloseTimeout: c.Timeout}}
	cfg.Session.HighWater = sendAhead
	switch c.Kind {
	case Request, Stream:
		// Above the watermark reading would pause, and an echo server that waits
		// for us to read would not let the queue shrink.
		cfg.Session.HighWater = max(sendAhead, 2*c.Size)
		cfg.Session.MaxQueue = max(16<<20, 4*c.Size)
	case Send:
		cfg.Session.LingerBytes = 1 // a server that answers after our close_notify answers all the same
	case Handshake, Resume:
		cfg.Trace = noteEnd
	}
	for range min(l.cfg.Loops, max(l.cfg.Conns, 1)) {
		loop, err := reactor.NewLoop(cfg)
		if err != nil {
			return err
		}
		w := &worker{load: l, loop: loop, latency: NewHistogram(), job: newJob(&l.cfg)}
		w.dealFunc = w.deal
		l.workers = append(l.workers, w)
		l.running.Go(func() {
			if l.cfg.Background {
				runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
				if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
					l.tally.add(Local, 1, fmt.Errorf("sched_setattr: %w", err))
				}
			}
			if err := w.loop.Run(); err != nil {
				l.tally.add(Local, 1, err)
			}
		})
	}
	return nil
}

// each runs f on every loop and waits until that is done.
func (l *Load) each(f func(w *worker)) {
	var done sync.WaitGroup
	for _, w := range l.workers {
		done.Add(1)
		if !w.loop.Do(func() { defer done.Done(); f(w) }) {
			done.Done()
		}
	}
	done.Wait()
}

// add makes n slots more. The loops rest.
func (l *Load) add(n int) {
	from := len(l.slots)
	for i := range n {
		after := time.Duration(float64(l.cfg.Ramp) * float64(i) / float64(n))
		l.slots = append(l.slots, &slot{w: l.workers[l.made%len(l.workers)], index: l.made, startAt: after})
		l.made++
	}
	l.each(func(w *worker) {
		for _, s := range l.slots[from:] {
			if s.w == w {
				w.slots = append(w.slots, s)
				w.fresh = append(w.fresh, s)
			}
		}
	})
}

// addAll makes the slots of a kind that keeps no connection.
func (l *Load) addAll() {
	if len(l.slots) == 0 {
		l.add(l.cfg.Conns)
	}
}
