package session

import (
	"errors"
	"io"

	"github.com/spacemonad/go-openssl/tlsio"
)

// memory is what the outside remembers of a session's life, from what it heard alone. The
// rules are checked against it, and never against the session's own fields.
type memory struct {
	// blocked is what the last answer to each operation named, until something comes that may have
	// ended the wait. An operation that is blocked must not be called again.
	blocked  [operations]tlsio.Want
	rekeying rekeying
	parked   uint8 // units that a Write was refused with, which the next Write must carry again
	left     uint8 // units asked for and not accepted
	clear    uint8 // those of them that are the first engine's, while upgrading
	lingered uint8 // units read since close_notify, during Close
	out      output
	ended    ending
	cause    uint8 // what OnClose must get, an index of causes

	opened   bool // the first handshake is done
	closing  bool // Close was called, or the peer's end led to it
	last     bool // no Write may be taken any more
	notified bool // close_notify left the engine
	fin      bool
	broken   bool // the write direction failed
	lost     bool // and units were left that were asked for
	aborted  bool // Abort was called
	paused   bool
	full     bool // left was at the high watermark and not yet at the low one
	fed      bool // some of what is left was written inside OnData
	own      bool // some of what is left was not
	closed   bool // OnClose came

	upgrading bool // Upgrade was called, and the first engine is still there
	second    bool // the second engine is there
}

// rekeying is how far a handshake after the first one is.
type rekeying uint8

const (
	rekeyingNone   rekeying = iota
	rekeyingUpdate          // asked for
	rekeyingRenegotiate
	rekeyingStarted
)

// output is what the engine holds for its transport.
type output uint8

const (
	outClean output = iota
	outUnsent
	outHeld
	outputs
)

// ending is how the peer's direction ended.
type ending uint8

const (
	endNone ending = iota
	endEOF
	endFIN
)

var (
	errAsked      = errors.New("asked for")
	errLate       = errors.New("deadline")
	errUnwaitable = errors.New("a want that nothing ends")
)

// causes are the errors that OnClose may get, so that a state can hold one as a number.
var causes = [...]error{nil, errBroken, io.EOF, io.ErrUnexpectedEOF, ErrLinger, errAsked, errLate, errUnwaitable}

func causeOf(err error) uint8 {
	for i, c := range causes {
		if err == c {
			return uint8(i)
		}
	}
	return uint8(len(causes) - 1) // made by the session, which words it anew each time
}

// span is a chunk of the queue, in units.
type span struct{ r, w uint8 }

// state is the whole of a session between two steps and what the outside remembers. It
// is comparable: two histories that lead to the same state need be followed only once. Byte
// positions are counted from what the engine has accepted, so that they do not grow.
type state struct {
	fed int32
	memory
	want     [operations]tlsio.Want
	phase    Phase
	rekey    rekey
	cause    uint8
	lingered uint8
	clear    uint8 // of the upgrade
	chunks   [6]span

	frozen, unsent, held, paused, throttled, full, readDone bool
	ending, shutdownOut, finOut, broken, aborted, upgrade   bool
}

// load makes the session and the memory those of st.
func (w *world) load(st *state) {
	w.s.queue.free()
	w.memory = st.memory
	w.s = Session{
		engine: w.engines[0], handler: w.handler, cfg: w.cfg, cause: causes[st.cause], fed: int(st.fed),
		lingered: int(st.lingered) * w.p.unit, want: st.want, phase: st.phase, rekey: st.rekey,
		unsent: st.unsent, held: st.held, paused: st.paused, throttled: st.throttled, full: st.full,
		readDone: st.readDone, ending: st.ending, shutdownOut: st.shutdownOut, finOut: st.finOut,
		broken: st.broken, aborted: st.aborted,
	}
	if st.second {
		w.s.engine = w.engines[1]
	}
	at, u := 0, w.p.unit
	if st.upgrade {
		w.s.upgrade = &upgrade{w.engines[1], w.begin, int(st.clear) * u}
	}
	for _, sp := range st.chunks {
		if sp.w == 0 {
			break
		}
		c := chunks.Get().(*chunk)
		c.r, c.w = int(sp.r)*u, int(sp.w)*u
		at += copy(c.data[c.r:c.w], w.p.bytes[at:])
		w.s.queue.push(c)
	}
	w.s.queue.n = at
	w.s.queue.frozen = st.frozen
	w.accepted, w.calls, w.given = 0, 0, 0
	w.expect, w.chance, w.dead, w.inside, w.panicked, w.kind = "", false, false, false, false, false
}

// store is the state after a step. It checks the queue on the way: it must hold what was
// asked for and not accepted.
func (w *world) store() state {
	s, u := &w.s, w.p.unit
	st := state{
		memory: w.memory, cause: causeOf(s.cause), fed: int32(s.fed), lingered: uint8(s.lingered / u),
		want: s.want, phase: s.phase, rekey: s.rekey, frozen: s.queue.frozen,
		unsent: s.unsent, held: s.held, paused: s.paused, throttled: s.throttled, full: s.full, readDone: s.readDone,
		ending: s.ending, shutdownOut: s.shutdownOut, finOut: s.finOut, broken: s.broken, aborted: s.aborted,
	}
	if up := s.upgrade; up != nil {
		st.upgrade, st.clear = true, uint8(up.left/u)
	}
	at, i := w.accepted, 0
	for c := s.queue.head; c != nil; c = c.next {
		if i == len(st.chunks) || c.w > tlsio.MaxPlaintext || c.r >= c.w {
			w.fail("chunk %d of the queue holds bytes %d to %d", i, c.r, c.w)
		}
		if p := c.data[c.r:c.w]; string(p) != string(w.p.bytes[at:at+len(p)]) {
			w.fail("chunk %d of the queue does not hold what was written", i)
		}
		st.chunks[i] = span{uint8(c.r / u), uint8(c.w / u)}
		if u < tlsio.MaxPlaintext/64 { // such small chunks never fill up, so it does not matter where in them the bytes are
			st.chunks[i] = span{0, uint8((c.w - c.r) / u)}
		}
		at += c.w - c.r
		i++
	}
	if at-w.accepted != s.queue.n || s.queue.n != int(w.left)*u {
		w.fail("%d bytes are in the queue, %d by its own count, %d were asked for", at-w.accepted, s.queue.n, int(w.left)*u)
	}
	return st
}
