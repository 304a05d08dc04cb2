package reactor

import (
	"net"
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// inPlain handles the plain-text phase as hooks handle TLS.
type inPlain struct{ *hooks }

func (p inPlain) OnConnect(c *Conn)             { p.OnOpen(c) }
func (p inPlain) OnPlain(c *Conn, b []byte) int { p.OnData(c, b); return len(b) }

// pingPong sends 1 KiB over loopback TCP and has it back, n times, with TLS or in plain text.
func pingPong(t testing.TB, plain bool) (run func(n int)) {
	s := &Server{Handler: echo()}
	if plain {
		s.Plain = inPlain{echo()}
	}
	addr := start(t, s)
	l := startLoop(t, LoopConfig{})
	msg := make([]byte, 1024)
	var left, got int // the loop's goroutine alone, or before the first Write
	done := make(chan struct{})
	h := &hooks{data: func(c *Conn, p []byte) {
		if got += len(p); got < len(msg) {
			return
		}
		got = 0
		if left--; left == 0 {
			done <- struct{}{}
			return
		}
		c.Write(msg)
	}}
	h, opened := opens(h)
	if plain {
		tlstest.Must(t, l.ConnectPlain(addr.(*net.TCPAddr).AddrPort(), inPlain{h}, nil, csslNone, h, nil))
	} else {
		dial(t, l, clientContext(t, nil), addr, h)
	}
	c := tlstest.Receive(t, opened, "the connection")
	return func(n int) { left = n; c.Write(msg); <-done }
}

func BenchmarkEcho1K(b *testing.B) {
	run := pingPong(b, false)
	run(100)
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}

// TestEchoDoesNotAllocate: an echo of 1 KiB, there and back, allocates nothing on the Go side, with TLS and in plain
// text.
func TestEchoDoesNotAllocate(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the sanitizers allocate themselves, and sync.Pool drops at random")
	}
	for _, plain := range []bool{false, true} {
		run := pingPong(t, plain)
		gc := debug.SetGCPercent(-1)
		run(1000)
		const echoes = 5000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(echoes)
		runtime.ReadMemStats(&after)
		debug.SetGCPercent(gc)
		// Timers of the test itself and the runtime's own may come in between.
		atMost(t, "allocations", after.Mallocs-before.Mallocs, echoes/50)
	}
}

// TestConnSize: what the Go side keeps of an idle connection, besides its slot and its place in epoll. The garbage
// collector's headroom comes on top, as much again by default.
func TestConnSize(t *testing.T) {
	atMost(t, "bytes", unsafe.Sizeof(Conn{})+unsafe.Sizeof(cssl.Conn{}), 576) // one of Go's size classes
}
