package reactor

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
)

// TestNoTimeouts (P37): the greatest duration as a timeout is never, at each stage of a connection's life, however much
// time passes. The loop is run by hand, in virtual time.
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
			l, err := NewLoop(LoopConfig{Limits: Limits{HandshakeTimeout: never, IdleTimeout: never, WriteTimeout: never, CloseTimeout: never},
				Logger: slog.New(slog.DiscardHandler)})
			tlstest.Must(t, err)
			defer l.end()
			var conn *Conn
			var ends []error
			clock := time.Since(l.start)
			turn := func() { n := tlstest.Value(l.poller.Wait(0))(t); l.handle(n, clock) }
			h := &hooks{open: func(c *Conn) { conn = c }, closed: func(_ *Conn, err error) { ends = append(ends, err) }}
			a, b := socketPair(t)
			tlstest.Must(t, l.Attach(a, sx, csslNone, h, nil))
			turn()
			conn = l.slots[0].conn
			if stage.begin != nil {
				// The peer reads nothing and does not close.
				peer, opened := startLoop(t, LoopConfig{Session: session.Config{HalfClose: true}}), make(chan struct{})
				tlstest.Must(t, peer.Attach(b, cx, csslLocalhost, &hooks{open: func(c *Conn) { c.Pause(); close(opened) }}, nil))
				tlstest.Until(t, "the handshake", func() bool { turn(); return conn.session.Phase() == session.Open })
				tlstest.Receive(t, opened, "the peer's handshake")
				stage.begin(conn)
			}
			for range 3 {
				for range 5 { // as one that spins would
					turn()
				}
				if p := conn.session.Phase(); p != stage.phase || len(ends) != 0 {
					t.Fatalf("after %v: %v, OnClose got %v, want %v", clock, p, ends, stage.phase)
				}
				if ms := l.timeout(); ms < -1 || ms > math.MaxInt32 {
					t.Fatalf("after %v: epoll is to wait for %d ms, which is no C int", clock, ms)
				}
				clock += 90 * 365 * 24 * time.Hour
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
