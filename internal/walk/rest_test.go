package walk

import (
	"slices"

	"github.com/spacemonad/go-openssl/session"
)

// settle lets the network be willing, and nobody pause, until nothing moves any more. Then
// nothing may be left to do.
func (w *walk) settle() {
	calm := w.calm
	w.calm = true
	w.trace.add(step{who: "network", what: "settle"})
	for _, e := range w.ends {
		e.paused = false
		e.s.Resume()
	}
	turns := 0
	for moved := true; moved; {
		moved = false
		for _, e := range w.ends {
			for e.turn(session.Readable | session.Writable) {
				moved = true
				if turns++; turns > 1_000_000 { // a turn may be one byte
					e.fail("spin: no rest after %d turns", turns)
				}
			}
		}
		for _, l := range w.lanes {
			if l.collect(1<<20) || l.deliver(1<<20) {
				moved = true
			}
		}
	}
	w.calm = calm
	if w.silent {
		return
	}
	for _, e := range w.ends {
		w.atRest(e)
	}
}

// atRest is what must hold for a side when nothing moves any more.
func (w *walk) atRest(e *end) {
	if e.closes > 0 || w.broken && (e.isClear() || e.peer.isClear()) { // in the clear a FIN that the network sent is a proper end
		return
	}
	if !e.s.Idle() || e.s.Runnable() || e.s.Phase() == session.Handshaking {
		e.fail("stall: phase %v, %d bytes queued, idle %v, interest %v, wants %v",
			e.s.Phase(), e.s.Queued(), e.s.Idle(), e.s.Interest(), e.want)
	}
	if in := w.lanes[slices.Index(w.ends[:], e.peer)]; in.ended && e.s.Phase() == session.Open && !e.sawEOF {
		e.fail("stall: the network is cut, and the session has not heard of it: interest %v", e.s.Interest())
	}
	p := e.peer
	if p.closes > 0 {
		if !e.sawEOF || e.s.Phase() != session.Open {
			e.fail("stall: the peer has gone, phase %v, EOF %v", e.s.Phase(), e.sawEOF)
		}
		return
	}
	if !e.discards && e.got != p.sent {
		e.fail("stall: %d bytes came of %d", e.got, p.sent)
	}
	if p.ended && !e.sawEOF && e.s.Phase() == session.Open {
		e.fail("stall: the peer's end has not come")
	}
	if e.s.Phase() == session.Open && !e.ended {
		// That it is taken says that no earlier one is still under way.
		if err := e.s.KeyUpdate(false); err != nil {
			e.fail("stall: a handshake does not end: %v, wants %v", err, e.want)
		}
	}
}

// finish ends both sides, in one of the ways there are.
func (w *walk) finish() {
	w.settle()
	w.calm = true
	switch w.r.IntN(5) {
	case 0:
		for _, e := range w.ends {
			w.closing(e, "Close", nil)
		}
	case 1:
		w.closing(w.ends[w.r.IntN(2)], "Close", nil)
		w.settle()
	case 2:
		for _, e := range w.ends {
			w.closing(e, "CloseWrite", nil)
		}
		w.settle()
	case 3:
		w.closing(w.ends[w.r.IntN(2)], "CloseWrite", nil)
		w.settle()
	}
	for _, e := range w.ends {
		w.closing(e, "Close", nil)
	}
	w.settle()
	for _, e := range w.ends {
		if w.silent && e.closes == 0 {
			w.closing(e, "Abort", errLate)
			e.ready(0)
		}
		if e.closes != 1 {
			e.fail("the close does not end: phase %v, queued %d, interest %v, wants %v", e.s.Phase(), e.s.Queued(), e.s.Interest(), e.want)
		}
	}
	if w.ends[0].cause == nil && w.ends[1].cause == nil && w.ends[0].opened == 1 && !w.broken {
		w.count.of["clean end"]++
		for _, e := range w.ends {
			if !e.discards && !e.aborted && !e.peer.aborted && e.got != e.peer.sent {
				e.fail("a clean close lost %d bytes", e.peer.sent-e.got)
			}
		}
	}
}

// closing calls CloseWrite, Close or Abort.
func (w *walk) closing(e *end, how string, cause error) {
	w.trace.add(step{who: e.name, what: how})
	phase := e.s.Phase()
	switch how {
	case "CloseWrite":
		e.s.CloseWrite()
	case "Close":
		e.discards = e.discards || phase == session.Open && !e.sawEOF
		e.s.Close(cause)
	case "Abort":
		e.aborted = e.aborted || phase != session.Closed
		e.s.Abort(cause)
	}
	e.ended = true
	w.count.of[how]++
}

// rekey begins a KeyUpdate or a renegotiation, if it may.
func (w *walk) rekey(e *end, what string) {
	var err error
	switch {
	case what == "KeyUpdate":
		err = e.s.KeyUpdate(false)
	case w.combo.bare():
		return
	case what == "KeyUpdate asked of both":
		err = e.s.KeyUpdate(true)
	default:
		err = e.s.Renegotiate()
	}
	w.trace.add(step{who: e.name, what: what})
	if err == nil {
		if e.ended || e.s.Phase() != session.Open {
			e.fail("%s is taken in phase %v, ended %v", what, e.s.Phase(), e.ended)
		}
		w.count.of[what]++
	}
}
