package reactor

import (
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
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
					if _, set := latest[c]; !set || c.due > now {
						t.Fatalf("seed %d: a deadline came that is not set (%v), or %v early", seed, set, c.due-now)
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
			next, ok := w.next()
			if w.count != len(latest) || ok != (len(latest) > 0) {
				t.Fatalf("seed %d: the wheel holds %d, and next says %v, with %d deadlines", seed, w.count, ok, len(latest))
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

// TestTimeouts: what each timeout ends, with its reason, and what the peer sees of it. A peer is cut off that
// never says a word (P17) or sends no header; one without traffic is told politely; one that never ends its side
// does not keep a close going for ever (P11).
func TestTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		server  *Server
		shakes  bool   // the peer makes a handshake
		says    string // which comes back
		ends    bool   // the peer ends its side when it has seen the server's end
		want    error
		failure string // as it is counted
	}{
		{"handshake", &Server{Limits: Limits{HandshakeTimeout: tlstest.Hang}}, false, "", false, ErrHandshakeTimeout, "timeout"},
		{"header", &Server{Limits: Limits{HandshakeTimeout: tlstest.Hang}, Header: lineHeader}, false, "", false, ErrHandshakeTimeout, "timeout"},
		{"idle", &Server{Limits: Limits{IdleTimeout: tlstest.Hang, CloseTimeout: 100 * tlstest.Hang}}, true, "", true, ErrIdleTimeout, ""},
		{"close", &Server{Limits: Limits{CloseTimeout: tlstest.Hang}}, true, "last words", false, ErrCloseTimeout, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, ended := ends(echo())
			if h.data = func(c *Conn, p []byte) { c.Write(p); c.Close() }; !tc.shakes {
				h.open = func(*Conn) { t.Error("OnOpen came") }
			}
			s := tc.server
			s.Handler = h
			c := rawDial(t, start(t, s))
			if tc.shakes {
				c = goOver(t, c)
				tlstest.Until(t, "the handshake", func() bool { return s.Stats().Handshakes == 1 })
			} else {
				tlstest.Until(t, "the connection", func() bool { return s.Stats().Handshaking == 1 })
			}
			if tc.says != "" {
				roundTrip(t, c, tc.says)
				tlstest.Until(t, "the close", func() bool { return s.Stats().Sessions.Results[tlsio.OpShutdown][tlsio.WantNone] == 1 })
			}
			pass(t, s.loops[0], 2*tlstest.Hang)
			tlstest.Must(t, checkAll(c, 0))
			if tc.ends {
				c.Close()
			}
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "the deadline"), tc.want)
			tlstest.Until(t, "the count", func() bool { st := s.Stats(); return st.Conns == 0 && st.Handshaking == 0 })
			if n := s.Stats().HandshakeFailures[tc.failure]; tc.failure != "" && n != 1 {
				t.Errorf("it is counted %d times as %q", n, tc.failure)
			}
			assertQuiet(t, s.Stats)
		})
	}
}

// byHand is a loop that its test runs by hand, in virtual time, with one connection of a server.
type byHand struct {
	*Loop
	t     *testing.T
	clock time.Duration
	conn  *Conn
	ends  []error
}

// handDriven makes such a loop. peer is the other end of the connection, which is the caller's.
func handDriven(t *testing.T, limits Limits, sx *cssl.Context) (l *byHand, peer int) {
	t.Helper()
	l = &byHand{Loop: tlstest.Value(NewLoop(LoopConfig{Limits: limits}))(t), t: t}
	t.Cleanup(l.end)
	a, peer := socketPair(t)
	tlstest.Must(t, l.Attach(a, sx, csslNone, &hooks{closed: func(_ *Conn, err error) { l.ends = append(l.ends, err) }}, nil))
	l.turn()
	l.conn = l.slots[0].conn
	return l, peer
}

func (l *byHand) turn() { n := tlstest.Value(l.poller.Wait(0))(l.t); l.handle(n, l.clock) }

// shake makes the handshake with a client of loop, which has the socket peer.
func (l *byHand) shake(loop *Loop, cx *cssl.Context, peer int) (client *Conn) {
	l.t.Helper()
	h, opened := opens(&hooks{})
	tlstest.Must(l.t, loop.Attach(peer, cx, csslLocalhost, h, nil))
	tlstest.Until(l.t, "the handshake", func() bool { l.turn(); return l.conn.session.Phase() == session.Open })
	return tlstest.Receive(l.t, opened, "the client's handshake")
}

// TestIdleTimeoutMoves: traffic in either direction moves the deadline, also when the socket takes each write at
// once so that epoll has nothing to tell.
func TestIdleTimeoutMoves(t *testing.T) {
	for _, direction := range []string{"in", "out"} {
		t.Run(direction, func(t *testing.T) {
			const idle = 10 * time.Minute
			l, peer := handDriven(t, Limits{IdleTimeout: idle}, serverContext(t, "ecdsa", nil))
			client := l.shake(startLoop(t, LoopConfig{}), clientContext(t, nil), peer) // in real time
			read := l.Stats().Sessions.BytesRead
			for range 5 {
				l.clock += idle - time.Minute
				if direction == "in" {
					client.Write([]byte("x"))
					read++
					tlstest.Until(t, "the byte", func() bool { l.turn(); return l.Stats().Sessions.BytesRead == read })
				} else {
					l.conn.Write([]byte("x"))
					l.turn()
				}
				l.turn()
				tlstest.Equal(t, "the phase, since there was traffic,", l.conn.session.Phase(), session.Open)
			}
			l.clock += idle + 2*tick
			l.turn()
			if p := l.conn.session.Phase(); p < session.Closing {
				t.Fatalf("the phase is %v after the idle time, want closing", p)
			}
		})
	}
}

// TestNoTimeouts (P37): the greatest duration as a timeout is never, at each stage of a connection's life, however much
// time passes.
func TestNoTimeouts(t *testing.T) {
	sx, cx := serverContext(t, "ecdsa", nil), clientContext(t, nil)
	for _, stage := range []struct {
		name  string
		phase session.Phase
		begin func(c *Conn) // after the handshake; nil is in the midst of it
	}{
		{"handshake", session.Handshaking, nil},
		{"idle", session.Open, func(*Conn) {}},
		{"write", session.Open, func(c *Conn) { c.Write(make([]byte, 8<<20)) }},
		{"close", session.Closing, func(c *Conn) { c.Close() }},
	} {
		t.Run(stage.name, func(t *testing.T) {
			l, peer := handDriven(t, Limits{HandshakeTimeout: never, IdleTimeout: never, WriteTimeout: never, CloseTimeout: never}, sx)
			if stage.begin != nil {
				// The peer reads nothing and does not close.
				l.shake(startLoop(t, LoopConfig{Session: session.Config{HalfClose: true}}), cx, peer).Pause()
				stage.begin(l.conn)
			} else {
				defer unix.Close(peer)
			}
			for range 3 {
				for range 5 { // as one that spins would
					l.turn()
				}
				tlstest.Equal(t, "the phase", l.conn.session.Phase(), stage.phase)
				tlstest.Equal(t, "times that OnClose came", len(l.ends), 0)
				if ms := l.timeout(); ms < -1 || ms > math.MaxInt32 {
					t.Fatalf("after %v: epoll is to wait for %d ms, which is no C int", l.clock, ms)
				}
				l.clock += 90 * 365 * 24 * time.Hour
			}
		})
	}
}

// TestNeverDue (P37): a deadline that is never due is never heard of, and the loop waits for it and does not spin.
func TestNeverDue(t *testing.T) {
	for _, now := range []time.Duration{0, time.Hour, never - time.Hour} {
		w := wheel{at: int64(now / tick)}
		c := new(Conn)
		w.set(c, never)
		for range 3 {
			next, ok := w.next()
			if !ok || next <= now {
				t.Fatalf("at %v the loop is to look at the wheel at %v, %v", now, next, ok)
			}
			if next-now < (wheelSlots-2)*tick && next < never-wheelSlots*tick {
				t.Fatalf("at %v the loop is to look at the wheel %v later, before a round is over", now, next-now)
			}
			now = next
			w.advance(now, func(*Conn) { t.Fatalf("at %v a deadline came that is never due", now) })
		}
	}
}

// TestNeverResumed (P37): a listener that waits for a handshake without a deadline makes epoll wait, and not turn.
func TestNeverResumed(t *testing.T) {
	l := tlstest.Value(NewLoop(LoopConfig{Limits: Limits{HandshakeTimeout: never}}))(t)
	defer l.end()
	l.now = time.Second
	if c, due := l.slowest(); c != nil || due != never {
		t.Errorf("there is no handshake that could make room: %v, to be looked for at %v, want %v", c, due, never)
	}
	oldest := &Conn{}
	l.pending.add(oldest, l.now)
	if c, due := l.slowest(); c != nil || due <= l.now {
		t.Errorf("a handshake that may take its time: %v, to be looked for at %v", c, due)
	}
	for _, at := range []time.Duration{1 << 62, never} {
		l.resume = []*listener{{fd: -1, resumeAt: at}}
		if ms := l.timeout(); ms <= 0 || ms > math.MaxInt32 {
			t.Errorf("for a listener that rests until %v, epoll is to wait for %d ms", at, ms)
		}
	}
}
