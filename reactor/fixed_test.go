package reactor

import (
	"os"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestNothingGrowsWithConnections: neither threads (P26: each loop is one goroutine, and no
// call into C blocks) nor SSL_CTX (P30: connections share the one of their Context) are made for a connection.
func TestNothingGrowsWithConnections(t *testing.T) {
	s := &Server{Handler: &hooks{data: func(c *Conn, p []byte) { c.Write(p) }}, Loops: 2}
	addr := start(t, s)
	threads := func() int { list := tlstest.Value(os.ReadDir("/proc/self/task"))(t); return len(list) }
	roundTrip(t, goDial(t, addr), "warm")
	threadsBefore, contextsBefore := threads(), live.Contexts()
	for range 100 {
		roundTrip(t, goDial(t, addr), "hello")
	}
	if n := s.Conns(); n != 101 {
		t.Fatalf("%d connections", n)
	}
	// The runtime may add a few threads of its own at any time.
	if n := threads(); n > threadsBefore+10 {
		t.Errorf("%d threads before, %d with 100 connections more", threadsBefore, n)
	}
	if n := live.Contexts(); n != contextsBefore {
		t.Errorf("%d SSL_CTX before, %d with 100 connections more", contextsBefore, n)
	}
}
