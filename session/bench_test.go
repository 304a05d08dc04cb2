package session

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// instant is an Engine that has one read of 1 KiB for each turn and takes every write.
type instant struct{ had bool }

func (e *instant) Handshake() tlsio.Result { return tlsio.Result{} }
func (e *instant) Flush() tlsio.Result     { return tlsio.Result{} }
func (e *instant) Shutdown() tlsio.Result  { return tlsio.Result{Out: true} }
func (e *instant) CloseWrite() error       { return nil }

func (e *instant) Write(p []byte) tlsio.Result { return tlsio.Result{N: len(p), Out: true} }

func (e *instant) Read(p []byte) tlsio.Result {
	if e.had {
		return tlsio.Result{Want: tlsio.WantRead}
	}
	e.had = true
	return tlsio.Result{N: 1024, In: true, Drained: true}
}

// echoHandler answers what it hears.
type echoHandler struct {
	BaseHandler
	s Session
}

func (h *echoHandler) OnData(p []byte) { _ = h.s.Write(p) }

// turn makes a Session that echoes and answers a function that does one turn of it.
func turn() func() {
	e := new(instant)
	h := new(echoHandler)
	h.s.Init(e, h, new(Config))
	h.s.Ready(0)
	return func() {
		e.had = false
		h.s.Ready(Readable)
		if h.s.Interest() != Readable || h.s.Runnable() {
			panic("the turn left something over")
		}
	}
}

// BenchmarkTurn is one read and one write of 1 KiB, without TLS.
func BenchmarkTurn(b *testing.B) {
	f := turn()
	b.ReportAllocs()
	b.SetBytes(1024)
	for b.Loop() {
		f()
	}
}

// TestTurnAllocatesNothing: an echo turn allocates nothing. The race detector makes sync.Pool drop
// what it holds, so it is not measured there.
func TestTurnAllocatesNothing(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the race detector empties pools at random")
	}
	if n := testing.AllocsPerRun(1000, turn()); n > 0 {
		t.Errorf("%v allocations in a turn", n)
	}
}
