package session

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// The tests of this file are the rules of the end of a connection, and of a handler that panics.

// TestCloseSequence (P11, P13): drain, close_notify, FIN, and reading until the peer's end.
func TestCloseSequence(t *testing.T) {
	r := openRig(t, Config{}).write("hello")
	r.Close(nil)
	if r.Phase() != Closing {
		t.Errorf("phase %v", r.Phase())
	}
	tlstest.IsError(t, "Write", r.Write([]byte("x")), net.ErrClosed)
	r.waits("R run")
	r.ready(0, "W(hello):want_write")
	r.ready(Readable, "R:9 R:want_read") // what the peer still sends is discarded
	r.ready(Writable, "W(hello):5 S:want_write")
	r.ready(Writable, "S:ok+unsent").waits("RW") // no FIN yet, for it would overtake the alert
	r.ready(Writable, "F:want_write+unsent")
	r.ready(Readable, "R:want_read+unsent")
	r.ready(Writable, "F:ok C").waits("R")
	r.ready(Readable, "R:9 R:want_read")
	r.ready(Readable, "R:eof | close(nil)").ended()
}

// TestCloseIsNotHeldUp (P11, P13): a peer that keeps sending holds up neither
// the queue nor close_notify nor FIN. LingerBytes counts from then on.
func TestCloseIsNotHeldUp(t *testing.T) {
	r := openRig(t, Config{LingerBytes: 20})
	r.h.on["data"] = func() { r.h.on["data"] = nil; r.write("bye"); r.Close(nil) }
	r.ready(Readable, "R:10 W(bye):3 S:ok C R:10 R:10 R:10 | data(10) close("+ErrLinger.Error()+")").ended()
}

// atOnce are the ways to end a handshake at once.
var atOnce = map[string]func(r *rig){
	"Close": func(r *rig) { r.Close(errBroken) },
	"Abort": func(r *rig) { r.Abort(errBroken) },
}

// TestCloseInHandshake (P12): a Close in the handshake ends at once, without close_notify.
func TestCloseInHandshake(t *testing.T) {
	for name, end := range atOnce {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{}).write("hello").ready(0, "H:want_read")
			end(r)
			r.waits("R run")
			r.ready(0, "| close(err)").ended()
		})
	}
}

// TestNoShutdownAfterFatal (P12): after a fatal error there is no close_notify. The
// alert that the engine wants to send gets one chance.
func TestNoShutdownAfterFatal(t *testing.T) {
	openRig(t, Config{}).write("hello").ready(Readable, "R:err | close(err)").ended()
	newRig(t, Config{}).ready(0, "H:err+unsent F:want_write | close(err)").ended()
	r := openRig(t, Config{})
	r.Close(nil)
	r.ready(0, "S:want_write")
	r.ready(Readable, "R:err | close(err)").ended()
}

// TestCloseDuringRekey (P35): close_notify waits for the KeyUpdate that is half written.
func TestCloseDuringRekey(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"Close":      func(r *rig) { r.Close(nil) },
		"CloseWrite": func(r *rig) { r.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			r := openRig(t, Config{})
			rekeys(r)
			r.ready(0, "K:want_write")
			end(r)
			r.ready(0, "").waits("RW")
			r.ready(Writable, "H:want_write")
			r.ready(Writable, "H:ok S:ok C")
		})
	}
	t.Run("not begun", func(t *testing.T) {
		r := openRig(t, Config{})
		rekeys(r)
		r.Close(nil)
		r.ready(0, "S:ok C")
	})
}

// TestWriteFailureDeliversInput (P14): what the peer sent before it went away is
// delivered, though writing has failed; then the session ends with the write's error.
func TestWriteFailureDeliversInput(t *testing.T) {
	r := openRig(t, Config{TurnBytes: 1000})
	r.h.on["data"] = func() {
		tlstest.IsError(t, "Write", r.Write([]byte("x")), net.ErrClosed)
		tlstest.IsError(t, "KeyUpdate", r.KeyUpdate(false), net.ErrClosed)
	}
	r.write(strings.Repeat("x", 2*tlsio.MaxPlaintext))
	r.ready(Readable|Writable, "W(#16384,#16384):err+9 R:500 | data(500)").waits("- run") // the turn was over
	if r.queue.head != nil {
		t.Error("the queue is kept")
	}
	r.ready(0, "R:9 R:want_read | data(9) close(err)").ended()

	r = openRig(t, Config{}).write(strings.Repeat("x", 2*tlsio.MaxPlaintext))
	r.ready(Readable|Writable, "W(#16384,#16384):err R:9 R:eof | data(9) close(err)").ended()

	// A pause does not keep a broken connection: nothing would ever end it.
	r = openRig(t, Config{TurnBytes: 1000}).write(strings.Repeat("x", 2*tlsio.MaxPlaintext))
	r.ready(Readable, "W(#16384,#16384):err R:1000 | data(1000)")
	r.Pause()
	r.waits("- run")
	r.ready(0, "| close(err)").ended()
}

// TestWrappedEnd: a clean end is one however it is wrapped.
func TestWrappedEnd(t *testing.T) {
	scriptErrors["wrapped"] = &net.OpError{Err: io.EOF}
	defer delete(scriptErrors, "wrapped")
	openRig(t, Config{}).ready(Readable, "R:wrapped S:ok C | close(nil)")
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
