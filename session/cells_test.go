package session

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// cell is one row of TestCells. The operation gets the answer while the context
// holds. Each of turn, readable and writable is "calls | what the handler
// hears"; for the notation of calls see scripted.
type cell struct {
	op, answer, context string
	// turn is what Ready does, and waits what is waited for afterwards.
	turn, waits string
	// readable and writable are what the next event leads to.
	readable, writable string
}

// The contexts of each operation, in which its answer arrives:
//
//	            alone                 queued                   paused                 closing
//	handshake   the first handshake   Write("hello") before    Pause before           a KeyUpdate under way, Close before
//	read        Readable              Write("hello") before    Pause when it came     after Close, our FIN sent
//	write       Write("hello")        and Write("world") when  Pause before           Close before
//	                                  the answer came
//	shutdown    CloseWrite            Write("hello") before    Pause before           Close
//
// Without CloseWrite or Close there is no shutdown, so CloseWrite stands for the first three.
var cells = []cell{
	// The first handshake. Its end of input is an error like any other.
	{"handshake", "ok", "alone", "H:ok R:want_read | open", "R", "R:want_read", ""},
	{"handshake", "want_read", "alone", "H:want_read", "R", "H:ok R:want_read | open", ""},
	{"handshake", "want_write", "alone", "H:want_write", "W", "", "H:ok R:want_read | open"},
	{"handshake", "eof", "alone", "H:eof | close(eof)", "-", "", ""},
	{"handshake", "err", "alone", "H:err | close(err)", "-", "", ""},
	// What is queued changes nothing until it can be written; Writable is not asked for (P01).
	{"handshake", "ok", "queued", "H:ok R:want_read W(hello):5 | open", "R", "R:want_read", ""},
	{"handshake", "want_read", "queued", "H:want_read", "R", "H:ok R:want_read W(hello):5 | open", ""},
	{"handshake", "want_write", "queued", "H:want_write", "W", "", "H:ok R:want_read W(hello):5 | open"},
	{"handshake", "eof", "queued", "H:eof | close(eof)", "-", "", ""},
	{"handshake", "err", "queued", "H:err | close(err)", "-", "", ""},
	// The handshake goes on while reading is paused; the first read does not come.
	{"handshake", "ok", "paused", "H:ok | open", "-", "", ""},
	{"handshake", "want_read", "paused", "H:want_read", "R", "H:ok | open", ""},
	{"handshake", "want_write", "paused", "H:want_write", "W", "", "H:ok | open"},
	{"handshake", "eof", "paused", "H:eof | close(eof)", "-", "", ""},
	{"handshake", "err", "paused", "H:err | close(err)", "-", "", ""},
	// Close ends the first handshake at once, so the one here is later. Shutdown waits for it (P35).
	{"handshake", "ok", "closing", "H:ok S:ok C", "R", "R:eof | close(nil)", ""},
	{"handshake", "want_read", "closing", "H:want_read", "R", "H:ok S:ok C R:want_read", ""},
	{"handshake", "want_write", "closing", "H:want_write", "RW", "R:want_read", "H:ok S:ok C"},
	{"handshake", "eof", "closing", "H:eof S:ok C", "R", "R:eof | close(nil)", ""},
	{"handshake", "err", "closing", "H:err | close(err)", "-", "", ""},

	// A read that made progress is tried again until the engine has no more.
	{"read", "ok", "alone", "R:5 R:want_read | data(5)", "R", "R:want_read", ""},
	{"read", "want_read", "alone", "R:want_read", "R", "R:want_read", ""},
	{"read", "want_write", "alone", "R:want_write", "W", "", "R:want_read"},
	{"read", "eof", "alone", "R:eof S:ok C | close(nil)", "-", "", ""},
	{"read", "err", "alone", "R:err | close(err)", "-", "", ""},
	// The queue is written after the read, or before the close that the peer's end leads to.
	{"read", "ok", "queued", "R:5 R:want_read W(hello):5 | data(5)", "R", "R:want_read", ""},
	{"read", "want_read", "queued", "R:want_read W(hello):5", "R", "R:want_read", ""},
	{"read", "want_write", "queued", "R:want_write W(hello):5", "W", "", "R:want_read"},
	{"read", "eof", "queued", "R:eof W(hello):5 S:ok C | close(nil)", "-", "", ""},
	{"read", "err", "queued", "R:err | close(err)", "-", "", ""},
	// Nothing is waited for when reading was paused, whatever the last answer was (P02).
	{"read", "ok", "paused", "R:5 | data(5)", "-", "", ""},
	{"read", "want_read", "paused", "R:want_read", "-", "", ""},
	{"read", "want_write", "paused", "R:want_write", "-", "", ""},
	{"read", "eof", "paused", "R:eof S:ok C | close(nil)", "-", "", ""},
	{"read", "err", "paused", "R:err | close(err)", "-", "", ""},
	// What comes after Close is discarded. The peer's end is awaited, in whichever form (P13).
	{"read", "ok", "closing", "R:5 R:want_read", "R", "R:want_read", ""},
	{"read", "want_read", "closing", "R:want_read", "R", "R:want_read", ""},
	{"read", "want_write", "closing", "R:want_write", "W", "", "R:want_read"},
	{"read", "eof", "closing", "R:eof | close(nil)", "-", "", ""},
	{"read", "err", "closing", "R:err | close(err)", "-", "", ""},

	// A write waits for what it said, beside the read that waits to read.
	{"write", "ok", "alone", "W(hello):5", "R", "R:want_read", ""},
	{"write", "want_read", "alone", "W(hello):want_read", "R", "R:want_read W(hello):5", ""},
	{"write", "want_write", "alone", "W(hello):want_write", "RW", "R:want_read", "W(hello):5"},
	{"write", "eof", "alone", "W(hello):eof | close(eof)", "-", "", ""},
	{"write", "err", "alone", "W(hello):err | close(err)", "-", "", ""},
	// What is written meanwhile does not change what is retried (P06).
	{"write", "ok", "queued", "W(hello):5", "R run", "R:want_read W(world):5", "W(world):5"},
	{"write", "want_read", "queued", "W(hello):want_read", "R", "R:want_read W(hello,world):10", ""},
	{"write", "want_write", "queued", "W(hello):want_write", "RW", "R:want_read", "W(hello,world):10"},
	{"write", "eof", "queued", "W(hello):eof | close(eof)", "-", "", ""},
	{"write", "err", "queued", "W(hello):err | close(err)", "-", "", ""},
	// Writing goes on while reading is paused, also where it waits to read.
	{"write", "ok", "paused", "W(hello):5", "-", "", ""},
	{"write", "want_read", "paused", "W(hello):want_read", "R", "W(hello):5", ""},
	{"write", "want_write", "paused", "W(hello):want_write", "W", "", "W(hello):5"},
	{"write", "eof", "paused", "W(hello):eof | close(eof)", "-", "", ""},
	{"write", "err", "paused", "W(hello):err | close(err)", "-", "", ""},
	// Close waits for the queue (P11).
	{"write", "ok", "closing", "W(hello):5 S:ok C", "R", "R:eof | close(nil)", ""},
	{"write", "want_read", "closing", "W(hello):want_read", "R", "W(hello):5 S:ok C R:want_read", ""},
	{"write", "want_write", "closing", "W(hello):want_write", "RW", "R:want_read", "W(hello):5 S:ok C"},
	{"write", "eof", "closing", "W(hello):eof | close(eof)", "-", "", ""},
	{"write", "err", "closing", "W(hello):err | close(err)", "-", "", ""},

	// After CloseWrite reading goes on and the handler hears it.
	{"shutdown", "ok", "alone", "S:ok C", "R", "R:5 R:want_read | data(5)", ""},
	{"shutdown", "want_read", "alone", "S:want_read", "R", "S:ok C R:want_read", ""},
	{"shutdown", "want_write", "alone", "S:want_write", "RW", "R:want_read", "S:ok C"},
	{"shutdown", "eof", "alone", "S:eof | close(nil)", "-", "", ""},
	{"shutdown", "err", "alone", "S:err | close(err)", "-", "", ""},
	// Shutdown follows the queue (P11).
	{"shutdown", "ok", "queued", "W(hello):5 S:ok C", "R", "R:5 R:want_read | data(5)", ""},
	{"shutdown", "want_read", "queued", "W(hello):5 S:want_read", "R", "S:ok C R:want_read", ""},
	{"shutdown", "want_write", "queued", "W(hello):5 S:want_write", "RW", "R:want_read", "S:ok C"},
	{"shutdown", "eof", "queued", "W(hello):5 S:eof | close(nil)", "-", "", ""},
	{"shutdown", "err", "queued", "W(hello):5 S:err | close(err)", "-", "", ""},
	// CloseWrite does not end the pause.
	{"shutdown", "ok", "paused", "S:ok C", "-", "", ""},
	{"shutdown", "want_read", "paused", "S:want_read", "R", "S:ok C", ""},
	{"shutdown", "want_write", "paused", "S:want_write", "W", "", "S:ok C"},
	{"shutdown", "eof", "paused", "S:eof | close(nil)", "-", "", ""},
	{"shutdown", "err", "paused", "S:err | close(err)", "-", "", ""},
	// After Close the handler hears nothing but the end.
	{"shutdown", "ok", "closing", "S:ok C", "R", "R:5 R:eof | close(nil)", ""},
	{"shutdown", "want_read", "closing", "S:want_read", "R", "S:ok C R:want_read", ""},
	{"shutdown", "want_write", "closing", "S:want_write", "RW", "R:5 R:want_read", "S:ok C"},
	{"shutdown", "eof", "closing", "S:eof | close(nil)", "-", "", ""},
	{"shutdown", "err", "closing", "S:err | close(err)", "-", "", ""},
}

// prepare brings a Session to where the operation of the row will get its
// answer, and returns the event that makes Ready try it.
func (c cell) prepare(t *testing.T) (*rig, Event) {
	t.Helper()
	if c.op == "handshake" && c.context != "closing" {
		r := newRig(t, Config{})
		switch c.context {
		case "queued":
			r.write("hello")
		case "paused":
			r.Pause()
		}
		return r, 0
	}
	r := openRig(t, Config{})
	traced := func(op tlsio.Op, f func()) {
		r.SetTrace(func(o tlsio.Op, _ tlsio.Result) {
			if o == op {
				r.SetTrace(nil)
				f()
			}
		})
	}
	switch c.op + " " + c.context {
	case "handshake closing":
		tlstest.Must(t, r.KeyUpdate(false))
		r.ready(0, "K:want_write")
		r.Close(nil)
		return r, Writable
	case "read alone":
		return r, Readable
	case "read queued":
		r.write("hello")
		return r, Readable
	case "read paused":
		traced(tlsio.OpRead, r.Pause)
		return r, Readable
	case "read closing":
		r.Close(nil)
		r.ready(0, "S:ok C")
		return r, Readable
	case "write alone":
		r.write("hello")
	case "write queued":
		r.write("hello")
	case "write paused":
		r.Pause()
		r.write("hello")
	case "write closing":
		r.write("hello")
		r.Close(nil)
	case "shutdown alone":
		r.CloseWrite()
	case "shutdown queued":
		r.write("hello")
		r.CloseWrite()
	case "shutdown paused":
		r.Pause()
		r.CloseWrite()
	case "shutdown closing":
		r.Close(nil)
	default:
		t.Fatalf("no such cell: %s, %s", c.op, c.context)
	}
	return r, 0
}

// TestCells states for each cell what is waited for, what is retried on which
// event, and what the handler sees (P01, P02, P06, P07, P09, P11, P35).
func TestCells(t *testing.T) {
	for _, c := range cells {
		for _, next := range []Event{Readable, Writable} {
			t.Run(c.op+" "+c.answer+" "+c.context+", then "+next.String(), func(t *testing.T) {
				r, got := c.prepare(t)
				r.ready(got, c.turn)
				if c.op == "write" && c.context == "queued" {
					err := r.Write([]byte("world"))
					if failed := c.answer == "eof" || c.answer == "err"; failed != (err != nil) {
						t.Fatalf("Write afterwards: %v", err)
					}
				}
				r.waits(c.waits)
				if next == Readable {
					r.ready(next, c.readable)
				} else {
					r.ready(next, c.writable)
				}
				if r.h.closed {
					r.ended()
				}
			})
		}
	}
}

// TestCellsComplete: there is exactly one row for each cell.
func TestCellsComplete(t *testing.T) {
	type key [3]string
	rows := map[key]int{}
	for _, c := range cells {
		rows[key{c.op, c.answer, c.context}]++
	}
	n := 0
	for _, op := range []string{"handshake", "read", "write", "shutdown"} {
		for _, answer := range []string{"ok", "want_read", "want_write", "eof", "err"} {
			for _, context := range []string{"alone", "queued", "paused", "closing"} {
				if k := (key{op, answer, context}); rows[k] != 1 {
					t.Errorf("%d rows for %v", rows[k], k)
				}
				n++
			}
		}
	}
	if n != 80 || len(cells) != n {
		t.Errorf("%d rows for %d cells", len(cells), n)
	}
}

// waitsForApplication reports whether an operation waits for something that only
// the application can bring about; see [tlsio.Want.Application].
func (s *Session) waitsForApplication() bool {
	for op := range operations {
		if s.want[op].Application() && s.live(op) {
			return true
		}
	}
	return false
}
