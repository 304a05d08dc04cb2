package reactor

import (
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// pingPong sends 1 KiB over loopback TCP and has it back, n times.
func pingPong(t testing.TB) (run func(n int)) {
	s := &Server{Handler: echo()}
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
	c := dialOpen(t, l, clientContext(t, nil), addr, h)
	return func(n int) { left = n; c.Write(msg); <-done }
}

func BenchmarkEcho1K(b *testing.B) {
	run := pingPong(b)
	run(100)
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}

// TestEchoDoesNotAllocate: an echo of 1 KiB, there and back, allocates nothing on the Go side.
func TestEchoDoesNotAllocate(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the sanitizers allocate themselves, and sync.Pool drops at random")
	}
	run := pingPong(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	run(1000)
	const echoes = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(echoes)
	runtime.ReadMemStats(&after)
	// Timers of the test itself and the runtime's own may come in between.
	atMost(t, "allocations", after.Mallocs-before.Mallocs, echoes/50)
}

// TestConnSize: what the Go side keeps of an idle connection, besides its slot and its place in epoll. The garbage
// collector's headroom comes on top, as much again by default.
func TestConnSize(t *testing.T) {
	atMost(t, "bytes", unsafe.Sizeof(Conn{})+unsafe.Sizeof(cssl.Conn{}), 576) // one of Go's size classes
}
