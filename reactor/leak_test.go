package reactor

import (
	"runtime"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestNoLeaks: many connections opened, used and closed, five times over: file
// descriptors, SSL objects and goroutines are back where they began.
func TestNoLeaks(t *testing.T) {
	const conns = 2000 / scale
	s := &Server{Handler: echo(), Loops: 2, Limits: Limits{MaxHandshakes: 4096, HandshakeTimeout: tlstest.Hang}}
	addr := start(t, s)
	// Certificates are checked elsewhere; here it is about numbers.
	l, x := startLoop(t, LoopConfig{Limits: Limits{HandshakeTimeout: tlstest.Hang}}), clientContext(t, func(c *cssl.Config) { c.Verify = cssl.VerifyNone })
	opened, echoed, ended := make(chan *Conn, conns), make(chan struct{}, conns), make(chan error, conns)
	h := &hooks{
		open: func(c *Conn) { opened <- c },
		data: func(c *Conn, p []byte) {
			if string(p) != "hello" {
				t.Errorf("echo %q", p)
			}
			echoed <- struct{}{}
		},
		closed: func(c *Conn, err error) { ended <- err },
	}
	runtime.GC()
	files, ssl, goroutines := openFiles(t), live.Conns(), runtime.NumGoroutine()
	for round := range 5 {
		all := make([]*Conn, 0, conns)
		for range conns {
			dial(t, l, x, addr, h)
		}
		for range conns {
			all = append(all, tlstest.Receive(t, opened, "a handshake"))
		}
		if n := live.Conns() - ssl; n != 2*conns {
			t.Errorf("round %d: %d SSL objects for %d connections", round, n, conns)
		}
		for _, c := range all {
			c.Write([]byte("hello"))
		}
		for range all {
			tlstest.Receive(t, echoed, "an echo")
		}
		for i, c := range all {
			if i%10 == 0 {
				c.Abort(nil)
			} else {
				c.Close()
			}
		}
		for range all {
			tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
		}
		tlstest.Until(t, "all to be gone", func() bool { return s.Stats().Conns+l.Stats().Conns == 0 })
		if f, n := openFiles(t), live.Conns(); f != files || n != ssl {
			t.Fatalf("round %d: %d descriptors and %d SSL objects, at the start %d and %d", round, f, n, files, ssl)
		}
	}
	tlstest.Until(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	for _, loop := range append([]*Loop{l}, s.loops...) {
		loop.Do(func() {
			if n := len(loop.slots); n > conns+10 || len(loop.ready)+len(loop.dead)+loop.wheel.count != 0 {
				t.Errorf("the loop keeps %d slots, %d ready, %d dead, %d timers", n, len(loop.ready), len(loop.dead), loop.wheel.count)
			}
		})
	}
	assertQuiet(t, s.Stats)
}
