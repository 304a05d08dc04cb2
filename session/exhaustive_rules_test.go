package session

import "github.com/spacemonad/go-openssl/tlsio"

// works reports whether an operation has something to do, as far as the outside knows.
func (w *world) works(op operation) bool {
	switch op {
	case handshake:
		if !w.opened {
			return true
		}
		asked := w.rekeying == rekeyingUpdate || w.rekeying == rekeyingRenegotiate
		return !w.broken && (w.rekeying == rekeyingStarted || asked && w.parked == 0 && !w.last)
	case read:
		return w.opened && !w.upgrading && w.ended == endNone && (w.closing || !w.paused && (!w.s.throttled || w.writeNeedsRead()))
	case write:
		return w.opened && !w.broken && (w.left > 0 && !w.upgrading || w.clear > 0)
	case flush:
		return !w.broken && w.out != outClean
	default:
		return w.opened && w.last && !w.notified && !w.broken && w.left == 0 && w.rekeying != rekeyingStarted && !w.upgrading
	}
}

func (w *world) writeNeedsRead() bool {
	return w.blocked[write] == tlsio.WantRead || w.blocked[write] == tlsio.WantAppRead
}

// ready is a turn of the event loop.
func (w *world) ready(got Event) {
	for op := range operations {
		if got&eventOf(w.blocked[op]) != 0 {
			w.blocked[op] = tlsio.WantNone
		}
	}
	if w.inside { // a handler calls it: nothing may come of that now
		calls := w.calls
		if w.s.Ready(got); calls != w.calls {
			w.fail("Ready inside a handler calls the engine")
		}
		return
	}
	runnable, fin, closed := w.s.Runnable(), w.fin, w.closed
	w.calls = 0
	w.run(got)
	switch {
	case w.expect != "":
		w.fail("%s was not heard", w.expect)
	case w.chance:
		w.fail("the alert of a failure had no chance")
	case w.dead && !w.closed: // after Abort it may take one more turn; see check
		w.fail("the session goes on after a failure")
	case runnable && w.calls == 0 && fin == w.fin && closed == w.closed:
		w.fail("the session was runnable, but Ready did nothing (spin)")
	}
}

// run is Ready, with a handler's panic recovered as an event loop does it.
func (w *world) run(got Event) {
	defer func() {
		if v := recover(); v == errPanic {
			w.inside, w.expect = false, ""
			w.abort(errAsked)
			w.s.Ready(0)
		} else if v != nil {
			panic(v)
		}
	}()
	w.s.Ready(got)
}

// mayCall fails the step when the engine must not be called so now. FIN has no number and is "operations".
func (w *world) mayCall(op operation, c call) {
	if w.calls++; w.calls > w.p.turn/attemptCost+4 {
		w.fail("%d calls in one turn", w.calls)
	}
	name := "FIN"
	if op < operations {
		name = names[c]
	}
	switch {
	case w.expect != "":
		w.fail("%s, but %s was not heard", name, w.expect)
	case w.chance:
		w.fail("%s before the alert of a failure had its chance", name)
	case w.closed, w.dead, w.aborted:
		w.fail("%s after the end: OnClose %v, failed %v, Abort %v", name, w.closed, w.dead, w.aborted)
	case op == operations:
		if !w.notified || w.fin || w.broken || w.out != outClean {
			w.fail("FIN: close_notify %v, FIN %v, broken %v, output %v", w.notified, w.fin, w.broken, w.out)
		}
		return
	case op == read && w.ended != endNone:
		w.fail("R after the peer's end")
	case op == read && w.paused && !w.closing:
		w.fail("R while paused")
	case op == read && !w.own && int(w.left) >= w.p.high && !w.closing && !w.writeNeedsRead():
		w.fail("R with %d units of answers queued", w.left)
	case op == shutdown && (!w.opened || w.rekeying == rekeyingStarted):
		w.fail("S in a handshake")
	case op == shutdown && w.left > 0:
		w.fail("S with %d units queued", w.left)
	case op != read && op != flush && w.notified:
		w.fail("%s after close_notify", name)
	case (c == callKeyUpdate || c == callRenegotiate) && w.parked > 0:
		w.fail("%s between two attempts at one record", name)
	case c == callKeyUpdate && w.rekeying != rekeyingUpdate, c == callRenegotiate && w.rekeying != rekeyingRenegotiate,
		c == callCarryOn && w.rekeying != rekeyingStarted:
		w.fail("%s, which was not asked for", name)
	case w.blocked[op] != tlsio.WantNone:
		w.fail("%s is tried again, but it waits for %v", name, w.blocked[op])
	case !w.works(op):
		w.fail("%s, which has nothing to do", name)
	}
	if c == callKeyUpdate || c == callRenegotiate {
		w.rekeying = rekeyingStarted
	}
}

// mayClose fails the step when OnClose must not come now, or not with err.
func (w *world) mayClose(err error) {
	switch {
	case w.closed:
		w.fail("OnClose comes again")
	case w.expect != "" || w.chance:
		w.fail("OnClose, but %q was not heard, and an alert is left: %v", w.expect, w.chance)
	case w.dead, w.aborted, w.fin && w.ended != endNone:
	case w.broken:
		for _, op := range []operation{handshake, read} {
			if w.works(op) && w.blocked[op] == tlsio.WantNone {
				w.fail("OnClose before all was read that the peer sent")
			}
		}
	default:
		w.fail("OnClose without a reason")
	}
	if causeOf(err) != w.cause {
		w.fail("OnClose(%v) instead of %v", err, causes[w.cause])
	}
	if err == nil && w.lost {
		w.fail("OnClose(nil), but data was lost")
	}
}

// check is what must hold between two steps.
func (w *world) check() {
	s := &w.s
	if s.running || s.feeding {
		w.fail("the session thinks that Ready or OnData is still on the stack")
	}
	in, run, app := s.Interest(), s.Runnable(), s.waitsForApplication()
	if w.closed {
		if in != 0 || run || app || s.Phase() != Closed || s.Queued() != 0 || s.queue.head != nil || s.queue.tail != nil || !s.Idle() {
			w.fail("closed, but phase %v, interest %v, runnable %v, queued %d, chunk %v", s.Phase(), in, run, s.Queued(), s.queue.head != nil)
		}
		return
	}
	phase := Open
	if w.closing {
		phase = Closing
	} else if !w.opened {
		phase = Handshaking
	}
	if s.Phase() != phase || s.paused != w.paused || s.Idle() != (w.left == 0 && w.out == outClean) {
		w.fail("phase %v instead of %v; paused %v; idle %v with %d units left, output %v", s.Phase(), phase, s.paused, s.Idle(), w.left, w.out)
	}
	if s.throttled && !w.fed {
		w.fail("no answer is queued, but reading is held back")
	}
	if w.full && int(w.left) <= w.p.low && !w.broken {
		w.fail("OnDrain did not come")
	}
	// What must be waited for, and whether there is something to do at once.
	var needs Event
	begins := w.upgrading && w.clear == 0 && w.out == outClean
	now := w.aborted || w.broken || begins || w.notified && w.out == outClean && !w.fin || w.fin && w.ended != endNone
	needsApp, needsRead := false, false
	for op := range operations {
		if b := w.blocked[op]; w.works(op) {
			needs |= eventOf(b)
			now = now || b == tlsio.WantNone
			needsApp = needsApp || b.Application()
			needsRead = needsRead || b == tlsio.WantAppRead
		}
	}
	if in&^needs != 0 {
		w.fail("spin: the interest is %v, and only %v is waited for", in, needs)
	}
	if run != now {
		w.fail("runnable is %v and must be %v", run, now)
	}
	if run {
		return
	}
	if in != needs {
		w.fail("stall: the interest is %v instead of %v", in, needs)
	}
	if app != needsApp {
		w.fail("waits for the application: %v, must be %v", app, needsApp)
	}
	if in != 0 || app {
		return
	}
	// Nothing but the application can wake it: it must have nothing to do, or the application does not read.
	resting := w.opened && !w.upgrading && !w.closing && (w.paused || w.ended != endNone)
	busy := w.left > 0 || w.out != outClean || w.rekeying == rekeyingStarted || w.last && !w.fin
	if !resting || busy && !(w.paused && needsRead) {
		w.fail("stall: nothing wakes it, with %d units left, output %v, paused %v", w.left, w.out, w.paused)
	}
}

// enough is more turns than a willing world needs to end a session.
const enough = 60

// rests checks that a session whose transport and engine are willing comes to rest with all its work done.
func (w *world) rests() {
	w.kind = true
	for turns := 0; w.kindTurn(); turns++ {
		if turns > enough {
			w.fail("no rest after %d turns: interest %v, runnable %v", turns, w.s.Interest(), w.s.Runnable())
		}
	}
	if w.closed || w.paused && (w.waitsFor(tlsio.WantAppRead)) {
		return
	}
	if !w.opened || w.upgrading || w.left > 0 || w.out != outClean || w.rekeying == rekeyingStarted || w.last && !w.fin {
		w.fail("at rest with %d units left, output %v, opened %v, close_notify %v, FIN %v", w.left, w.out, w.opened, w.notified, w.fin)
	}
}

// ends checks that a Close ends the session, when the world is willing, and that nothing is lost if nothing failed.
func (w *world) ends() {
	w.kind = true
	willing := w.opened && !w.upgrading && !w.aborted && !w.broken
	w.act("resume", false)
	w.act("close", false)
	for turns := 0; !w.closed; turns++ {
		if !w.kindTurn() || turns > enough {
			w.fail("the close does not end: %d turns, interest %v, runnable %v", turns, w.s.Interest(), w.s.Runnable())
		}
	}
	if willing && !w.fin { // and before the FIN came all that was queued
		w.fail("the close was cut short: close_notify %v", w.notified)
	}
}

func (w *world) waitsFor(want tlsio.Want) bool {
	for op := range operations {
		if w.works(op) && w.blocked[op] == want {
			return true
		}
	}
	return false
}

// kindTurn is a turn in a willing world: the transport takes all, the peer says what operations other
// than a read wait for, and its end after ours. It reports whether there was something to do.
func (w *world) kindTurn() bool {
	if w.s.waitsForApplication() {
		w.act("retry", false)
	}
	var got Event
	if !w.s.Runnable() {
		speaks := w.fin && w.ended == endNone
		for op := range operations {
			speaks = speaks || op != read && w.works(op) && w.blocked[op] == tlsio.WantRead
		}
		got = w.s.Interest()
		if !speaks {
			got &^= Readable
		}
		if got == 0 {
			return false
		}
	}
	w.ready(got)
	w.check()
	return true
}
