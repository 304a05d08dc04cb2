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
	"github.com/spacemonad/go-openssl/session"
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
	closing atomic.Bool

	// Open loop: message k is due at zero + k/Rate. Both are set before the first is
	// due.
	pacer *pacer
	zero  time.Duration

	// address is the index of the one in addrs that worked last.
	address atomic.Int32
	tally   tally
	health  health
	changed chan struct{} // something happened that the call under way should look at

	mu     sync.Mutex // held by the call under way
	closed bool
	before totals // as of the end of the last Run

	facts struct {
		sync.Mutex
		known                        bool
		version, cipher, group, alpn string
	}
}

// state is the number of connections in each state, over all loops.
type state struct {
	busy    int64 // something is under way
	hopeful int64 // busy, and the last attempt did not fail
	bad     int64 // the last attempt failed
	missing int64 // the Open under way waits for them
	untried int64 // not tried yet, although nothing keeps them from it
}

// totals are counted from the beginning.
type totals struct {
	units, sent, received, opened uint64
	open                          int64
}

// longest is the greatest latency that is told apart.
const longest = time.Hour

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(longest), 3) }

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
		l.tls.Close()
		return nil, err
	}
	return l, nil
}

// persistent reports whether connections outlive a Run.
func (c *Config) persistent() bool { return c.Kind == Request || c.Kind == Stream || c.Kind == Idle }

// now is the time since the Load was made.
func (l *Load) now() time.Duration { return time.Since(l.start) }

// poke makes the call under way look at the state.
func (l *Load) poke() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

var errClosed = errors.New("the load generator is closed")

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

var errNoEnd = failed(TimedOut, errors.New("a connection did not come to its end"))

// wait ticks until done, ctx, or until there is no hope.
func (l *Load) wait(ctx context.Context, done func(state) bool, deadline <-chan time.Time) error {
	ticker := time.NewTicker(l.every())
	defer ticker.Stop()
	for {
		s := l.state()
		if done(s) {
			return nil
		}
		if s.bad > 0 && s.hopeful == 0 && l.health.hopeless(l.now(), s.untried > 0) {
			return fmt.Errorf("nothing gets through: %w", l.tally.worst())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return nil
		case <-l.changed:
		case <-ticker.C:
			l.tick()
		}
	}
}

// settle waits until nothing is under way: for bound, then what is left is cut off.
func (l *Load) settle(bound time.Duration, cause error) {
	if !l.idle(bound) {
		l.cut(cause)
		l.idle(maxSettle)
	}
	l.rest()
}

// idle waits until nothing is under way, and answers false if bound passes before.
func (l *Load) idle(bound time.Duration) bool {
	ticker := time.NewTicker(l.every())
	defer ticker.Stop()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	for l.state().busy > 0 {
		select {
		case <-timer.C:
			return false
		case <-l.changed:
		case <-ticker.C:
			l.tick()
		}
	}
	return true
}

// Open opens n connections more, over the time Config.Ramp if that is set, and returns when all are open
// (Request, Stream, Idle). For Resume it fetches a session for each connection that has none, n does not
// matter, and Run does so itself otherwise; for the other kinds it does nothing. If ctx ends, or
// nothing gets through, it returns an error, and those that are open stay so. What failed meanwhile is
// in the Result of the next Run.
func (l *Load) Open(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return errClosed
	case n < 0:
		return fmt.Errorf("%d connections to open", n)
	case l.cfg.persistent():
		l.health.begin(true)
		if err := l.cfg.needFiles(int(l.totals().open) + n); err != nil {
			return err
		}
		l.add(n)
	case l.cfg.Kind == Resume:
		l.health.begin(true)
		if len(l.slots) == 0 {
			l.add(l.cfg.Conns)
		}
	default:
		return nil
	}
	l.each(func(w *worker) { w.begin(opening) })
	err := l.wait(ctx, func(s state) bool { return s.missing == 0 }, nil)
	missing := l.state().missing
	if err != nil {
		l.cut(nil)
	} else {
		l.each(func(w *worker) { w.phase = stopping })
	}
	l.settle(l.bound(), errNoEnd)
	if err != nil && l.cfg.persistent() {
		return fmt.Errorf("%d of %d connections opened: %w", int64(n)-missing, n, err)
	}
	return err
}

// Run works for d and then lets what is under way end. Its Result also has what failed and was opened
// since the last Run. It ends early with an error, and with the Result so far, when ctx ends or when
// nothing gets through: when the first connections all fail, or when for 3 s there is nothing but failures.
func (l *Load) Run(ctx context.Context, d time.Duration) (Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return Result{}, errClosed
	case d < 0:
		return Result{}, fmt.Errorf("duration %v", d)
	case l.cfg.persistent() && l.totals().open == 0:
		return l.result(0), errors.New("no connection is open")
	}
	l.health.begin(!l.cfg.persistent())
	began := l.now()
	l.run(d)
	end := time.NewTimer(d - (l.now() - began))
	err := l.wait(ctx, func(state) bool { return false }, end.C)
	end.Stop()
	l.stop(err == nil)
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
	t, b := l.totals(), l.before
	l.before = t
	r := Result{
		Elapsed: elapsed, Units: t.units - b.units, Sent: t.sent - b.sent, Received: t.received - b.received,
		Opened: t.opened - b.opened, Open: int(t.open), Latency: newHistogram(),
	}
	l.latency(r.Latency)
	r.Failures, r.Examples = l.tally.take()
	l.facts.Lock()
	defer l.facts.Unlock()
	r.Version, r.Cipher, r.Group, r.ALPN = l.facts.version, l.facts.cipher, l.facts.group, l.facts.alpn
	return r
}

// learn keeps the facts of the first handshake.
func (l *Load) learn(c *reactor.Conn) {
	l.facts.Lock()
	defer l.facts.Unlock()
	if l.facts.known {
		return
	}
	s := c.State()
	l.facts.known, l.facts.version, l.facts.cipher, l.facts.group, l.facts.alpn = true, s.Version.String(), s.Cipher, s.Group, s.ALPN
}

// Progress is what a Load has done since it was made.
type Progress struct {
	Units, Sent, Received, Opened, Failures uint64
	Open                                    int // connections now
}

// Progress may be called at any time, from any goroutine.
func (l *Load) Progress() Progress {
	t := l.totals()
	return Progress{t.units, t.sent, t.received, t.opened, l.tally.total.Load(), int(t.open)}
}

// Close ends all connections, by a reset, and waits until the loops have ended.
func (l *Load) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	l.stopLoops()
	l.tls.Close()
}

// connConfig is what one connection gets; s is a session to resume, or nil.
func (l *Load) connConfig(s *cssl.Session) cssl.ConnConfig {
	return cssl.ConnConfig{ServerName: l.cfg.ServerName, InsecureSkipNameCheck: l.cfg.TLS.Verify == cssl.VerifyNone, Session: s}
}

// loopConfig is that of the loops for a Config.
func loopConfig(c *Config) reactor.LoopConfig {
	s := session.Config{HighWater: sendAhead}
	if c.Kind == Request || c.Kind == Stream {
		// Above the watermark reading would pause, and an echo server that waits
		// for us to read would not let the queue shrink.
		s.HighWater = max(sendAhead, 2*c.Size)
		s.MaxQueue = max(16<<20, 4*c.Size)
	}
	if c.Kind == Send {
		s.LingerBytes = 1 // a server that answers after our close_notify answers all the same
	}
	cfg := reactor.LoopConfig{Limits: reactor.Limits{HandshakeTimeout: c.Timeout, CloseTimeout: c.Timeout}, Session: s}
	if c.Kind == Handshake || c.Kind == Resume {
		cfg.Trace = noteEnd
	}
	return cfg
}

// startLoops starts an event loop for each of Config.Loops.
func (l *Load) startLoops() error {
	for range min(l.cfg.Loops, max(l.cfg.Conns, 1)) {
		w, err := newWorker(l)
		if err != nil {
			l.stopLoops()
			return err
		}
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
	fresh := make([][]*slot, len(l.workers))
	for i := range n {
		at := l.made % len(l.workers)
		s := &slot{w: l.workers[at], index: l.made, startAt: time.Duration(float64(l.cfg.Ramp) * float64(i) / float64(n))}
		l.made++
		l.slots = append(l.slots, s)
		fresh[at] = append(fresh[at], s)
	}
	for i, w := range l.workers {
		w.loop.Do(func() { w.add(fresh[i]) })
	}
}

// run begins to work for d.
func (l *Load) run(d time.Duration) {
	cfg := &l.cfg
	if !cfg.persistent() && len(l.slots) == 0 {
		l.add(cfg.Conns)
	}
	for i, s := range l.slots {
		s.next = uint64(i)
	}
	l.each(func(w *worker) { w.begin(running) })
	if cfg.Rate > 0 {
		l.zero = l.now()
		l.pacer = startPacer(l, l.zero, uint64(math.Ceil(d.Seconds()*cfg.Rate)), func(due uint64) {
			for _, w := range l.workers {
				w.tellDue(due)
			}
		})
	}
}

// due is when message k is.
func (l *Load) due(k uint64) time.Duration { return l.zero + dueAfter(k, l.cfg.Rate) }

// stop begins to end the work; connections that were not begun are left so. over: the duration has passed.
func (l *Load) stop(over bool) {
	if l.pacer != nil {
		l.pacer.end(over)
		l.pacer = nil
	}
	l.each((*worker).stop)
}

// cut ends what is under way at once. It counts as cause, or not at all if that is nil.
func (l *Load) cut(cause error) { l.each(func(w *worker) { w.cut(cause) }) }

// rest says that what was begun is over.
func (l *Load) rest() {
	l.each((*worker).rest)
	if !l.cfg.persistent() {
		return
	}
	l.slots = slices.DeleteFunc(l.slots, func(s *slot) bool { return !s.everOpen })
}

// tick makes the loops look at deadlines and redial.
func (l *Load) tick() {
	for _, w := range l.workers {
		if !w.ticking.Swap(true) {
			w.loop.Do(w.tickFunc)
		}
	}
}

func (l *Load) state() (sum state) {
	for _, w := range l.workers {
		sum.busy += w.busy.Load()
		sum.hopeful += w.hopeful.Load()
		sum.bad += w.bad.Load()
		sum.missing += w.missing.Load()
		sum.untried += w.untried.Load()
	}
	return sum
}

func (l *Load) totals() (sum totals) {
	for _, w := range l.workers {
		sum.units += w.units.Load()
		sum.sent += w.sent.Load()
		sum.received += w.received.Load()
		sum.opened += w.opened.Load()
		sum.open += w.open.Load()
	}
	return sum
}

// latency moves what was recorded into h.
func (l *Load) latency(h *hdrhistogram.Histogram) {
	var mu sync.Mutex
	l.each(func(w *worker) {
		mu.Lock()
		defer mu.Unlock()
		h.Merge(w.latency)
		w.latency.Reset()
	})
}

func (l *Load) stopLoops() {
	l.closing.Store(true)
	for _, w := range l.workers {
		w.loop.Stop()
	}
	l.running.Wait()
}
