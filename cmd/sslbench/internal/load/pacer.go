package load

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pacer says when messages are due, from a thread of its own: Go's timers have a resolution of 1 ms
// while nothing else goes on.
type pacer struct {
	total  uint64
	due    func(n uint64)
	ending atomic.Bool
	ended  chan struct{}
}

const (
	// paceGap is the shortest time between two wake-ups of the loops; messages that fall due between them
	// are handed over together.
	paceGap = 50 * time.Microsecond
	// paceNap is the longest sleep, after which the pacer looks whether it is to end.
	paceNap = 20 * time.Millisecond
)

// dueAfter is how long after the first message number k is due.
func dueAfter(k uint64, rate float64) time.Duration {
	return time.Duration(float64(k) / rate * float64(time.Second))
}

// startPacer calls due with the number of messages that are due, each time it has grown, until it is
// total. Message k is due at zero + k/Rate.
func startPacer(l *Load, zero time.Duration, total uint64, due func(n uint64)) *pacer {
	p := &pacer{total: total, due: due, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		// Never unlocked: the thread, with its timer slack, ends with the goroutine.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it sleeps are 50 µs longer
		for n := uint64(0); n < total && !p.ending.Load(); {
			now := l.now()
			if wait := zero + dueAfter(n, l.cfg.Rate) - now; wait > 0 {
				nap(min(wait, paceNap))
				continue
			}
			n = min(total, uint64((now-zero).Seconds()*l.cfg.Rate)+1)
			due(n)
			nap(paceGap)
		}
	}()
	return p
}

// nap sleeps for d.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, nil) // a signal ends it early: the caller looks at the clock
}

// end stops the pacer and waits until it has stopped. If the duration is over, all that remains is due: the
// last moments of it may have passed while the pacer was on its way.
func (p *pacer) end(over bool) {
	p.ending.Store(true)
	<-p.ended
	if over {
		p.due(p.total)
	}
}

// tellDue makes the loop send what is due: the first n messages of all.
func (w *worker) tellDue(n uint64) {
	w.due.Store(n)
	if !w.told.Swap(true) {
		w.loop.Do(w.dealFunc)
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

// backlog is the number of messages that are due and not sent on a connection whose next one is number
// next, if the first due ones of all are due and there are n connections.
func backlog(next, due, n uint64) uint64 {
	if next >= due {
		return 0
	}
	return (due - next + n - 1) / n
}

func (s *slot) backlog() uint64 {
	return backlog(s.next, s.w.due.Load(), uint64(len(s.w.load.slots)))
}

// grace is how long a message may wait at the end of a duration.
func grace(d time.Duration) time.Duration { return max(lateGrace, d/100) }

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
	grace := grace(w.since - w.load.zero)
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

// giveUp ends the wait for what was due.
func (w *worker) giveUp() {
	for _, s := range w.slots {
		if s.busy && s.backlog() > 0 {
			w.drop(s)
		}
	}
}
