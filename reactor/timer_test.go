package reactor

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestWheelModel compares the wheel with a table of deadlines, in virtual time:
// set, moved, taken away, far beyond the wheel's size, and after jumps of the clock.
func TestWheelModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var w wheel
		now := time.Duration(r.Int64N(int64(100 * time.Second)))
		conns := make([]*Conn, 40)
		for i := range conns {
			conns[i] = new(Conn)
		}
		// What the table says: the tick at which a deadline must have been heard of at the latest.
		latest := map[*Conn]int64{}
		fired := 0
		for range 4000 {
			c := conns[r.IntN(len(conns))]
			switch r.IntN(5) {
			case 0, 1:
				due := now + time.Duration(r.Int64N(int64([]time.Duration{tick, time.Second, 30 * time.Second, 200 * time.Second}[r.IntN(4)])))
				w.set(c, due)
				latest[c] = max(tickOf(due), w.at+1)
			case 2:
				w.remove(c)
				delete(latest, c)
			default:
				step := []time.Duration{time.Millisecond, tick, time.Second, 150 * time.Second}[min(r.IntN(12), 3)]
				now += time.Duration(r.Int64N(int64(step)))
				again := r.IntN(4) == 0
				w.advance(now, func(c *Conn) {
					fired++
					if _, ok := latest[c]; !ok {
						t.Fatalf("seed %d: a deadline came that is not set", seed)
					}
					if c.due > now {
						t.Fatalf("seed %d: a deadline came %v early", seed, c.due-now)
					}
					delete(latest, c)
					if again {
						due := now + time.Minute
						w.set(c, due)
						latest[c] = tickOf(due)
					}
				})
				for _, at := range latest {
					if at <= int64(now/tick) {
						t.Fatalf("seed %d: a deadline of tick %d was missed at tick %d", seed, at, int64(now/tick))
					}
				}
			}
			if w.count != len(latest) {
				t.Fatalf("seed %d: the wheel holds %d, want %d", seed, w.count, len(latest))
			}
			next, ok := w.next()
			if ok != (len(latest) > 0) {
				t.Fatalf("seed %d: next says %v with %d deadlines", seed, ok, len(latest))
			}
			for _, at := range latest {
				if next > time.Duration(at)*tick {
					t.Fatalf("seed %d: next is %v, later than the deadline of %v", seed, next, time.Duration(at)*tick)
				}
			}
			if ok && next <= time.Duration(w.at)*tick {
				t.Fatalf("seed %d: next is %v, which has passed: the loop would spin", seed, next)
			}
		}
		if fired == 0 {
			t.Fatalf("seed %d: no deadline ever came", seed)
		}
		// What is left comes, each once, however far away.
		for range 8 {
			now += 60 * time.Second
			w.advance(now, func(c *Conn) { delete(latest, c) })
		}
		if len(latest) != 0 || w.count != 0 || w.occupied != [wheelSlots / 64]uint64{} {
			t.Fatalf("seed %d: %d deadlines lost, %d left in the wheel", seed, len(latest), w.count)
		}
	}
}

// TestTimeoutErrors: each is found like any other timeout, but a retry is of no
// use, because the connection has ended.
func TestTimeoutErrors(t *testing.T) {
	for _, err := range []error{ErrHandshakeTimeout, ErrHandshakeEvicted, ErrIdleTimeout, ErrWriteTimeout, ErrCloseTimeout} {
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		if err.(interface{ Temporary() bool }).Temporary() {
			t.Errorf("%v is temporary", err)
		}
	}
}

// TestHandshakeTimeout (P17): a peer that never says a word is cut off, with its reason counted.
func TestHandshakeTimeout(t *testing.T) {
	ended := make(chan error, 1)
	s := &Server{Limits: Limits{HandshakeTimeout: 100 * time.Millisecond}, Handler: &hooks{
		open:   func(*Conn) { t.Error("OnOpen came") },
		closed: func(_ *Conn, err error) { ended <- err },
	}}
	addr := start(t, s)
	c := rawDial(t, addr)
	err := tlstest.Receive(t, ended, "the handshake's deadline")
	if !errors.Is(err, ErrHandshakeTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("OnClose got %v", err)
	}
	if n, err := c.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("the peer read %d, %v, want the end", n, err)
	}
	tlstest.Until(t, "the count", func() bool {
		st := s.Stats()
		return st.HandshakeFailures["timeout"] == 1 && st.Conns == 0 && st.Handshaking == 0
	})
	assertQuiet(t, s.Stats)
}

// TestIdleTimeout: a connection without traffic is closed politely: the peer sees close_notify.
func TestIdleTimeout(t *testing.T) {
	ended := make(chan error, 1)
	s := &Server{Limits: Limits{IdleTimeout: 100 * time.Millisecond}, Handler: &hooks{
		data:   func(c *Conn, p []byte) { c.Write(p) },
		closed: func(_ *Conn, err error) { ended <- err },
	}}
	c := goDial(t, start(t, s))
	if n, err := c.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("the peer read %d, %v, want close_notify", n, err)
	}
	c.Close()
	err := tlstest.Receive(t, ended, "the idle deadline")
	if !errors.Is(err, ErrIdleTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("OnClose got %v", err)
	}
}

// TestIdleTimeoutMoves runs a loop by hand in virtual time: traffic in either direction
// moves the deadline, also when the socket takes each write at once so that epoll has nothing to tell.
func TestIdleTimeoutMoves(t *testing.T) {
	for _, direction := range []string{"in", "out"} {
		t.Run(direction, func(t *testing.T) {
			const idle = 10 * time.Minute
			var clock time.Duration
			var ends []error
			var server, client *Conn
			l := tlstest.Value(NewLoop(LoopConfig{Limits: Limits{IdleTimeout: idle}}))(t)
			defer l.end()
			a, b := socketPair(t)
			h := &hooks{
				open: func(c *Conn) {
					if c.Data == "server" {
						server = c
					} else {
						client = c
					}
				},
				closed: func(c *Conn, err error) {
					if c.Data == "server" {
						ends = append(ends, err)
					}
				},
			}
			turn := func() { n := tlstest.Value(l.poller.Wait(0))(t); l.handle(n, clock) }
			// The client is on a loop of its own, in real time.
			other := startLoop(t, LoopConfig{})
			fd := tlstest.Value(unixDup(a))(t)
			tlstest.Must(t, l.Attach(fd, serverContext(t, "ecdsa", nil), csslNone, h, "server"))
			opened := make(chan struct{})
			tlstest.Must(t, other.Attach(b, clientContext(t, nil), csslLocalhost, &hooks{open: func(c *Conn) { client = c; close(opened) }}, "client"))
			tlstest.Until(t, "the handshake", func() bool { turn(); return server != nil })
			<-opened
			read := l.Stats().Sessions.BytesRead
			for range 5 {
				clock += idle - time.Minute
				if direction == "in" {
					client.Write([]byte("x"))
					read++
					tlstest.Until(t, "the byte", func() bool { turn(); return l.Stats().Sessions.BytesRead == read })
				} else {
					server.Write([]byte("x"))
					turn()
				}
				turn()
				if len(ends) != 0 || server.session.Phase() != 1 {
					t.Fatalf("ended as idle (%v, %v), though there was traffic", ends, server.session.Phase())
				}
			}
			clock += idle + 2*tick
			turn()
			if p := server.session.Phase(); p < 2 {
				t.Fatalf("the phase is %v after the idle time, want closing", p)
			}
		})
	}
}

// TestCloseTimeout (P11): a peer that never ends its side does not keep a close going for ever.
func TestCloseTimeout(t *testing.T) {
	ended := make(chan error, 1)
	s := &Server{Limits: Limits{CloseTimeout: 100 * time.Millisecond}, Handler: &hooks{
		data:   func(c *Conn, p []byte) { c.Write(p); c.Close() },
		closed: func(_ *Conn, err error) { ended <- err },
	}}
	c := goDial(t, start(t, s))
	roundTrip(t, c, "last words")
	err := tlstest.Receive(t, ended, "the close deadline")
	if !errors.Is(err, ErrCloseTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("OnClose got %v", err)
	}
	if n, err := c.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("the peer read %d, %v, want close_notify", n, err)
	}
}
