package load

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// paceGap is the shortest time between two wake-ups of the loops; messages that fall due between them
	// are handed over together.
	paceGap = 50 * time.Microsecond
	// paceNap is the longest sleep, after which the pacer looks whether it is to end.
	paceNap = 20 * time.Millisecond
)

// due is when message k is.
func (l *Load) due(k uint64) time.Duration {
	return l.zero + time.Duration(float64(k)/l.cfg.Rate*float64(time.Second))
}

// startPacer calls due with the number of messages that are due, each time it has grown, until it is
// total. This has a thread of its own: Go's timers have a resolution of 1 ms
// while nothing else goes on. The function that it returns stops it, and waits until it has stopped. If the
// duration is over, all that remains is due: the last moments of it may have passed while the pacer was on its way.
func startPacer(l *Load, total uint64, due func(n uint64)) (end func(over bool)) {
	var ending atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Never unlocked: the thread, with its timer slack, ends with the goroutine.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it sleeps are 50 µs longer
		for n := uint64(0); n < total && !ending.Load(); {
			now := l.now()
			if wait := l.due(n) - now; wait > 0 {
				nap(min(wait, paceNap))
				continue
			}
			n = min(total, uint64((now-l.zero).Seconds()*l.cfg.Rate)+1)
			due(n)
			nap(paceGap)
		}
	}()
	return func(over bool) {
		ending.Store(true)
		<-ended
		if over {
			due(total)
		}
	}
}

// nap sleeps for d.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, nil) // a signal ends it early: the caller looks at the clock
}

// tellDue makes the loops send what is due: the first n messages of all.
func (l *Load) tellDue(n uint64) {
	for _, w := range l.workers {
		w.due.Store(n)
		if !w.told.Swap(true) {
			w.loop.Do(w.dealFunc)
		}
	}
}

// deal hands messages that have become due to the connections that have nothing under way.
func (w *worker) deal() {
	w.told.Store(false)
	slots := w.load.slots
	due := w.due.Load()
	for ; w.dealt < due; w.dealt++ {
		if s := slots[w.dealt%uint64(len(slots))]; s.w == w && s.open && !s.asked {
			w.job.begin(s)
		}
	}
}

// lateGrace is the shortest wait at the end of a duration that counts as TooSlow; see there.
const lateGrace = 250 * time.Millisecond

// backlog is the number of messages that are due on s and not sent.
func (s *slot) backlog() uint64 {
	n := uint64(len(s.w.load.slots)) // of which each has every n-th message
	return (max(s.w.due.Load(), s.next) - s.next + n - 1) / n
}

// tooSlow counts n messages of a connection, the oldest of which has waited for behind.
func (l *Load) tooSlow(n uint64, behind time.Duration) {
	l.tally.add(TooSlow, n, fmt.Errorf("at %v messages a second a connection was %v behind, with %d messages due and not sent",
		l.cfg.Rate, behind.Round(time.Millisecond), n))
}

// judge counts the connections that are late at the end of a Run's duration.
func (w *worker) judge() {
	if w.load.cfg.Rate == 0 {
		return
	}
	grace := max(lateGrace, (w.since-w.load.zero)/100)
	for _, s := range w.slots {
		n := s.backlog()
		if n == 0 {
			continue
		}
		if behind := w.since - w.load.due(s.next); behind > grace {
			s.late = true
			w.load.tooSlow(n, behind)
		}
		if !s.open && !s.dialing {
			w.drop(s)
		}
	}
}

// drop gives up what is due on s and was not sent.
func (w *worker) drop(s *slot) {
	if w.load.cfg.Rate == 0 {
		return
	}
	if n := s.backlog(); n > 0 && !s.late {
		w.load.tooSlow(n, w.load.now()-w.load.due(s.next))
	}
	s.next = w.due.Load()
}
