package session

import (
	"errors"
	"net"

	"github.com/spacemonad/go-openssl/tlsio"
)

// errPanic is what a handler panics with.
var errPanic = errors.New("panic of a handler")

// act does what the application or its loop does, by name. feeding says that it is done inside OnData.
func (w *world) act(name string, feeding bool) {
	s := &w.s
	switch name {
	case "none":
	case "write":
		w.write(2, false, feeding)
	case "write1":
		w.write(1, true, feeding)
	case "write0":
		w.write(0, false, feeding)
	case "pause":
		s.Pause()
		w.paused = true
	case "resume":
		s.Resume()
		w.paused = false
	case "closewrite":
		s.CloseWrite()
		w.last = true
	case "close":
		w.close(nil)
	case "abort":
		w.abort(errAsked)
	case "deadline": // as an event loop has them
		if w.opened && !w.closing {
			w.close(errLate)
		} else {
			w.abort(errLate)
		}
	case "keyupdate", "renegotiate":
		f := s.Renegotiate
		if name == "keyupdate" {
			f = func() error { return s.KeyUpdate(false) }
		}
		may := w.opened && !w.last && !w.closing && !w.broken && !w.aborted && !w.closed && w.rekeying == rekeyingNone
		if err := f(); (err == nil) != may {
			w.fail("%s: %v", name, err)
		}
		if may {
			w.rekeying = rekeyingRenegotiate
			if name == "keyupdate" {
				w.rekeying = rekeyingUpdate
			}
			w.blocked[handshake] = tlsio.WantNone
		}
	case "upgrade", "upgrade1": // with a unit that is written behind it
		later := int(w.left)
		if name == "upgrade1" {
			w.write(1, true, feeding)
		}
		later = int(w.left) - later
		may := w.opened && !w.last && !w.closing && !w.broken && !w.aborted && !w.closed && w.ended == endNone && !w.upgrading && !w.second
		if err := s.Upgrade(w.engines[1], later*w.p.unit, w.begin); (err == nil) != may {
			w.fail("%s: %v", name, err)
		}
		if may {
			w.upgrading, w.clear = true, w.left-uint8(later)
		}
	case "retry":
		s.Retry()
		for op := range operations {
			if w.blocked[op] == tlsio.WantRetryVerify {
				w.blocked[op] = tlsio.WantNone
			}
		}
	case "expectpeer":
		s.ExpectPeer()
		w.blocked[handshake] = tlsio.WantRead
	case "ready":
		w.ready(0)
	case "readyR":
		w.ready(Readable)
	case "readyW":
		w.ready(Writable)
	case "readyRW": // a hang-up too
		w.ready(Readable | Writable)
	case "panic":
		if !w.panicked { // once is enough
			w.panicked = true
			panic(errPanic)
		}
	default:
		w.fail("no such act: %s", name)
	}
}

func (w *world) write(units int, move, feeding bool) {
	at, n := w.accepted+int(w.left)*w.p.unit, units*w.p.unit
	p := w.p.bytes[at : at+n]
	var err error
	if move {
		w.s.Stage(p)
		if err = w.s.WriteStaged(); w.s.Staged() != 0 {
			w.fail("WriteStaged left %d bytes", w.s.Staged())
		}
	} else {
		err = w.s.Write(p)
	}
	var want error
	if w.last || w.closing || w.broken || w.aborted || w.closed {
		want = net.ErrClosed
	} else if int(w.left)+units > w.p.maxQueue {
		want = ErrQueueFull
	}
	if err != want {
		w.fail("a Write answers %v, not %v", err, want)
	}
	if err != nil || units == 0 {
		return
	}
	w.left += uint8(units)
	w.fed = w.fed || feeding
	w.own = w.own || !feeding
	w.full = w.full || int(w.left) >= w.p.high
}

func (w *world) close(err error) {
	w.s.Close(err)
	if w.closed {
		return
	}
	w.because(err)
	if w.opened && !w.upgrading {
		w.closing, w.last = true, true
	} else {
		w.aborted = true
	}
}

func (w *world) abort(err error) {
	w.s.Abort(err)
	w.because(err)
	w.aborted = true
}
