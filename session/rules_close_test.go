package session

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// The tests of this file are the rules of the end of a connection.

// TestCloseSequence (P11, P13): drain, close_notify, FIN, and reading until the peer's end.
func TestCloseSequence(t *testing.T) {
	r := openRig(t, Config{}).write("hello")
	r.Close(nil)
	if r.Phase() != Closing {
		t.Errorf("phase %v", r.Phase())
	}
	wantErr(t, r.Write([]byte("x")), net.ErrClosed)
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

// TestLinger (P11): the bytes that are discarded while the queue still drains do
// not count, for the peer has not heard of the end yet.
func TestLinger(t *testing.T) {
	r := openRig(t, Config{LingerBytes: 20}).write("hello")
	r.Close(nil)
	r.ready(0, "W(hello):want_write")
	r.ready(Readable, "R:100 R:100 R:want_read")
	r.ready(Writable, "W(hello):5 S:ok C")
	r.ready(Readable, "R:20 R:want_read")
	r.ready(Readable, "R:1 | close("+ErrLinger.Error()+")").ended()
}

// TestCloseInHandshake (P12): a Close in the handshake ends at once, without close_notify.
func TestCloseInHandshake(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"Close": func(r *rig) { r.Close(errBroken) },
		"Abort": func(r *rig) { r.Abort(errBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{}).write("hello").ready(0, "H:want_read")
			end(r)
			r.waits("R run")
			r.ready(0, "| close(err)").ended()
		})
	}
}

// TestCloseWriteInHandshake (P12): CloseWrite waits for the end of the handshake and the queue.
func TestCloseWriteInHandshake(t *testing.T) {
	r := newRig(t, Config{}).write("hello")
	r.CloseWrite()
	r.ready(0, "H:want_read").waits("R")
	r.ready(Readable, "H:ok W(hello):5 S:ok C R:want_read | open")

	r = newRig(t, Config{})
	r.CloseWrite() // nothing is queued that would hold Shutdown back
	r.ready(0, "H:want_read")
	r.ready(Readable, "H:want_write")
	r.ready(Writable, "H:ok S:ok C R:want_read | open")
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
			tlstest.Must(t, r.KeyUpdate(false))
			r.ready(0, "K:want_write")
			end(r)
			r.ready(0, "").waits("RW")
			r.ready(Writable, "H:want_write")
			r.ready(Writable, "H:ok S:ok C")
		})
	}
	t.Run("not begun", func(t *testing.T) {
		r := openRig(t, Config{})
		tlstest.Must(t, r.KeyUpdate(false))
		r.Close(nil)
		r.ready(0, "S:ok C")
	})
}

// TestWriteFailureDeliversInput (P14): what the peer sent before it went away is
// delivered, though writing has failed; then the session ends with the write's error.
func TestWriteFailureDeliversInput(t *testing.T) {
	r := openRig(t, Config{TurnBytes: 1000})
	r.h.on["data"] = func() {
		wantErr(t, r.Write([]byte("x")), net.ErrClosed)
		wantErr(t, r.KeyUpdate(false), net.ErrClosed)
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

// TestPeerGoneAfterItsEnd: a peer that ended its direction and went without our
// close_notify is no error, unless it lost something.
func TestPeerGoneAfterItsEnd(t *testing.T) {
	openRig(t, Config{}).ready(Readable, "R:eof S:err | close(nil)").ended()
	openRig(t, Config{}).write("hello").ready(Readable, "R:eof W(hello):err | close(err)").ended()
}

// TestPeerEnd: the peer's end closes the session when the queue is drained. A
// close_notify is a clean end, however it is wrapped, and a bare FIN is not.
func TestPeerEnd(t *testing.T) {
	for answer, cause := range map[string]string{"eof": "nil", "fin": "fin"} {
		r := openRig(t, Config{}).write("hello").ready(0, "W(hello):want_write")
		r.ready(Readable, "R:"+answer).waits("W")
		if r.Phase() != Closing {
			t.Errorf("phase %v", r.Phase())
		}
		r.ready(Writable, "W(hello):5 S:ok C | close("+cause+")").ended()
	}
	r := openRig(t, Config{})
	scriptErrors["wrapped"] = &net.OpError{Err: io.EOF}
	defer delete(scriptErrors, "wrapped")
	r.ready(Readable, "R:wrapped S:ok C | close(nil)")
}

// TestHalfClose: with Config.HalfClose our direction goes on after the peer's end.
func TestHalfClose(t *testing.T) {
	r := openRig(t, Config{HalfClose: true}).ready(Readable, "R:eof | eof").waits("-")
	if r.Phase() != Open {
		t.Errorf("phase %v", r.Phase())
	}
	r.write("hello").ready(0, "W(hello):want_write").waits("W")
	r.ready(Writable, "W(hello):5")
	r.CloseWrite()
	r.ready(0, "S:ok C | close(nil)").ended()

	// A bare FIN is no such end.
	openRig(t, Config{HalfClose: true}).ready(Readable, "R:fin S:ok C | close(fin)").ended()

	// Our end first, then the peer's.
	r = openRig(t, Config{HalfClose: true})
	r.CloseWrite()
	r.ready(0, "S:ok C")
	r.ready(Readable, "R:5 R:eof | data(5) eof close(nil)").ended()
}

// TestCloseWriteInBusyTurn (P17): the close steps come first in the next turn when the budget was used up.
func TestCloseWriteInBusyTurn(t *testing.T) {
	r := openRig(t, Config{TurnBytes: 1000})
	r.h.on["data"] = func() { r.CloseWrite() }
	r.ready(Readable, "R:1000 | data(1000)")
	r.Pause()
	r.waits("- run")
	r.ready(0, "S:ok C").waits("-")
}

// TestFirstCauseWins: OnClose gets the first thing that went wrong.
func TestFirstCauseWins(t *testing.T) {
	r := openRig(t, Config{})
	r.Close(errBroken)
	r.Close(io.EOF)
	r.ready(Readable, "S:ok C R:want_read")
	r.Abort(io.ErrUnexpectedEOF)
	if r.cause != errBroken {
		t.Error(r.cause)
	}
	r.waits("R run")
	r.ready(0, "| close(err)").ended()
}

// TestAbortThrowsAway: Abort writes nothing and sends no close_notify.
func TestAbortThrowsAway(t *testing.T) {
	r := openRig(t, Config{}).write(strings.Repeat("x", 3*tlsio.MaxPlaintext))
	r.ready(0, "W(#16384,#16384,#16384):want_write")
	r.Abort(nil)
	wantErr(t, r.Write([]byte("x")), net.ErrClosed)
	r.ready(Readable|Writable, "| close(nil)").ended()
}

// TestCloseOfPaused (P13): after Close the input is discarded, so a pause does not count any more.
func TestCloseOfPaused(t *testing.T) {
	r := openRig(t, Config{HighWater: 5})
	r.Pause()
	r.write("hello") // throttled too
	r.ready(0, "W(hello):want_write").waits("W")
	r.Close(nil)
	r.waits("RW")
	r.ready(Readable, "R:5 R:want_read")
}
