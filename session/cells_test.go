package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// cell is one row of TestCells. The operation gets the answer while one of the
// contexts holds. Each of turn, readable and writable is "calls | what the
// handler hears"; for the notation of calls see scripted.
type cell struct {
	op, answer, contexts string
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
	{"handshake", "eof", "alone queued paused", "H:eof | close(eof)", "-", "", ""},
	{"handshake", "err", "alone queued paused closing", "H:err | close(err)", "-", "", ""},
	// What is queued changes nothing until it can be written; Writable is not asked for (P01).
	{"handshake", "ok", "queued", "H:ok R:want_read W(hello):5 | open", "R", "R:want_read", ""},
	{"handshake", "want_read", "queued", "H:want_read", "R", "H:ok R:want_read W(hello):5 | open", ""},
	{"handshake", "want_write", "queued", "H:want_write", "W", "", "H:ok R:want_read W(hello):5 | open"},
	// The handshake goes on while reading is paused; the first read does not come.
	{"handshake", "ok", "paused", "H:ok | open", "-", "", ""},
	{"handshake", "want_read", "paused", "H:want_read", "R", "H:ok | open", ""},
	{"handshake", "want_write", "paused", "H:want_write", "W", "", "H:ok | open"},
	// Close ends the first handshake at once, so the one here is later. Shutdown waits for it (P35).
	{"handshake", "ok", "closing", "H:ok S:ok C", "R", "R:eof | close(nil)", ""},
	{"handshake", "want_read", "closing", "H:want_read", "R", "H:ok S:ok C R:want_read", ""},
	{"handshake", "want_write", "closing", "H:want_write", "RW", "R:want_read", "H:ok S:ok C"},
	{"handshake", "eof", "closing", "H:eof S:ok C", "R", "R:eof | close(nil)", ""},

	// A read that made progress is tried again until the engine has no more.
	{"read", "ok", "alone", "R:5 R:want_read | data(5)", "R", "R:want_read", ""},
	{"read", "want_read", "alone closing", "R:want_read", "R", "R:want_read", ""},
	{"read", "want_write", "alone closing", "R:want_write", "W", "", "R:want_read"},
	{"read", "eof", "alone paused", "R:eof S:ok C | close(nil)", "-", "", ""},
	{"read", "err", "alone queued paused closing", "R:err | close(err)", "-", "", ""},
	// The queue is written after the read, or before the close that the peer's end leads to.
	{"read", "ok", "queued", "R:5 R:want_read W(hello):5 | data(5)", "R", "R:want_read", ""},
	{"read", "want_read", "queued", "R:want_read W(hello):5", "R", "R:want_read", ""},
	{"read", "want_write", "queued", "R:want_write W(hello):5", "W", "", "R:want_read"},
	{"read", "eof", "queued", "R:eof W(hello):5 S:ok C | close(nil)", "-", "", ""},
	// Nothing is waited for when reading was paused, whatever the last answer was (P02).
	{"read", "ok", "paused", "R:5 | data(5)", "-", "", ""},
	{"read", "want_read", "paused", "R:want_read", "-", "", ""},
	{"read", "want_write", "paused", "R:want_write", "-", "", ""},
	// What comes after Close is discarded. The peer's end is awaited, in whichever form (P13).
	{"read", "ok", "closing", "R:5 R:want_read", "R", "R:want_read", ""},
	{"read", "eof", "closing", "R:eof | close(nil)", "-", "", ""},

	// A write waits for what it said, beside the read that waits to read.
	{"write", "ok", "alone", "W(hello):5", "R", "R:want_read", ""},
	{"write", "want_read", "alone", "W(hello):want_read", "R", "R:want_read W(hello):5", ""},
	{"write", "want_write", "alone", "W(hello):want_write", "RW", "R:want_read", "W(hello):5"},
	{"write", "eof", "alone queued paused closing", "W(hello):eof | close(eof)", "-", "", ""},
	{"write", "err", "alone queued paused closing", "W(hello):err | close(err)", "-", "", ""},
	// What is written meanwhile does not change what is retried (P06).
	{"write", "ok", "queued", "W(hello):5", "R run", "R:want_read W(world):5", "W(world):5"},
	{"write", "want_read", "queued", "W(hello):want_read", "R", "R:want_read W(hello,world):10", ""},
	{"write", "want_write", "queued", "W(hello):want_write", "RW", "R:want_read", "W(hello,world):10"},
	// Writing goes on while reading is paused, also where it waits to read.
	{"write", "ok", "paused", "W(hello):5", "-", "", ""},
	{"write", "want_read", "paused", "W(hello):want_read", "R", "W(hello):5", ""},
	{"write", "want_write", "paused", "W(hello):want_write", "W", "", "W(hello):5"},
	// Close waits for the queue (P11).
	{"write", "ok", "closing", "W(hello):5 S:ok C", "R", "R:eof | close(nil)", ""},
	{"write", "want_read", "closing", "W(hello):want_read", "R", "W(hello):5 S:ok C R:want_read", ""},
	{"write", "want_write", "closing", "W(hello):want_write", "RW", "R:want_read", "W(hello):5 S:ok C"},

	// After CloseWrite reading goes on and the handler hears it.
	{"shutdown", "ok", "alone", "S:ok C", "R", "R:5 R:want_read | data(5)", ""},
	{"shutdown", "want_read", "alone closing", "S:want_read", "R", "S:ok C R:want_read", ""},
	{"shutdown", "want_write", "alone", "S:want_write", "RW", "R:want_read", "S:ok C"},
	{"shutdown", "eof", "alone paused closing", "S:eof | close(nil)", "-", "", ""},
	{"shutdown", "err", "alone paused closing", "S:err | close(err)", "-", "", ""},
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
	// After Close the handler hears nothing but the end.
	{"shutdown", "ok", "closing", "S:ok C", "R", "R:5 R:eof | close(nil)", ""},
	{"shutdown", "want_write", "closing", "S:want_write", "RW", "R:5 R:want_read", "S:ok C"},
}

// prepare brings a Session to where the operation will get its answer in the
// context, and returns the event that makes Ready try it.
func (c cell) prepare(t *testing.T, context string) (r *rig, got Event) {
	t.Helper()
	r = newRig(t, Config{})
	if c.op != "handshake" || context == "closing" {
		r.ready(0, "H:ok R:want_read | open")
	}
	switch c.op {
	case "handshake":
		if context == "closing" {
			rekeys(r)
			r.ready(0, "K:want_write")
			got = Writable
		}
	case "read":
		got = Readable
	case "write":
		r.write("hello")
	}
	switch context {
	case "queued":
		if c.op != "write" {
			r.write("hello")
		}
	case "paused":
		if c.op != "read" {
			r.Pause()
			break
		}
		r.SetTrace(func(op tlsio.Op, _ tlsio.Result) {
			if op == tlsio.OpRead {
				r.Pause()
			}
		})
	case "closing":
		r.Close(nil)
		if c.op == "read" {
			r.ready(0, "S:ok C")
		}
	}
	if c.op == "shutdown" && context != "closing" {
		r.CloseWrite()
	}
	return r, got
}

// TestCells states for each cell what is waited for, what is retried on which
// event, and what the handler sees (P01, P02, P06, P07, P09, P11, P35). There is
// one row for each cell.
func TestCells(t *testing.T) {
	for _, op := range []string{"handshake", "read", "write", "shutdown"} {
		for _, answer := range []string{"ok", "want_read", "want_write", "eof", "err"} {
			for _, context := range []string{"alone", "queued", "paused", "closing"} {
				rows := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool {
					return c.op != op || c.answer != answer || !slices.Contains(strings.Fields(c.contexts), context)
				})
				if len(rows) != 1 {
					t.Fatalf("%d rows for %s, %s, %s", len(rows), op, answer, context)
				}
				for _, next := range []Event{Readable, Writable} {
					t.Run(op+" "+answer+" "+context+", then "+next.String(), func(t *testing.T) { rows[0].test(t, context, next) })
				}
			}
		}
	}
}

func (c cell) test(t *testing.T, context string, next Event) {
	r, got := c.prepare(t, context)
	r.ready(got, c.turn)
	if c.op == "write" && context == "queued" {
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
}
