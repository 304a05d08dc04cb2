package reactor

import (
	"slices"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestBuffersBook: what the loop knows of who holds buffers, over connections that come, go and rest.
func TestBuffersBook(t *testing.T) {
	s := &Server{Handler: echo(), Loops: 1}
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
	done := make(chan struct{})
	l.Do(func() {
		defer close(done)
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
	tlstest.Receive(t, done, "the loop")
}

// TestBuffersRest: a loop whose connections rest comes to rest itself, and they hold no buffers.
func TestBuffersRest(t *testing.T) {
	s := &Server{Handler: echo(), Loops: 1}
	addr := start(t, s)
	c := goDial(t, addr)
	roundTrip(t, c, "hello")
	var l *Loop
	s.mu.Lock()
	l = s.loops[0]
	s.mu.Unlock()
	held := func() (n int) {
		got := make(chan int, 1)
		l.Do(func() { got <- len(l.buffers.conns) })
		return tlstest.Receive(t, got, "the loop")
	}
	if n := held(); n != 1 {
		t.Errorf("%d connections hold buffers while one is busy", n)
	}
	tlstest.Until(t, "the buffers to be given back", func() bool { return held() == 0 })
	assertQuiet(t, s.Stats)
	roundTrip(t, c, "again")
	if n := held(); n != 1 {
		t.Errorf("%d connections hold buffers while one is busy", n)
	}
	c.Close()
	tlstest.Until(t, "the close", func() bool { return s.Conns() == 0 })
	if n := held(); n != 0 {
		t.Errorf("%d connections hold buffers, and there is none", n)
	}
}
