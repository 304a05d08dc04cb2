package reactor

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// serverConn starts s with h, and returns both sides of one client's connection.
func serverConn(t *testing.T, s *Server, h *hooks) (server *Conn, client *tls.Conn) {
	t.Helper()
	h, opened := opens(h)
	s.Handler = h
	client = goDial(t, start(t, s))
	return tlstest.Receive(t, opened, "OnOpen"), client
}

// TestWriteFromGoroutines: what each goroutine writes arrives whole and in its order, and
// the loop, which has nothing else to do, is woken for it.
func TestWriteFromGoroutines(t *testing.T) {
	const writers, each = 8, 500
	s := &Server{}
	c, client := serverConn(t, s, &hooks{})
	assertQuiet(t, s.Stats)
	for w := range writers {
		go func() {
			for i := range each {
				if n, err := c.Write([]byte{byte(w), byte(i >> 8), byte(i)}); n != 3 || err != nil {
					t.Errorf("Write answered %d, %v", n, err)
				}
			}
		}()
	}
	var next [writers]int
	buf := make([]byte, 3)
	for range writers * each {
		tlstest.Value(io.ReadFull(client, buf))(t)
		w, i := buf[0], int(buf[1])<<8|int(buf[2])
		if w >= writers || i != next[w] {
			t.Fatalf("message %d of writer %d, want %d", i, w, next)
		}
		next[w]++
	}
	assertQuiet(t, s.Stats)
}

// TestWriteInHandler: Write works inside each method, and what one call writes leaves in one
// record; in OnClose it answers net.ErrClosed.
func TestWriteInHandler(t *testing.T) {
	const high = 32 << 10
	last := make(chan error, 1)
	s := &Server{Session: session.Config{HighWater: high, HalfClose: true}, Handler: &hooks{
		open:   func(c *Conn) { c.Write([]byte("[op")); c.Write([]byte("en]")) },
		data:   func(c *Conn, p []byte) { c.Write(p); c.Write(make([]byte, 4*high)) },
		drain:  func(c *Conn) { c.Write([]byte("[drain]")) },
		closed: func(c *Conn, _ error) { _, err := c.Write([]byte("x")); last <- err },
		eof:    func(c *Conn) { c.Write([]byte("[eof]")); c.CloseWrite() },
	}}
	client := goDial(t, start(t, s))
	buf := make([]byte, 100)
	n := tlstest.Value(client.Read(buf))(t) // Go's Read gives one record at the most
	tlstest.Equal(t, "the first record", string(buf[:n]), "[open]")
	io.WriteString(client, "[data]")
	got := make([]byte, 4*high+13)
	tlstest.Value(io.ReadFull(client, got))(t)
	if string(got) != "[data]"+strings.Repeat("\x00", 4*high)+"[drain]" {
		t.Fatalf("after OnData and OnDrain: %q … %q", got[:8], got[len(got)-8:])
	}
	client.CloseWrite()
	tlstest.Equal(t, "after OnEOF", string(tlstest.Value(io.ReadAll(client))(t)), "[eof]")
	client.Close()
	tlstest.Equal(t, "Write in OnClose", tlstest.Receive(t, last, "OnClose"), net.ErrClosed)
}

// wantClosed wants Write to answer net.ErrClosed.
func wantClosed(t *testing.T, c *Conn) {
	t.Helper()
	if n, err := c.Write([]byte("x")); n != 0 || err != net.ErrClosed {
		t.Errorf("Write answered %d, %v", n, err)
	}
}

// TestWriteAfterClose: net.ErrClosed from Close or CloseWrite on, and what was
// written before them arrives.
func TestWriteAfterClose(t *testing.T) {
	for _, half := range []bool{false, true} {
		c, client := serverConn(t, &Server{}, &hooks{})
		c.Write([]byte("before"))
		if half {
			c.CloseWrite()
		} else {
			c.Close()
		}
		wantClosed(t, c)
		tlstest.Equal(t, "the peer read", string(tlstest.Value(io.ReadAll(client))(t)), "before")
		client.Close()
	}
}

// TestQueueFull: Write refuses as a whole what would pass MaxQueue, also when all of it is
// written within one turn, and everything that it took arrives (P18).
func TestQueueFull(t *testing.T) {
	const limit = 100 << 10
	done := make(chan int, 1) // how many bytes it took
	s := &Server{Session: session.Config{MaxQueue: limit, HighWater: limit * 4, TurnBytes: 1 << 20}}
	var out tlstest.Stream
	var got, full int
	c, client := serverConn(t, s, &hooks{data: func(c *Conn, p []byte) {
		// Each of many messages in one turn writes more than it has; one OnData has one of them or, with direct records, several.
		for range 4 * len(p) {
			n := out.N
			if _, err := c.Write(out.Next(10 << 10)); err == session.ErrQueueFull {
				out.N = n
				full++
			} else if err != nil {
				t.Error(err)
			}
		}
		atMost(t, "bytes queued", c.Queued(), limit)
		if got += len(p); got == 40 {
			done <- out.N
			c.Close()
		}
	}})
	c.Pause()
	tlstest.Until(t, "the pause", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.ask == 0 })
	for range 40 {
		tlstest.Value(client.Write([]byte("x")))(t)
	}
	shrink(c.fd, 1) // so that the socket takes little
	c.Resume()
	taken := tlstest.Receive(t, done, "40 messages")
	if full == 0 {
		t.Error("Write never said that the queue is full")
	}
	tlstest.Must(t, checkAll(client, taken))
}

// TestQueueFullFromDrain: the limit is measured against what is queued now, so that OnDrain,
// which comes in the midst of a turn, can fill the queue again.
func TestQueueFullFromDrain(t *testing.T) {
	const limit = 64 << 10
	errs := make(chan error, 10)
	s := &Server{Session: session.Config{MaxQueue: limit, HighWater: limit, LowWater: 1}}
	h := &hooks{data: func(c *Conn, p []byte) { c.Write(make([]byte, limit)) }}
	h.drain = func(c *Conn) {
		h.drain = nil
		_, err := c.Write(make([]byte, limit))
		errs <- err
		c.Close()
	}
	_, client := serverConn(t, s, h)
	io.WriteString(client, "go")
	n := tlstest.Value(io.Copy(io.Discard, client))(t)
	tlstest.Equal(t, "bytes at the peer", n, 2*limit)
	tlstest.Must(t, tlstest.Receive(t, errs, "OnDrain"))
}

// TestPauseResume: no OnData between Pause and Resume, although data waits both in
// OpenSSL and in the socket (P03); the loop rests meanwhile (P02); writing goes on.
func TestPauseResume(t *testing.T) {
	got := make(chan []byte, 100)
	var paused bool // the handler's own; the loop's goroutine alone
	s := &Server{}
	c, client := serverConn(t, s, &hooks{data: func(c *Conn, p []byte) {
		if paused {
			t.Error("OnData while paused")
		}
		got <- bytes.Clone(p)
		c.Pause()
		paused = true
	}})
	var sent, read tlstest.Stream
	for range 8 {
		client.Write(sent.Next(tlsio.MaxPlaintext))
	}
	times := 0
	for ; read.N < sent.N; times++ {
		read.Check(tlstest.Receive(t, got, "more data"))
		assertQuiet(t, s.Stats)
		c.Write([]byte("written while paused"))
		buf := make([]byte, 20)
		tlstest.Value(io.ReadFull(client, buf))(t)
		tlstest.Equal(t, "the peer read", string(buf), "written while paused")
		inLoop(t, c.loop, func() { paused = false })
		c.Resume()
	}
	if read.Bad != nil || times < 2 { // a read has one record, or four direct ones
		t.Errorf("%d bytes in %d reads, %v", read.N, times, read.Bad)
	}
	c.Pause()
	c.Resume() // the later one counts
	c.Resume()
	io.WriteString(client, "five")
	tlstest.Receive(t, got, "five")
}

// TestHalfClose: either side ends its direction first, and the other direction goes on
// until it is ended too; then OnClose comes with nil.
func TestHalfClose(t *testing.T) {
	const size = 1 << 20
	t.Run("the peer first", func(t *testing.T) {
		eof := make(chan *Conn, 1)
		h, ended := ends(&hooks{eof: func(c *Conn) { eof <- c }})
		// A handler that wraps another one loses nothing of it.
		s := &Server{Handler: struct{ Handler }{h}, Session: session.Config{HalfClose: true}}
		client := goDial(t, start(t, s))
		client.CloseWrite()
		c := tlstest.Receive(t, eof, "OnEOF")
		assertQuiet(t, s.Stats)
		c.Write(new(tlstest.Stream).Next(size))
		c.CloseWrite()
		tlstest.Must(t, checkAll(client, size))
		client.Close()
		tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
	})
	t.Run("not wanted", func(t *testing.T) {
		ended := make(chan error, 1)
		h := &hooks{eof: func(*Conn) { t.Error("OnEOF") }}
		h.closed = func(c *Conn, err error) { c.Abort(nil); ended <- err } // on one that has ended, which does nothing
		s := &Server{}
		c, client := serverConn(t, s, h)
		client.CloseWrite()
		tlstest.Must(t, checkAll(client, 0))
		client.Close()
		tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
		tlstest.Until(t, "the end", func() bool { return s.Conns() == 0 })
		tlstest.Equal(t, "reset", c.reset, false)
	})
	t.Run("we first", func(t *testing.T) {
		var in tlstest.Stream
		h, ended := ends(&hooks{data: func(_ *Conn, p []byte) { in.Check(p) }})
		c, client := serverConn(t, &Server{}, h)
		c.CloseWrite()
		tlstest.Must(t, checkAll(client, 0))
		tlstest.Value(client.Write(new(tlstest.Stream).Next(size)))(t)
		client.Close()
		tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
		wantAll(t, &in, size)
	})
}

// TestAbort: the peer sees a reset, OnClose gets the cause, and what is queued is gone.
func TestAbort(t *testing.T) {
	cause := errors.New("enough")
	h, ended := ends(&hooks{})
	c, client := serverConn(t, &Server{}, h)
	c.Abort(cause)
	c.Abort(errors.New("too late"))
	c.Close()
	tlstest.Equal(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), cause)
	_, err := client.Read(make([]byte, 1))
	tlstest.IsError(t, "the peer read", err, syscall.ECONNRESET)
	c.Abort(nil) // on one that has ended, nothing happens
	c.Close()
	c.Pause()
	c.Resume()
	c.KeyUpdate(true)
	c.Renegotiate()
	wantClosed(t, c)
	tlstest.Equal(t, "bytes queued on a connection that has ended", c.Queued(), 0)
}

// TestOnCloseOnceAndLast: however a connection ends, and with writes, pauses and closes
// from other goroutines in its way, OnClose comes once and nothing after it.
func TestOnCloseOnceAndLast(t *testing.T) {
	ends, conns := make(chan error, 100), make(chan *Conn, 100)
	check := func(c *Conn, method string) {
		if c.Data != "open" {
			t.Errorf("%s of a connection that is %v", method, c.Data)
		}
	}
	h := &hooks{
		open: func(c *Conn) {
			if c.Data != nil {
				t.Error("OnOpen came twice")
			}
			c.Data = "open"
			conns <- c
		},
		data:   func(c *Conn, p []byte) { check(c, "OnData"); c.Write(p) },
		drain:  func(c *Conn) { check(c, "OnDrain") },
		eof:    func(c *Conn) { check(c, "OnEOF"); c.Close() },
		closed: func(c *Conn, err error) { check(c, "OnClose"); c.Data = "closed"; ends <- err },
	}
	s := &Server{Handler: h, Loops: 2, Session: session.Config{HalfClose: true}}
	addr := start(t, s)
	for i := range 40 {
		client := goDial(t, addr)
		c := tlstest.Receive(t, conns, "OnOpen")
		var wg sync.WaitGroup
		for _, f := range []func(){
			func() { c.Write([]byte("hello")) },
			func() { c.Pause(); c.Resume() },
			func() { io.WriteString(client, "hello") },
			[]func(){
				func() { client.Close() }, func() { c.Close() }, func() { c.Abort(io.ErrNoProgress) }, func() { client.NetConn().Close() },
			}[i%4],
		} {
			wg.Go(f)
		}
		wg.Wait()
		client.Close()
		tlstest.Receive(t, ends, "OnClose")
	}
	tlstest.Until(t, "all to be gone", func() bool { return s.Conns() == 0 })
	assertQuiet(t, s.Stats)
	tlstest.Equal(t, "OnClose beyond the connections", len(ends), 0)
}
