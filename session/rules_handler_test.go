package session

import (
	"net"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// The tests of this file are the rules of calls from inside the handler's methods.

// TestCallsInsideCallbacks: each method may be called inside each callback, and
// takes effect when the callback returns.
func TestCallsInsideCallbacks(t *testing.T) {
	write := func(r *rig) { r.write("hello") }
	tests := []struct {
		inside, call string
		do           func(r *rig)
		turn         string // from the callback on; see reach
	}{
		{"open", "Write", write, "R:want_read W(hello):5"},
		{"open", "Close", func(r *rig) { r.Close(nil) }, "S:ok C R:want_read"},
		{"open", "Abort", func(r *rig) { r.Abort(errBroken) }, "| close(err)"},
		{"open", "CloseWrite", func(r *rig) { r.CloseWrite() }, "S:ok C R:want_read"},
		{"open", "Pause", func(r *rig) { r.Pause() }, ""},
		{"open", "KeyUpdate", func(r *rig) { rekeys(r) }, "K:ok R:want_read"},

		{"data", "Write", write, "R:want_read W(hello):5"},
		{"data", "Close", func(r *rig) { r.Close(nil) }, "S:ok C R:want_read"},
		{"data", "Abort", func(r *rig) { r.Abort(errBroken) }, "| close(err)"},
		{"data", "Abort, Write", func(r *rig) {
			r.Abort(nil)
			wantErr(r.t, r.Write([]byte("x")), net.ErrClosed)
		}, "| close(nil)"},
		{"data", "Write, Close", func(r *rig) { write(r); r.Close(nil) }, "W(hello):5 S:ok C R:want_read"},
		{"data", "CloseWrite", func(r *rig) { r.CloseWrite() }, "S:ok C R:want_read"},
		{"data", "Pause", func(r *rig) { r.Pause() }, ""},
		{"data", "Pause, Resume", func(r *rig) { r.Pause(); r.Resume() }, "R:want_read"},
		{"data", "KeyUpdate", func(r *rig) { rekeys(r) }, "K:ok R:want_read"},
		{"data", "Ready", func(r *rig) { r.Ready(Readable | Writable) }, "R:want_read"},

		{"drain", "Write", write, "W(hello):5"},
		{"drain", "Close", func(r *rig) { r.Close(nil) }, "S:ok C"},
		{"drain", "Abort", func(r *rig) { r.Abort(errBroken) }, "| close(err)"},
		{"drain", "CloseWrite", func(r *rig) { r.CloseWrite() }, "S:ok C"},
		{"drain", "Pause", func(r *rig) { r.Pause() }, ""},
		{"drain", "KeyUpdate", func(r *rig) { rekeys(r) }, "K:ok"},

		{"eof", "Write", write, "W(hello):5"},
		{"eof", "Write, CloseWrite", func(r *rig) { write(r); r.CloseWrite() }, "W(hello):5 S:ok C | close(nil)"},
		{"eof", "Close", func(r *rig) { r.Close(errBroken) }, "S:ok C | close(err)"},
		{"eof", "Abort", func(r *rig) { r.Abort(errBroken) }, "| close(err)"},
		{"eof", "CloseWrite", func(r *rig) { r.CloseWrite() }, "S:ok C | close(nil)"},
		{"eof", "Pause", func(r *rig) { r.Pause() }, ""},
		{"eof", "KeyUpdate", func(r *rig) { rekeys(r) }, "K:ok"},

		{"close", "everything", func(r *rig) {
			wantErr(r.t, r.Write([]byte("x")), net.ErrClosed)
			wantErr(r.t, r.KeyUpdate(false), net.ErrClosed)
			r.Pause()
			r.Resume()
			r.CloseWrite()
			r.Close(errBroken)
			r.Abort(errBroken)
			r.Ready(Readable | Writable)
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.inside+", "+test.call, func(t *testing.T) {
			r, got, reach := reach(t, test.inside)
			r.h.on[test.inside] = func() { delete(r.h.on, test.inside); test.do(r) }
			calls, hears := reach, test.inside
			switch test.inside {
			case "data":
				hears = "data(5)"
			case "close":
				hears = "close(nil)"
			}
			c, h, _ := strings.Cut(test.turn, "|")
			calls, hears = calls+" "+c, strings.TrimSpace(hears+h)
			r.ready(got, calls+" | "+hears)
			if r.h.closed {
				r.ended()
			}
		})
	}
}

// reach makes a Session whose next Ready with the event got makes the calls of
// script and then the named callback.
func reach(t *testing.T, inside string) (r *rig, got Event, script string) {
	switch inside {
	case "open":
		return newRig(t, Config{}), 0, "H:ok"
	case "data":
		return openRig(t, Config{}), Readable, "R:5"
	case "drain":
		r = openRig(t, Config{HighWater: 6}).write("abcdef")
		return r, 0, "W(abcdef):6"
	case "eof":
		r = openRig(t, Config{HalfClose: true})
		return r, Readable, "R:eof"
	}
	r = openRig(t, Config{})
	r.Abort(nil)
	return r, 0, ""
}

// rekeys asks for a KeyUpdate, which must be taken.
func rekeys(r *rig) { tlstest.Must(r.t, r.KeyUpdate(false)) }

// TestCloseOnce: OnClose comes exactly once, however often the end is asked for,
// with the first cause that is not nil.
func TestCloseOnce(t *testing.T) {
	r := openRig(t, Config{})
	r.h.on["data"] = func() { r.Abort(nil); r.Abort(errBroken); r.Close(errBroken) }
	r.ready(Readable, "R:5 | data(5) close(err)")
	for range 3 {
		r.Abort(errBroken)
		r.Close(errBroken)
		r.ended()
	}
}

// TestPanicInHandler: whoever recovers a handler's panic can still end the session, or go on with it.
func TestPanicInHandler(t *testing.T) {
	panicked := func(cfg Config) *rig {
		r := openRig(t, cfg)
		r.h.on["data"] = func() { panic("handler") }
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			r.ready(Readable, "R:5")
		}()
		r.h.take()
		delete(r.h.on, "data")
		return r
	}
	t.Run("end", func(t *testing.T) {
		r := panicked(Config{})
		r.Abort(errBroken)
		r.ready(0, "| close(err)").ended()
	})
	// What is written afterwards answers nothing that was read, so it must not hold up reading.
	t.Run("go on", func(t *testing.T) {
		r := panicked(Config{HighWater: 4, LowWater: 2})
		r.ready(0, "R:want_read")
		r.write("hello").ready(0, "W(hello):want_write")
		r.ready(Readable, "R:5 R:want_read | data(5)")
	})
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
