package reactor

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// TestNothingGrowsWithConnections: many connections are open at once, used and closed, several times over. For a
// connection neither threads (P26: each loop is one goroutine, and no call into C blocks) nor SSL_CTX (P30:
// connections share the one of their Context) are made. In the end descriptors, SSL objects and goroutines are
// back where they began, and the loops know of nothing.
func TestNothingGrowsWithConnections(t *testing.T) {
	conns, rounds := 2000/tlstest.Scale, 5
	if testing.Short() {
		conns, rounds = 500/tlstest.Scale, 3
	}
	s := &Server{Handler: echo(), Loops: 2, Limits: Limits{MaxHandshakes: 4096}}
	addr := start(t, s)
	// Certificates are checked elsewhere; here it is about numbers.
	l, x := startLoop(t, LoopConfig{}), clientContext(t, func(c *cssl.Config) { c.Verify = cssl.VerifyNone })
	opened, echoed, ended := make(chan *Conn, conns), make(chan string, conns), make(chan error, conns)
	h := &hooks{
		open:   func(c *Conn) { opened <- c },
		data:   func(c *Conn, p []byte) { echoed <- string(p) },
		closed: func(c *Conn, err error) { ended <- err },
	}
	threads := func() int { return len(tlstest.Value(os.ReadDir("/proc/self/task"))(t)) }
	roundTrip(t, goDial(t, addr), "warm")
	runtime.GC()
	check := assertNoLeak(t)
	threadsBefore, contextsBefore, sslBefore := threads(), live.Contexts(), live.Conns()
	for range rounds {
		all := make([]*Conn, 0, conns)
		for range conns {
			dial(t, l, x, addr, h)
		}
		for range conns {
			all = append(all, tlstest.Receive(t, opened, "a handshake"))
		}
		tlstest.Equal(t, "SSL objects", live.Conns()-sslBefore, int64(2*conns))
		tlstest.Equal(t, "SSL_CTX", live.Contexts(), contextsBefore)
		// The runtime may add a few threads of its own at any time.
		atMost(t, "threads", threads(), threadsBefore+10)
		for _, c := range all {
			c.Write([]byte("hello"))
		}
		for range all {
			tlstest.Equal(t, "an echo", tlstest.Receive(t, echoed, "an echo"), "hello")
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
		check()
	}
	for _, loop := range append([]*Loop{l}, s.loops...) {
		inLoop(t, loop, func() {
			atMost(t, "slots", len(loop.slots), conns+10)
			tlstest.Equal(t, "ready and dead connections and timers", len(loop.ready)+len(loop.dead)+loop.wheel.count, 0)
			atMost(t, "connections that hold buffers", len(loop.buffers.conns), 1) // the warm one, until it rests
		})
		tlstest.Until(t, "no buffers", func() bool { return onLoopOf(t, loop, func() bool { return len(loop.buffers.conns) == 0 }) })
	}
	assertQuiet(t, s.Stats)
}

// TestGrowFiles: the kernel's table of descriptors has its size before anybody is served. While it grows, nobody is.
func TestGrowFiles(t *testing.T) {
	start(t, &Server{Handler: echo()})
	var l unix.Rlimit
	tlstest.Must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
	status := tlstest.Value(os.ReadFile("/proc/self/status"))(t)
	_, size, _ := strings.Cut(string(status), "FDSize:")
	var n uint64
	tlstest.Value(fmt.Sscan(size, &n))(t)
	atMost(t, "descriptors to have room for", min(l.Cur, mostFiles), n)
}

// TestBuffersBook: what the loop knows of who holds buffers, over connections that come, go and rest.
func TestBuffersBook(t *testing.T) {
	s := &Server{Handler: echo()}
	addr := start(t, s)
	var conns []*Conn
	l := startLoop(t, LoopConfig{})
	for range 4 {
		conns = append(conns, dialOpen(t, l, clientContext(t, nil), addr, &hooks{}))
	}
	check := func(b *buffers, want ...int) {
		t.Helper()
		for i, c := range b.conns {
			if !c.buffered || int(c.bufferIndex) != i {
				t.Fatalf("number %d says it is %d (%v)", i, c.bufferIndex, c.buffered)
			}
		}
		for i, c := range conns {
			if in := slices.Contains(want, i); c.buffered != in || slices.Contains(b.conns, c) != in {
				t.Errorf("connection %d: %v, not %v", i, c.buffered, in)
			}
		}
	}
	inLoop(t, l, func() {
		for _, c := range conns {
			l.buffers.remove(c) // the loop's own book is not used here
		}
		var b buffers
		at := time.Duration(0)
		if _, any := b.next(); any {
			t.Error("a look is due at nobody")
		}
		for _, i := range []int{0, 1, 2, 3, 1} {
			b.used(conns[i], at)
		}
		check(&b, 0, 1, 2, 3)
		if due, any := b.next(); !any || due != buffersRest {
			t.Errorf("the look is due at %v, %v", due, any)
		}
		b.remove(conns[1])
		b.remove(conns[1])
		check(&b, 0, 2, 3)
		b.look(buffersRest - 1)
		b.look(buffersRest) // they were used since the last one
		check(&b, 0, 2, 3)
		b.used(conns[2], buffersRest)
		b.look(2 * buffersRest)
		check(&b, 2)
		b.look(3 * buffersRest)
		check(&b)
		// When the book is full, the next one gives its buffers back at once.
		full := make([]*Conn, keepBuffers)
		for i := range full {
			full[i] = new(Conn)
			b.used(full[i], 0)
		}
		b.used(conns[0], 0)
		check(&b)
		for _, c := range full {
			b.remove(c)
		}
	})
}
