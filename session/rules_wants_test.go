package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// The tests of this file are the rules of what is waited for and what is tried again, and of what is told of that.

// TestStaleWriteAfterRead (P08): a read that took input took perhaps what a
// blocked write waited for, so the write is tried again, also when the read made no progress.
func TestStaleWriteAfterRead(t *testing.T) {
	for name, turn := range map[string]string{
		"read made progress":    "R:5+in R:want_read W(hello):5 | data(5)",
		"read made no progress": "R:want_read+in W(hello):5",
		"peer's end":            "R:eof+in W(hello):5 S:ok C | close(nil)",
		"write waits again":     "R:5+in R:want_read W(hello):want_read | data(5)",
		"nothing was taken":     "R:want_read",
	} {
		t.Run(name, func(t *testing.T) {
			r := openRig(t, Config{}).write("hello").ready(0, "W(hello):want_read")
			r.Ready(0) // nothing may be called: nothing has come
			// The event is kept from the write, so that only the staleness can retry it.
			r.want[read] = tlsio.WantNone
			r.ready(0, turn)
		})
	}
}

// TestStaleReadAfterWrite (P08): a write that took input may have put data for
// the read into the engine; one that sent output may have made room that a read waits for.
func TestStaleReadAfterWrite(t *testing.T) {
	t.Run("input", func(t *testing.T) {
		r := openRig(t, Config{}).write("hello").ready(0, "W(hello):5+in R:7 R:want_read | data(7)")
		r.write("again").ready(0, "W(again):want_write+in R:want_read").waits("RW")
	})
	t.Run("output", func(t *testing.T) {
		r := openRig(t, Config{}).ready(Readable, "R:want_write")
		r.write("hello").ready(0, "W(hello):5+out R:want_read").waits("R")
	})
	t.Run("output does not help a read that waits to read", func(t *testing.T) {
		openRig(t, Config{}).write("hello").ready(0, "W(hello):5+out").waits("R")
	})
	t.Run("shutdown after a read that sent", func(t *testing.T) {
		r := openRig(t, Config{})
		r.CloseWrite()
		r.ready(0, "S:want_write")
		r.ready(Readable, "R:want_read+out S:ok C")
	})
}

// TestWantAppRead: a write in whose way application data stands is tried again
// after a read, and the read does not wait for an event.
func TestWantAppRead(t *testing.T) {
	r := openRig(t, Config{}).write("hello")
	r.ready(0, "W(hello):app_read R:9 R:want_read W(hello):5 | data(9)").waits("R")

	r.write("hello")
	r.Pause()
	r.ready(0, "W(hello):app_read").waits("-") // reading is paused, and nothing else helps
	r.Resume()
	r.waits("- run")
	r.ready(0, "R:9+drained W(hello):5 | data(9)").waits("R")
}

// TestNoWritableForQueue (P01): queued data alone never asks for writability.
func TestNoWritableForQueue(t *testing.T) {
	r := newRig(t, Config{}).write("hello").ready(0, "H:want_read").waits("R")
	r.ready(Writable, "")
	r.ready(Readable, "H:ok R:want_read W(hello):want_read | open").waits("R")
	r.write("more").waits("R")
	r.ready(Writable, "")
}

// TestPauseDropsWants (P02): the wants of a paused read are not waited for, and
// they are still there on Resume.
func TestPauseDropsWants(t *testing.T) {
	for want, interest := range map[string]string{"want_read": "R", "want_write": "W"} {
		t.Run(want, func(t *testing.T) {
			r := openRig(t, Config{}).ready(Readable, "R:"+want).waits(interest)
			r.Pause()
			if !r.paused {
				t.Error("not paused")
			}
			r.waits("-")
			r.ready(Readable&^r.Interest()|Writable, "")
			r.Resume()
			r.waits("- run") // an event came meanwhile
			r.ready(0, "R:"+want)
			r.Pause()
			r.Resume()
			r.waits(interest) // none came
		})
	}
}

// TestRunnableForBuffered (P03, P04): plaintext inside the engine wakes nobody.
// A read counts as runnable from progress until the engine says that there is no more.
func TestRunnableForBuffered(t *testing.T) {
	r := openRig(t, Config{})
	r.h.on["data"] = r.Pause
	r.ready(Readable, "R:5 | data(5)").waits("-")
	r.Resume()
	r.waits("- run")
	r.ready(0, "R:5 | data(5)")
	r.h.on["data"] = nil
	r.Resume()
	r.ready(0, "R:want_read")
	r.Pause()
	r.Resume()
	r.waits("R")

	r.ready(Readable, "R:5+drained | data(5)").waits("R") // drained: no second read is needed
}

// TestFirstReadAfterHandshake (P03): the handshake may have taken the first data along.
func TestFirstReadAfterHandshake(t *testing.T) {
	r := newRig(t, Config{}).waits("- run")
	r.ready(0, "H:want_read")
	r.ready(Readable, "H:ok R:5 R:want_read | open data(5)")
}

// TestNoInlineRetry (P09): an operation that wants something is called once, and
// again only after an event, though others go on meanwhile.
func TestNoInlineRetry(t *testing.T) {
	r := openRig(t, Config{}).write("hello").ready(0, "W(hello):want_read")
	r.ready(0, "")
	r.ready(Writable, "")
	r.ready(Readable, "R:want_read W(hello):want_read")
	r.ready(0, "").waits("R")
}

// TestHandshakeWantWrite (P07): a handshake whose flight does not fit is retried on Writable.
func TestHandshakeWantWrite(t *testing.T) {
	r := newRig(t, Config{}).ready(0, "H:want_write+out+unsent").waits("W")
	r.ready(Writable, "H:want_write+out+unsent").waits("W")
	r.ready(Writable, "H:want_read+out").waits("R")
}

// TestTurnBudget (P17): a peer that never stops gets TurnBytes a turn. Attempts
// that move nothing are bounded too. The session is runnable afterwards.
func TestTurnBudget(t *testing.T) {
	const size = 1000
	r := openRig(t, Config{TurnBytes: 10 * size})
	reads := 10*size/(size+attemptCost) + 1
	turn := strings.Repeat("R:1000 ", reads) + "|" + strings.Repeat(" data(1000)", reads)
	r.ready(Readable, turn).waits("- run")
	r.ready(0, turn).waits("- run")
	r.ready(0, "R:want_read")

	// Each write takes input and sets the read free, and each read sets the write free.
	r.write("hello").ready(0, strings.Repeat("W(hello):want_read+in R:want_read+in ", 10*size/attemptCost/2+1))
	r.waits("R run")

	// A read is not cut short, however small a turn is.
	r = openRig(t, Config{TurnBytes: 1000, Buffer: make([]byte, 66<<10)})
	r.ready(Readable, "R:67584 | data(67584)").waits("- run")
	r.ready(0, "R:67584 | data(67584)")
}

// TestShortAnswerIsNotStarved (P17): while a peer keeps sending, an answer of less than a record still goes
// out, once a turn.
func TestShortAnswerIsNotStarved(t *testing.T) {
	r := openRig(t, Config{TurnBytes: 2000}).write("hello")
	r.ready(Readable, "R:1000 R:1000 W(hello):5 | data(1000) data(1000)").waits("- run")
	r.ready(0, "R:1000 R:1000 | data(1000) data(1000)")
}

// TestInputIsNotStarved (P17): while a peer takes all that is queued, what it says is read between two writes
// of records, and once a turn if a turn is shorter than that.
func TestInputIsNotStarved(t *testing.T) {
	r := openRig(t, Config{TurnBytes: 1 << 20}).write(strings.Repeat("x", 9*tlsio.MaxPlaintext))
	r.want[read] = tlsio.WantNone
	const records = "W(#16384,#16384,#16384,#16384):65536 "
	r.ready(0, records+"R:100 "+records+"R:100 R:want_read W(#16384):16384 | data(100) drain data(100)")

	r = openRig(t, Config{TurnBytes: 1000}).write(strings.Repeat("x", 9*tlsio.MaxPlaintext))
	r.want[read] = tlsio.WantNone
	r.ready(0, records+"R:100 | data(100)")
	r.ready(0, records+"R:want_read | drain").waits("R run")
}

// TestApplicationWants: no event of the transport ends such a wait, only Retry.
func TestApplicationWants(t *testing.T) {
	for _, want := range []string{"async", "client_hello", "retry_verify"} {
		t.Run(want, func(t *testing.T) {
			r := newRig(t, Config{}).ready(0, "H:"+want).waits("-")
			if !r.waitsForApplication() {
				t.Error("does not wait for the application")
			}
			r.ready(Readable|Writable, "")
			r.Retry()
			r.waits("- run")
			if r.waitsForApplication() {
				t.Error("still waits for the application")
			}
			r.ready(0, "H:want_read")
			r.Retry() // nothing to do with an event of the transport
			r.waits("R")
		})
	}
}

// TestUnknownWant: an answer that nothing would ever end is an error, and neither a spin nor a wait for ever.
func TestUnknownWant(t *testing.T) {
	readable := func(r *rig) { r.want[read] = tlsio.WantNone }
	for turn, setup := range map[string]func(r *rig){
		"H:unknown":        nil,
		"R:unknown":        readable,
		"R:app_read":       readable,
		"W(hello):unknown": func(r *rig) { r.write("hello") },
		"S:unknown":        func(r *rig) { r.Close(nil) },
	} {
		t.Run(turn, func(t *testing.T) {
			r := newRig(t, Config{})
			if setup != nil {
				r.ready(0, "H:ok R:want_read | open")
				setup(r)
			}
			r.e.expect(turn)
			r.Ready(0)
			r.e.done()
			if got := r.h.take(); !strings.HasPrefix(got, "close(session: ") {
				t.Errorf("the handler heard %q", got)
			}
			r.ended()
		})
	}
}

// TestTrace: the trace sees each operation before the handler does, and the interest that follows.
func TestTrace(t *testing.T) {
	r := openRig(t, Config{})
	var seen string
	r.SetTrace(func(op tlsio.Op, res tlsio.Result) {
		seen += op.String() + ":" + res.Want.String() + ":" + r.Interest().String() + " "
		if len(r.h.heard) > 0 && op == tlsio.OpRead && res.N > 0 {
			t.Error("the handler heard of it first")
		}
	})
	r.write("hello").ready(Readable, "R:5 R:want_read W(hello):want_write | data(5)")
	if want := "read:NONE:- read:WANT_READ:R write:WANT_WRITE:RW "; seen != want {
		t.Errorf("%q, want %q", seen, want)
	}
}

// TestCounters: each result is counted under its operation and want.
func TestCounters(t *testing.T) {
	var c Counters
	r := openRig(t, Config{Counters: &c}).write("hello")
	r.ready(Readable, "R:7 R:want_write W(hello):want_read | data(7)")
	r.ready(Readable|Writable, "R:want_read W(hello):err | close(err)")
	got := fmt.Sprint(
		c.Results[tlsio.OpHandshake][tlsio.WantNone], c.Results[tlsio.OpRead][tlsio.WantNone],
		c.Results[tlsio.OpRead][tlsio.WantRead], c.Results[tlsio.OpRead][tlsio.WantWrite],
		c.Results[tlsio.OpWrite][tlsio.WantRead], c.Errors[tlsio.OpWrite], c.BytesRead, c.BytesWritten)
	if got != "1 1 2 1 1 1 7 0" {
		t.Errorf("counted %s", got)
	}
	var sum Counters
	sum.Add(&c)
	sum.Add(&c)
	if sum.BytesRead != 14 || sum.Errors[tlsio.OpWrite] != 2 || sum.Results[tlsio.OpRead][tlsio.WantRead] != 4 {
		t.Errorf("summed %+v", sum)
	}
}

// TestStrings: the names of what is printed in traces.
func TestStrings(t *testing.T) {
	got := fmt.Sprint(Event(0), Readable, Writable, Readable|Writable, Handshaking, Open, Closing, Closed)
	if got != "- R W RW handshaking open closing closed" {
		t.Error(got)
	}
}
