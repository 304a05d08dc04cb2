package session

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// The tests of this file are the rules of the write queue, backpressure and later handshakes.

// TestFrozenHead (P06): the retry carries the same bytes, though more were
// written since; those share the next record.
func TestFrozenHead(t *testing.T) {
	r := openRig(t, Config{}).write("hello").ready(0, "W(hello):want_write")
	r.write("_wor")
	r.write("ld")
	r.Stage([]byte("!"))
	if err := r.WriteStaged(); err != nil || r.Staged() != 0 {
		t.Fatal(err, r.Staged())
	}
	r.ready(Writable, "W(hello,_world!):want_write")
	r.ready(Writable, "W(hello,_world!):want_read")
	// After a partial accept the rest is a new record.
	r.ready(Readable, "R:want_read W(hello,_world!):2 W(llo,_world!):3 W(_world!):want_write")
	r.write("x").ready(Writable, "W(_world!,x):8")
	if got := r.e.out.String(); got != "hello_world!x" {
		t.Errorf("%q was sent", got)
	}
}

// TestMerge: what is written inside one turn leaves as few records.
func TestMerge(t *testing.T) {
	r := openRig(t, Config{})
	r.h.on["data"] = func() { r.write("ab") }
	r.ready(Readable, "R:1 R:1 R:1 R:want_read W(ababab):6 | data(1) data(1) data(1)")
	r.h.on["data"] = func() { r.write(strings.Repeat("x", tlsio.MaxPlaintext)) }
	r.ready(Readable, "R:1 R:1 W(#16384,#16384):32768 R:want_read | data(1) data(1)")
}

// TestWriteBuffers: a write takes up to four chunks, and the engine may accept any part of them.
func TestWriteBuffers(t *testing.T) {
	r := openRig(t, Config{HighWater: 1 << 20})
	in := strings.Repeat("0123456789abcdefg", 5*1000) + "end"
	r.write(in).ready(0, "W(#16384,#16384,#16384,#16384):16385 W(#16383,#16384,#16384,#16384):want_write")
	r.write("more").ready(Writable, "W(#16383,#16384,#16384,#16384):65535 W(#3087):want_write")
	r.write("x").ready(Writable, "W(#3087,#1):3088")
	if got := r.e.out.String(); got != in+"morex" {
		t.Errorf("%d bytes of %d were sent, or not these", len(got), len(in)+5)
	}
}

// TestWriteMore: the engine learns that more follows, but for the last buffers, which are to send it all; before a close
// that is close_notify, and the FIN after it sends them.
func TestWriteMore(t *testing.T) {
	r := openRig(t, Config{}).write(strings.Repeat("x", 4*tlsio.MaxPlaintext) + "end")
	r.ready(0, "W(#16384,#16384,#16384,#16384):65536 W(end):want_write")
	r.write("x").ready(Writable, "W(end,x):3 W(x):1")
	if want := []bool{true, false, false, false}; !slices.Equal(r.e.more, want) {
		t.Errorf("more follows: %v, not %v", r.e.more, want)
	}
	r.e.more = nil
	r.write("end")
	r.Close(nil)
	r.ready(0, "W(end):3 S:ok C")
	if want := []bool{true, true}; !slices.Equal(r.e.more, want) {
		t.Errorf("more follows, at the close: %v, not %v", r.e.more, want)
	}
}

// answer writes as a handler does inside OnData.
func (r *rig) answer(s string) *rig {
	r.feeding = true
	r.write(s)
	r.feeding = false
	return r
}

// TestWatermarks (P18): reading stops while HighWater or more of what it led to is queued, in
// whichever state the write is, and goes on when no more than LowWater is. OnDrain comes once.
func TestWatermarks(t *testing.T) {
	cfg := Config{HighWater: 100, LowWater: 50}
	for want, interest := range map[string]string{"want_write": "W", "async": "-"} {
		t.Run(want, func(t *testing.T) {
			r := openRig(t, cfg).answer(strings.Repeat("x", 99)).ready(0, "W(#99):"+want)
			r.answer("y").waits(interest) // throttled: no longer readable
			r.ready(Readable, "")
			r.Retry()
			r.ready(Writable, "W(#99,#1):48 W(#51,#1):"+want).waits(interest) // 52 left
			r.Retry()
			r.ready(Writable, "W(#51,#1):2 R:want_read W(#49,#1):"+want+" | drain")
			if want == "want_write" {
				r.waits("RW")
			}
			r.Retry()
			r.ready(Writable, "W(#49,#1):50").waits("R") // no second drain
		})
	}
}

// TestThrottledWriteWaitsToRead (P18): the watermark does not stop reading while
// the write itself waits for it; what that makes us queue is bounded by MaxQueue.
func TestThrottledWriteWaitsToRead(t *testing.T) {
	for _, want := range []string{"want_read", "app_read"} {
		t.Run(want, func(t *testing.T) {
			r := openRig(t, Config{HighWater: 100, LowWater: 50, MaxQueue: 230})
			r.answer(strings.Repeat("x", 100))
			refused := 0
			r.h.on["data"] = func() {
				if r.Write([]byte(strings.Repeat("y", 40))) == ErrQueueFull {
					refused++
				}
			}
			// Every read is answered with 40 bytes, and each lets the write be tried again.
			calls := "W(#100):" + want
			for _, queued := range []int{40, 80, 120, 120, 120} {
				calls += fmt.Sprintf(" R:9+in W(#100,#%d):%s", queued, want)
			}
			calls += " R:want_read "
			if want == "app_read" {
				calls += "W(#100,#120):want_read " // no application data stands in the way any more
			}
			r.ready(Readable, calls+"|"+strings.Repeat(" data(9)", 5)).waits("R")
			if r.Queued() != 220 || refused != 2 {
				t.Errorf("%d bytes queued, %d writes refused", r.Queued(), refused)
			}
			r.h.on["data"] = nil
			r.ready(Readable, "W(#100,#120):220 R:want_read | drain")
		})
	}
}

// TestOwnWritesDoNotStopReading (P18): what was not written in answer to input makes
// the queue full, of which OnDrain tells, but does not stop reading: two peers that
// both send of their own accord would wait for each other for ever.
func TestOwnWritesDoNotStopReading(t *testing.T) {
	r := openRig(t, Config{HighWater: 100, LowWater: 50}).write(strings.Repeat("x", 1000))
	r.ready(0, "W(#1000):want_write").waits("RW")
	r.ready(Readable, "R:9 R:want_read | data(9)")
	r.h.on["data"] = func() { r.write(strings.Repeat("y", 100)) }
	r.ready(Readable, "R:9 | data(9)").waits("W") // of 1100, 100 are an answer
	// Half of the queue leaves, and so half of what stopped the reading.
	r.ready(Writable, "W(#1000,#100):550 R:want_read W(#450,#100):want_write").waits("RW")
	r.ready(Writable, "W(#450,#100):500 W(#50):want_write | drain")
}

// TestUnsentWhileWriteWaitsToRead (P08): ciphertext that the transport refused goes out also while
// the write waits to read. In a renegotiation it is the rest of the flight that the peer must answer.
func TestUnsentWhileWriteWaitsToRead(t *testing.T) {
	r := openRig(t, Config{}).write("hello").ready(0, "W(hello):want_read+unsent").waits("RW")
	r.ready(Writable, "F:want_write+unsent").waits("RW")
	r.ready(Writable, "F:ok+out").waits("R")
	r.ready(Readable, "R:want_read W(hello):5")
}

// TestHeld (P14): what the engine holds back leaves with an answer, or when there is nothing
// else to do, also if reading is paused; and before the FIN.
func TestHeld(t *testing.T) {
	newRig(t, Config{}).ready(0, "H:ok+held R:want_read+held F:ok+out | open").waits("R")

	r := newRig(t, Config{})
	r.h.on["data"] = func() { r.write("answer") }
	r.ready(0, "H:ok+held R:7+drained+held W(answer):6+out | open data(7)").waits("R")

	r = newRig(t, Config{}).ready(0, "H:ok+held R:7+drained+held F:want_write+unsent | open data(7)")
	r.waits("RW")

	r = newRig(t, Config{})
	r.h.on["open"] = r.Pause
	r.ready(0, "H:ok+held F:ok+out | open").waits("-")

	r = newRig(t, Config{})
	r.h.on["open"] = func() { r.Close(nil) }
	r.ready(0, "H:ok+held S:ok+held R:want_read+held F:ok+out C | open").waits("R")
}

// TestEmptyWrite (P23): a write of no bytes is no call of the engine.
func TestEmptyWrite(t *testing.T) {
	r := openRig(t, Config{}).write("")
	if err := r.WriteStaged(); err != nil {
		t.Error(err)
	}
	r.waits("R")
	r.ready(0, "")
	r.Close(nil)
	tlstest.IsError(t, "Write", r.Write(nil), net.ErrClosed)
}

// TestKeyUpdate (P16): it is not begun between two attempts at one record, and
// carried on by Handshake.
func TestKeyUpdate(t *testing.T) {
	r := openRig(t, Config{}).write("hello").ready(0, "W(hello):want_write")
	r.write("more")
	tlstest.Must(t, r.KeyUpdate(true))
	if err := r.Renegotiate(); err == nil {
		t.Error("a second one was taken")
	}
	r.waits("RW")
	r.ready(Readable, "R:want_read")
	r.ready(Writable, "W(hello,more):5 K?:want_write W(more):want_write").waits("RW")
	r.ready(Writable, "H:ok W(more):4").waits("R")
	rekeys(r)
	r.ready(0, "K:ok")
}

// rekeyings are the handshakes after the first one, by the engine's call.
var rekeyings = map[string]func(s *Session) error{
	"K":  func(s *Session) error { return s.KeyUpdate(false) },
	"K?": func(s *Session) error { return s.KeyUpdate(true) },
	"N":  (*Session).Renegotiate,
	"A":  (*Session).RequestCertificate,
}

// TestRekeyConditions: where a handshake cannot be, it is refused at once.
func TestRekeyConditions(t *testing.T) {
	for name, begin := range rekeyings {
		t.Run(name, func(t *testing.T) {
			var s Session
			s.Init(struct{ Engine }{}, &recorder{t: t}, new(Config))
			tlstest.IsError(t, "begin", begin(&s), errors.ErrUnsupported)
			tlstest.IsError(t, "begin", begin(&newRig(t, Config{}).Session), net.ErrClosed)
			for _, end := range []func(r *rig){
				func(r *rig) { r.CloseWrite() }, func(r *rig) { r.Close(nil) }, func(r *rig) { r.Abort(nil) },
			} {
				r := openRig(t, Config{})
				end(r)
				tlstest.IsError(t, "begin", begin(&r.Session), net.ErrClosed)
			}
		})
	}
}

// TestDefaults: what Init fills in.
func TestDefaults(t *testing.T) {
	c := newRig(t, Config{LowWater: 1 << 30}).cfg
	if c.HighWater != 128<<10 || c.LowWater != c.HighWater || c.MaxQueue != 16<<20 || c.TurnBytes != 128<<10 ||
		c.LingerBytes != 1<<20 || len(c.Buffer) != tlsio.MaxPlaintext || c.Counters == nil {
		t.Errorf("%+v", c)
	}
	if c := newRig(t, Config{HighWater: 400}).cfg; c.LowWater != 100 {
		t.Errorf("LowWater %d", c.LowWater)
	}
}

// TestAnyConfig: whatever a Config holds, a Session over it writes, reads and comes to rest.
func TestAnyConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {Buffer: []byte{}},
		{HighWater: -1, LowWater: -1, MaxQueue: -1, TurnBytes: -1, LingerBytes: -1},
		{HighWater: 1, LowWater: 2, MaxQueue: 5, TurnBytes: 1, LingerBytes: 1, Buffer: make([]byte, 1)},
	} {
		r := newRig(t, c)
		for turn, calls := range []string{"H:ok R:want_read", "W(hello):5"} {
			if turn == 1 {
				r.write("hello")
			}
			r.e.expect(calls)
			for n := 0; r.Runnable(); n++ { // one turn may not have the bytes for all of it
				if n == 10 {
					t.Fatalf("with %+v there is always something to do", c)
				}
				r.Ready(0)
			}
			r.e.done()
		}
		r.waits("R")
	}
}
