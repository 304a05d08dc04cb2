package walk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

var (
	errAsked = errors.New("asked for")
	errLate  = errors.New("deadline")
)

// end is one side: the session, its handler, and what the outside knows about both.
type end struct {
	session.BaseHandler
	name string
	w    *walk
	s    session.Session
	cfg  *session.Config
	e    *engine
	port port
	peer *end

	bytes   []byte // what this side sends, again and again
	sent    int    // bytes that Write took
	got     int    // bytes that OnData was given
	limit   int    // bytes that this side writes at most
	answers bool   // inside OnData, without regard to its queue
	inClear int    // bytes that this side sends in the clear, before all others

	upgraded bool // Upgrade was called

	opened, closes int
	sawEOF         bool // the peer's close_notify was heard
	paused         bool // Pause was called
	discards       bool // Close was called before the peer's end
	ended          bool // CloseWrite, Close or Abort was called
	aborted        bool
	cause          error
	inside         bool
	data           bool // OnData is on the stack

	want     [tlsio.OpRenegotiate + 1]tlsio.Want // the last answer of each operation
	unsent   bool                                // ciphertext was left, and nothing was tried since that there is room
	failed   bool                                // an operation answered an error
	attempts int                                 // in this turn
	moves    int                                 // attempts that moved something, and calls of the handler
	idle     int                                 // turns in a row in which nothing moved
	rekeys   int
}

func (e *end) fail(format string, args ...any) {
	panic(violation(e.name + ": " + fmt.Sprintf(format, args...)))
}

// pattern is what an end sends from position at on, n bytes.
func (e *end) pattern(at, n int) []byte {
	p := make([]byte, 0, n)
	for len(p) < n {
		from := (at + len(p)) % len(e.bytes)
		p = append(p, e.bytes[from:min(len(e.bytes), from+n-len(p))]...)
	}
	return p
}

// heard is a result of the engine.
func (e *end) heard(op tlsio.Op, r tlsio.Result) {
	e.w.trace.add(step{who: e.name, op: op, res: &r})
	e.attempts++
	if r.In || r.Out || r.Want == tlsio.WantNone {
		e.moves++
	}
	e.failed = e.failed || r.Err != nil
	if r.Want == tlsio.WantRead {
		e.port.told(session.Readable)
	}
	e.want[op] = r.Want
	if op == tlsio.OpKeyUpdate || op == tlsio.OpRenegotiate {
		e.want[tlsio.OpHandshake] = r.Want
		if !errors.Is(r.Err, tlsio.ErrState) {
			e.rekeys++
		}
		if r.Err == nil {
			e.w.count.of[op.String()]++
		}
	}
	if op == tlsio.OpRead && r.Drained {
		e.want[op] = tlsio.WantRead
	}
	if r.Unsent {
		e.unsent = true
	} else if r.Out || op == tlsio.OpWrite || op == tlsio.OpFlush {
		e.unsent = false
	}
	e.w.count.results[op][r.Want]++
}

func (e *end) alive(name string, arg int) {
	e.w.trace.add(step{who: e.name, what: name, n: arg})
	e.moves++
	if e.closes > 0 {
		e.fail("%s after OnClose", name)
	}
}

func (e *end) OnOpen() {
	e.alive("OnOpen", 0)
	if e.isClear() {
		e.write(e.inClear)
		return
	}
	if e.opened++; e.opened > 1 {
		e.fail("OnOpen comes again")
	}
	e.act()
}

func (e *end) OnData(p []byte) {
	e.alive("OnData", len(p))
	if len(p) == 0 || e.paused || e.discards || e.sawEOF || e.opened == 0 && !e.isClear() {
		e.fail("OnData of %d bytes, paused %v, Close %v, EOF %v", len(p), e.paused, e.discards, e.sawEOF)
	}
	if e.got+len(p) > e.peer.sent || !bytes.Equal(p, e.peer.pattern(e.got, len(p))) {
		e.fail("bytes %d to %d are not those that were sent (%d were)", e.got, e.got+len(p), e.peer.sent)
	}
	e.got += len(p)
	e.w.count.of["byte"] += uint64(len(p))
	if e.isClear() && e.got == e.peer.inClear {
		e.upgrade()
		return
	}
	e.data = true
	if r := e.w.r; r.IntN(2) == 0 {
		e.write(1 + r.IntN(2*len(p)))
	}
	e.act()
	e.data = false
}

func (e *end) OnDrain() {
	e.alive("OnDrain", e.s.Queued())
	if e.s.Queued() > e.cfg.LowWater {
		e.fail("OnDrain with %d bytes queued", e.s.Queued())
	}
	e.w.count.of["OnDrain"]++
	e.act()
}

// OnEOF is heard if this side goes on after the peer's end.
func (e *end) OnEOF() {
	e.alive("OnEOF", 0)
	e.eof()
	e.act()
}

// eof is for the peer's close_notify, which comes after all that the peer wrote.
func (e *end) eof() {
	e.sawEOF = true
	if e.got != e.peer.sent && !e.discards && !(e.isClear() && (e.w.broken || e.peer.ended)) { // a FIN says nothing in the clear
		e.fail("the peer's end came after %d bytes of %d", e.got, e.peer.sent)
	}
}

func (e *end) OnClose(err error) {
	e.alive("OnClose", 0)
	e.closes++
	e.cause = err
	if err == nil && e.opened > 0 && !e.aborted {
		e.eof()
	}
	if err != nil && !e.mayEnd(err) {
		e.fail("OnClose(%v), which nothing led to", err)
	}
	e.act()
}

// mayEnd reports whether something that happened explains an error.
func (e *end) mayEnd(err error) bool {
	// A renegotiation that began as the peer's end came can never be done. What is queued behind it is lost, and
	// its side ends without a close_notify.
	halfway := e.w.combo.version == cssl.TLS12 && e.rekeys+e.peer.rekeys > 0
	switch {
	case errors.Is(err, errAsked) || errors.Is(err, errLate):
		return e.aborted
	case errors.Is(err, session.ErrLinger):
		return e.ended && e.s.Phase() == session.Closed
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		if halfway && e.ended && e.peer.closes > 0 && e.peer.failed {
			return true
		}
		return e.w.broken || e.peer.closes > 0 && (e.peer.cause != nil || e.peer.aborted || e.peer.opened == 0)
	case errors.Is(err, io.EOF):
		return halfway && (e.peer.ended || e.w.broken || e.peer.closes > 0)
	}
	return false
}

// act does something inside a handler, now and then.
func (e *end) act() {
	if e.w.calm || e.inside || e.w.r.IntN(6) > 0 {
		return
	}
	e.inside = true
	e.w.act(e)
	e.inside = false
}

func (e *end) write(n int) {
	limit := e.limit
	if e.isClear() {
		limit = e.inClear
	}
	if n = min(n, limit-e.sent); n <= 0 {
		return
	}
	queued := e.s.Queued()
	if e.data && !e.answers && queued+n >= e.cfg.HighWater {
		return // two sides that both answer with more than they are asked would wait for each other for ever
	}
	p := e.pattern(e.sent, n)
	var err error
	if n&1 == 0 {
		err = e.s.Write(p)
	} else {
		e.s.Stage(p)
		err = e.s.WriteStaged()
	}
	clear(p) // it was copied
	e.w.trace.add(step{who: e.name, what: fmt.Sprintf("Write (%v)", err), n: n})
	switch full := n > e.cfg.MaxQueue-queued; {
	case err == nil:
		if full || e.ended || e.closes > 0 {
			e.fail("Write takes %d bytes: %d queued, ended %v", n, queued, e.ended)
		}
		e.sent += n
	case errors.Is(err, session.ErrQueueFull):
		if e.w.count.of["full queue"]++; !full {
			e.fail("Write of %d bytes answers %v with %d queued", n, err, queued)
		}
	case !errors.Is(err, net.ErrClosed) || !e.ended && !e.failed && e.s.Phase() < session.Closing:
		e.fail("Write answers %v in phase %v", err, e.s.Phase())
	}
}

// turn is what an event loop does with the directions in only. It reports whether Ready was called.
func (e *end) turn(only session.Event) bool {
	if e.s.Phase() == session.Closed {
		return false
	}
	got := e.s.Interest() & only
	if got != 0 {
		got &= e.port.truth()
	}
	if got == 0 && !e.s.Runnable() {
		return false
	}
	moves := e.moves
	e.ready(got)
	if e.idle++; e.moves != moves {
		e.idle = 0
	}
	// One turn may have been spent on an operation that found nothing, with the others still to come.
	if e.idle > 8 {
		e.fail("spin: %d turns without anything moved; interest %v, runnable %v", e.idle, e.s.Interest(), e.s.Runnable())
	}
	return true
}

// ready tells the session of events, whether they are true or not.
func (e *end) ready(got session.Event) {
	e.w.trace.add(step{who: e.name, what: "Ready " + got.String(), n: e.s.Queued()})
	e.port.told(got)
	if got&session.Writable != 0 {
		e.unsent = false
	}
	e.attempts = 0
	e.s.Ready(got)
	if most := e.cfg.TurnBytes/256 + 4; e.attempts > most {
		e.fail("%d attempts in one turn", e.attempts)
	}
	e.check()
	if e.s.Phase() == session.Closed {
		e.e.fin = true
		e.port.reap()
		e.attempts = 0
		e.s.Ready(session.Readable | session.Writable)
		if e.attempts > 0 {
			e.fail("attempts after OnClose")
		}
	}
}

// check is what must hold between two steps.
func (e *end) check() {
	in, run := e.s.Interest(), e.s.Runnable()
	if (e.s.Phase() == session.Closed) != (e.closes == 1) || e.closes > 1 {
		e.fail("phase %v, OnClose %d times", e.s.Phase(), e.closes)
	}
	if e.closes == 1 {
		if in != 0 || run || e.s.Queued() != 0 || !e.s.Idle() {
			e.fail("closed: interest %v, runnable %v, %d bytes queued", in, run, e.s.Queued())
		}
		return
	}
	var named session.Event
	for _, w := range e.want {
		if w == tlsio.WantRead {
			named |= session.Readable
		} else if w == tlsio.WantWrite {
			named |= session.Writable
		}
	}
	if e.unsent {
		named |= session.Writable
	}
	if in&^named != 0 {
		e.fail("interest %v, but the engine named %v", in, named)
	}
	if in&session.Readable != 0 && e.sawEOF {
		e.fail("waits to read after the peer's end")
	}
	if e.got > e.peer.sent {
		e.fail("%d bytes came of %d", e.got, e.peer.sent)
	}
}
