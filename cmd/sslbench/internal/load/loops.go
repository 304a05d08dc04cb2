package load

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// loops has the connections of a Load, dealt out in turn over its loops. One goroutine at a time calls it.
type loops struct {
	load    *Load
	workers []*worker
	slots   []*slot // in the order in which they were made; changed only while the loops rest
	made    int
	running sync.WaitGroup
	closing atomic.Bool

	// Open loop: message k is due at zero + k/Rate. Both are set before the first is due.
	pacer *pacer
	zero  time.Duration
}

func newLoops(l *Load) (*loops, error) {
	g := &loops{load: l}
	for range min(l.cfg.Loops, max(l.cfg.Conns, 1)) {
		w, err := newWorker(g)
		if err != nil {
			g.close()
			return nil, err
		}
		g.workers = append(g.workers, w)
		g.running.Go(func() {
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
	return g, nil
}

// each runs f on every loop and waits until that is done.
func (g *loops) each(f func(w *worker)) {
	var done sync.WaitGroup
	for _, w := range g.workers {
		done.Add(1)
		if !w.loop.Do(func() { defer done.Done(); f(w) }) {
			done.Done()
		}
	}
	done.Wait()
}

// add makes n slots more. The loops rest.
func (g *loops) add(n int) {
	fresh := make([][]*slot, len(g.workers))
	for i := range n {
		at := g.made % len(g.workers)
		s := &slot{w: g.workers[at], index: g.made, startAt: time.Duration(float64(g.load.cfg.Ramp) * float64(i) / float64(n))}
		g.made++
		g.slots = append(g.slots, s)
		fresh[at] = append(fresh[at], s)
	}
	for i, w := range g.workers {
		w.loop.Do(func() { w.add(fresh[i]) })
	}
}

// grow adds n connections and begins to open them.
func (g *loops) grow(n int) {
	g.add(n)
	g.each(func(w *worker) { w.begin(opening) })
}

// fetch begins to get a session for each slot that has none (Resume).
func (g *loops) fetch() {
	if len(g.slots) == 0 {
		g.add(g.load.cfg.Conns)
	}
	g.each(func(w *worker) { w.begin(opening) })
}

// run begins to work for d.
func (g *loops) run(d time.Duration) {
	cfg := &g.load.cfg
	if !cfg.persistent() && len(g.slots) == 0 {
		g.add(cfg.Conns)
	}
	for i, s := range g.slots {
		s.next = uint64(i)
	}
	g.each(func(w *worker) { w.begin(running) })
	if cfg.Rate > 0 {
		g.zero = g.load.now()
		g.pacer = startPacer(g.load, g.zero, uint64(math.Ceil(d.Seconds()*cfg.Rate)), func(due uint64) {
			for _, w := range g.workers {
				w.tellDue(due)
			}
		})
	}
}

// due is when message k is.
func (g *loops) due(k uint64) time.Duration { return g.zero + dueAfter(k, g.load.cfg.Rate) }

// stop begins to end the work; connections that were not begun are left so. over: the duration has passed.
func (g *loops) stop(over bool) {
	if g.pacer != nil {
		g.pacer.end(over)
		g.pacer = nil
	}
	g.each((*worker).stop)
}

// halt ends an Open: no connection is begun any more.
func (g *loops) halt() { g.each(func(w *worker) { w.phase = stopping }) }

// cut ends what is under way at once. It counts as cause, or not at all if that is nil.
func (g *loops) cut(cause error) { g.each(func(w *worker) { w.cut(cause) }) }

// rest says that what was begun is over.
func (g *loops) rest() {
	g.each((*worker).rest)
	if !g.load.cfg.persistent() {
		return
	}
	kept := g.slots[:0]
	for _, s := range g.slots {
		if s.everOpen {
			kept = append(kept, s)
		}
	}
	clear(g.slots[len(kept):])
	g.slots = kept
}

// tick makes the loops look at deadlines and redial.
func (g *loops) tick() {
	for _, w := range g.workers {
		if !w.ticking.Swap(true) {
			w.loop.Do(w.tickFunc)
		}
	}
}

func (g *loops) state() (sum state) {
	for _, w := range g.workers {
		sum.busy += w.busy.Load()
		sum.hopeful += w.hopeful.Load()
		sum.bad += w.bad.Load()
		sum.missing += w.missing.Load()
		sum.untried += w.untried.Load()
	}
	return sum
}

func (g *loops) totals() (sum totals) {
	for _, w := range g.workers {
		sum.units += w.units.Load()
		sum.sent += w.sent.Load()
		sum.received += w.received.Load()
		sum.opened += w.opened.Load()
		sum.open += w.open.Load()
	}
	return sum
}

// latency moves what was recorded into h.
func (g *loops) latency(h *hdrhistogram.Histogram) {
	var mu sync.Mutex
	g.each(func(w *worker) {
		mu.Lock()
		defer mu.Unlock()
		h.Merge(w.latency)
		w.latency.Reset()
	})
}

func (g *loops) close() {
	g.closing.Store(true)
	for _, w := range g.workers {
		w.loop.Stop()
	}
	g.running.Wait()
}
