package reactor

import (
	"context"
	"net"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
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
	b.StopTimer()
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
	if n := after.Mallocs - before.Mallocs; n > echoes/50 {
		t.Errorf("%d allocations for %d echoes", n, echoes)
	}
}

// TestConnSize: what the Go side keeps of an idle connection, besides its slot and its place in epoll. The garbage
// collector's headroom comes on top, as much again by default.
func TestConnSize(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}) + unsafe.Sizeof(cssl.Conn{}); n > 576 { // one of Go's size classes
		t.Errorf("%d bytes for a connection", n)
	}
}

// cpu is the CPU time of this process so far, in nanoseconds.
func cpu(b *testing.B) int64 {
	var u unix.Rusage
	tlstest.Must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkClients compares the ways to make a client connection: each iteration is one full handshake
// and an Abort, with 16 under way at once. The CPU time is that of client and server together.
func BenchmarkClients(b *testing.B) {
	x := clientContext(b, nil)
	l := startLoop(b, LoopConfig{})
	addr := start(b, &Server{Handler: &hooks{}}).(*net.TCPAddr)
	d := &Dialer{Context: x, Config: csslLocalhost}
	opened := func(open func(h Handler) error) error {
		ch := make(chan *Conn, 1)
		if err := open(&hooks{open: func(c *Conn) { ch <- c }}); err != nil {
			return err
		}
		(<-ch).Abort(nil)
		return nil
	}
	for _, way := range []struct {
		name string
		one  func() error
	}{
		{"Attach", func() error {
			return opened(func(h Handler) error {
				fd, err := tryConnect(addr, 0)
				if err != nil {
					return err
				}
				return l.Attach(fd, x, csslLocalhost, h, nil)
			})
		}},
		{"Connect", func() error {
			return opened(func(h Handler) error { return l.Connect(addr.AddrPort(), x, csslLocalhost, h, nil) })
		}},
		{"Dial", func() error {
			c, err := d.Dial(context.Background(), l, "tcp", addr.String(), &hooks{}, nil)
			if err == nil {
				c.Abort(nil)
			}
			return err
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			before := cpu(b)
			var failed atomic.Pointer[error]
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := way.one(); err != nil {
						failed.Store(&err)
					}
				}
			})
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			if err := failed.Load(); err != nil {
				b.Fatal(*err)
			}
		})
	}
}

// BenchmarkOnLoop is what Dial pays to find out that it may block.
func BenchmarkOnLoop(b *testing.B) {
	for b.Loop() {
		if onLoop() {
			b.Fatal("it is not")
		}
	}
}
