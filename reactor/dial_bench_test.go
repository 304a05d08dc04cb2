package reactor

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

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
