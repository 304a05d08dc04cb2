package load

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// phase is what a worker is doing.
type phase uint8

const (
	resting phase = iota
	opening
	running
	stopping // no connection is begun any more, and what is under way ends
)

const (
	// maxDialing is how many handshakes of connections that are kept a loop has under way.
	maxDialing = 64
	// maxTried is how many slots may fail before those that were never tried wait for a success.
	maxTried = 16
	// redialGap is the time between two attempts to replace failed connections, over all loops,
	// and maxRedialGap what it doubles up to while those fail again.
	redialGap    = 10 * time.Millisecond
	maxRedialGap = 500 * time.Millisecond
)

// worker is what belongs to one loop. The atomic fields are written by the loop's goroutine only
// (but for due, ticking and told), and the others are touched by nobody else.
type worker struct {
	reactor.BaseHandler
	load     *Load
	loop     *reactor.Loop
	job      job
	latency  *hdrhistogram.Histogram
	dealFunc func()

	count         [counters]atomic.Int64
	ticking, told atomic.Bool
	due           atomic.Uint64 // open loop: how many messages are due

	phase    phase
	slots    []*slot
	fresh    []*slot // not tried yet in this call, in order
	broken   []*slot // failed, in the order in which they did
	dialing  int
	since    time.Duration // when the phase began
	gap      time.Duration
	redialAt time.Duration
	dealt    uint64 // open loop: how many messages have been handed to slots
}

// job is what the connections of a Load do. Its methods are called on the loop's goroutine.
type job interface {
	// begin: s is open, and there is work to do.
	begin(s *slot)
	data(s *slot, p []byte)
	drained(s *slot)
	// overdue: the deadline of s has passed.
	overdue(s *slot, now time.Duration)
	// stop: the Run is over, and s is open.
	stop(s *slot)
	// ended says what is wrong with the end of s, which was open; nil if that is as it should be.
	ended(s *slot, err error) *failedError
}

// begin starts an Open or a Run.
func (w *worker) begin(p phase) {
	w.phase, w.since = p, w.load.now()
	w.due.Store(0)
	w.dealt, w.gap, w.redialAt = 0, w.baseGap(), 0
	persistent := w.load.cfg.persistent()
	if !persistent {
		w.broken, w.fresh = w.broken[:0], w.fresh[:0]
	}
	for _, s := range w.slots {
		s.set(s.busy, false)
		s.late = false
		ready := s.open || s.session != nil
		s.await(!ready && p == opening)
		switch {
		case !persistent && (p == running || !ready):
			w.fresh = append(w.fresh, s)
		case s.open && p == running:
			w.job.begin(s)
		}
	}
	w.fill(w.since)
}

func (w *worker) baseGap() time.Duration { return redialGap * time.Duration(len(w.load.workers)) }

// fill starts the connections that may be started.
func (w *worker) fill(now time.Duration) {
	limit := maxDialing
	if k := w.load.cfg.Kind; k == Handshake || k == Resume {
		limit = len(w.slots)
	}
	if w.phase == opening || w.phase == running {
		for len(w.broken) > 0 && w.dialing < limit && now >= w.redialAt {
			// A little of the time in which nobody looked is made up for.
			w.redialAt = max(w.redialAt, now-2*w.load.every()) + w.gap
			s := w.broken[0]
			w.broken = slices.Delete(w.broken, 0, 1)
			w.dial(s)
		}
		for len(w.fresh) > 0 && w.dialing < limit && w.mayTry() && now-w.since >= w.fresh[0].startAt {
			s := w.fresh[0]
			w.fresh = w.fresh[1:]
			s.startAt = 0
			w.dial(s)
		}
	}
	w.count[untried].Store(int64(len(w.fresh)) * one(w.mayTry()))
}

// mayTry reports whether slots that were not tried yet may be. While nothing but failures comes
// back a few attempts tell enough.
func (w *worker) mayTry() bool {
	return w.load.health.failing.Load() == 0 || w.count[bad].Load() < maxTried
}

// dial begins a connection.
func (w *worker) dial(s *slot) {
	s.tries, s.address, s.began = 0, int(w.load.address.Load()), w.load.now()
	w.connect(s)
}

// connect gives the loop a socket that is connecting.
func (w *worker) connect(s *slot) {
	s.set(true, s.bad)
	s.dialing = true
	w.dialing++
	var err error
	if s.fd, err = connect(w.load.addrs[s.address], s.index); err == nil {
		err = w.loop.Attach(s.fd, w.load.tls, w.load.connConfig(s.toResume()), w, s)
	}
	if err != nil {
		w.refused(s, err)
	}
}

// refused deals with an attempt that failed: the target's next address comes first.
func (w *worker) refused(s *slot, err error) {
	w.dialing--
	s.dialing = false
	addrs := w.load.addrs
	f := ofHandshake(err)
	if f.what == Refused && s.tries+1 < len(addrs) && !s.cut {
		s.tries++
		s.address = (s.address + 1) % len(addrs)
		w.connect(s)
		return
	}
	w.failed(s, &failedError{f.what, fmt.Errorf("%v: %w", addrs[s.address], f.error)})
}

// failed counts a failure and puts the slot among those to be dialled again.
func (w *worker) failed(s *slot, f *failedError) {
	now := w.load.now()
	if s.cut {
		s.cut = false
	} else {
		w.load.tally.add(f.what, 1, f)
		w.load.health.failure(now)
		if s.bad {
			w.gap = min(2*w.gap, maxRedialGap)
		}
		s.set(s.busy, true)
	}
	w.broken = append(w.broken, s)
	if w.phase == stopping {
		w.drop(s)
	}
	s.idle()
	w.fill(now)
	w.load.poke()
}

// succeeded: something got through on s.
func (w *worker) succeeded(s *slot) {
	w.load.health.success()
	w.gap = w.baseGap()
	if s.bad {
		s.set(s.busy, false)
	}
}

// done counts a unit, with its latency.
func (w *worker) done(d time.Duration) {
	w.count[units].Add(1)
	_ = w.latency.RecordValue(int64(min(max(d, 1), longest))) // it fails only outside of the range
}

// OnOpen: the handshake is done.
func (w *worker) OnOpen(c *reactor.Conn) {
	s := c.Data.(*slot)
	w.dialing--
	s.dialing, s.open, s.everOpen, s.peerEnded, s.conn = false, true, true, false, c
	s.base, s.sent, s.got, s.asked = uint64(s.index)*7919, 0, 0, false
	s.took = w.load.now() - s.began
	w.count[opened].Add(1)
	w.count[open].Add(1)
	if w.load.address.Load() != int32(s.address) {
		w.load.address.Store(int32(s.address))
	}
	if w.load.facts.Load() == nil {
		st := c.State()
		w.load.facts.CompareAndSwap(nil, &Facts{st.Version.String(), st.Cipher, st.Group, st.ALPN})
	}
	if s.cut {
		c.Abort(errCut)
		return
	}
	if w.load.cfg.persistent() {
		w.welcome(s)
	} else {
		w.job.begin(s)
	}
	w.fill(w.load.now())
}

// OnData and OnDrain are the job's.
func (w *worker) OnData(c *reactor.Conn, p []byte) { w.job.data(c.Data.(*slot), p) }
func (w *worker) OnDrain(c *reactor.Conn)          { w.job.drained(c.Data.(*slot)) }

// welcome lets a connection that is to be kept begin its work, or wait for a Run.
func (w *worker) welcome(s *slot) {
	s.await(false)
	if w.load.cfg.Kind == Idle {
		w.done(s.took)
	}
	switch w.phase {
	case running:
		w.job.begin(s)
		return
	case opening:
		w.succeeded(s)
	case stopping:
		w.drop(s)
	}
	s.idle()
}

// OnClose: the connection has ended, or never came to be.
func (w *worker) OnClose(c *reactor.Conn, err error) {
	s := c.Data.(*slot)
	wasOpen := s.open
	w.count[open].Add(-one(wasOpen))
	s.open = false
	if w.load.closed.Load() {
		return
	}
	if !wasOpen {
		w.refused(s, err)
		return
	}
	f := w.job.ended(s, err)
	s.conn = nil
	switch {
	case f != nil || s.cut:
		w.failed(s, f)
	case w.phase == running, w.phase == opening && s.session == nil:
		w.dial(s)
	default:
		s.idle()
	}
}

var errCut = errors.New("cut off")

// tick looks at deadlines, and starts connections.
func (w *worker) tick() {
	w.ticking.Store(false)
	now := w.load.now()
	for _, s := range w.slots {
		if s.deadline != 0 && now > s.deadline && s.open {
			s.deadline = 0
			w.job.overdue(s, now)
		}
	}
	if w.phase == stopping && now > w.load.deadline(w.since) { // the wait for what was due ends
		for _, s := range w.slots {
			if s.busy {
				w.drop(s)
			}
		}
	}
	w.fill(now)
}

// stop ends a Run: what is under way goes on to its end.
func (w *worker) stop() {
	w.phase, w.since = stopping, w.load.now()
	if !w.load.cfg.persistent() {
		w.fresh = w.fresh[:0]
	}
	w.judge()
	for _, s := range w.slots {
		if s.open {
			w.job.stop(s)
		}
	}
	w.load.poke()
}

// cut ends what is under way at once.
func (w *worker) cut(cause error) {
	w.phase = stopping
	if cause != nil {
		w.load.tally.add(TimedOut, uint64(w.count[busy].Load()), cause)
	}
	for _, s := range w.slots {
		switch {
		case !s.busy:
		case s.open:
			s.cut = true
			s.conn.Abort(errCut)
		case s.dialing:
			s.cut = true
			// The loop has no handle of a connection in its handshake, but finds out that
			// its socket is over.
			_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
		}
	}
}

// rest ends an Open or a Run. Connections that are to be kept but never came to be are forgotten.
func (w *worker) rest() {
	w.phase = resting
	w.fresh = w.fresh[:0]
	if !w.load.cfg.persistent() {
		return
	}
	w.broken = slices.DeleteFunc(w.broken, (*slot).never)
	for _, s := range w.slots {
		if s.never() {
			s.set(false, false)
			s.await(false)
		}
	}
	w.slots = slices.DeleteFunc(w.slots, (*slot).never)
}

// slot is the place of one connection and of those that follow it. It belongs to its loop's goroutine.
type slot struct {
	w     *worker
	index int
	conn  *reactor.Conn // nil unless the handshake is done
	fd    int           // while dialling

	dialing, open bool
	everOpen      bool
	awaited       bool // the Open under way waits for it
	busy, bad     bool // see set
	cut           bool // ended by us: its end is no failure
	peerEnded     bool // see noteEnd

	startAt  time.Duration // of a slot that was never tried: how long into the call that is to be
	began    time.Duration // when connect did
	deadline time.Duration // 0: none
	address  int           // index into Load.addrs
	tries    int           // how many of them failed in this attempt

	base, sent, got uint64 // the place in the pattern where the connection began, and bytes since then

	asked bool          // a message is under way
	due   time.Duration // when it was due (open loop) or sent
	next  uint64        // open loop: the message to send next
	late  bool          // open loop: what was due and unsent at the end is counted

	queued int // Send: bytes in the queue when it was last looked at

	took time.Duration // from connect to the end of the handshake

	session  *cssl.Session // Resume
	asks     bool          // the server gave none of its own accord, so a message is sent to get one
	fetching bool          // the handshake under way is a full one, to get one
}

func (s *slot) never() bool { return !s.everOpen }

// set says whether something is under way on s, and whether its last attempt failed.
func (s *slot) set(works, fails bool) {
	if works == s.busy && fails == s.bad {
		return
	}
	n := &s.w.count
	n[busy].Add(one(works) - one(s.busy))
	n[hopeful].Add(one(works && !fails) - one(s.busy && !s.bad))
	n[bad].Add(one(fails) - one(s.bad))
	s.busy, s.bad = works, fails
}

// await says whether the Open under way waits for s.
func (s *slot) await(v bool) {
	s.w.count[missing].Add(one(v) - one(s.awaited))
	s.awaited = v
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// idle: nothing is under way on s any more.
func (s *slot) idle() {
	s.deadline, s.asked = 0, false
	s.set(false, s.bad)
	if s.w.phase != running && s.w.count[busy].Load() == 0 {
		s.w.load.poke()
	}
}

// fail ends the connection because of what.
func (s *slot) fail(what Failure, format string, args ...any) {
	s.conn.Abort(failed(what, fmt.Errorf(format, args...)))
}
