package load

import (
	"fmt"
	"time"

	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

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
	ticket
}

// set says whether something is under way on s, and whether its last attempt failed.
func (s *slot) set(busy, bad bool) {
	if busy == s.busy && bad == s.bad {
		return
	}
	w := s.w
	w.busy.Add(one(busy) - one(s.busy))
	w.hopeful.Add(one(busy && !bad) - one(s.busy && !s.bad))
	w.bad.Add(one(bad) - one(s.bad))
	s.busy, s.bad = busy, bad
}

// await says whether the Open under way waits for s.
func (s *slot) await(v bool) {
	if v != s.awaited {
		s.awaited = v
		s.w.missing.Add(2*one(v) - 1)
	}
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
	if s.w.phase != running && s.w.busy.Load() == 0 {
		s.w.load.poke()
	}
}

// fail ends the connection because of what.
func (s *slot) fail(what Failure, format string, args ...any) {
	s.conn.Abort(failed(what, fmt.Errorf(format, args...)))
}

// abandonDial ends a connection that is not open yet.
func (s *slot) abandonDial() {
	// The loop has no handle of a connection in its handshake, but finds out that its socket is over.
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
}
