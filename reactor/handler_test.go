package reactor

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor/internal/poller"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestHandlerPanics: a panic in any method ends its own connection, with a logged stack that names
// the place; another connection of the same loop goes on.
func TestHandlerPanics(t *testing.T) {
	for _, method := range []string{"OnOpen", "OnData", "OnDrain", "OnEOF", "OnClose"} {
		t.Run(method, func(t *testing.T) {
			var log tlstest.Buffer
			ends := make(chan error, 2)
			mayPanic := func(c *Conn, m string) {
				if c.Data == "victim" && m == method {
					thePanic(m)
				}
			}
			kind := any("other") // of the connection that comes next
			h := &hooks{}
			h.open = func(c *Conn) {
				c.Data, kind = kind, "victim"
				mayPanic(c, "OnOpen")
			}
			h.data = func(c *Conn, p []byte) {
				mayPanic(c, "OnData")
				if c.Write(p); c.Data == "victim" {
					c.Write(make([]byte, 100<<10))
				}
			}
			h.drain = func(c *Conn) { mayPanic(c, "OnDrain") }
			h.eof = func(c *Conn) { mayPanic(c, "OnEOF"); c.Close() }
			h.closed = func(c *Conn, err error) { ends <- err; mayPanic(c, "OnClose") }
			s := &Server{Handler: h, Logger: textLogger(&log), Session: session.Config{HighWater: 20 << 10, HalfClose: true}}
			addr := start(t, s)
			other := goDial(t, addr)
			roundTrip(t, other, "before")
			victim := goDial(t, addr)
			io.WriteString(victim, "x")
			victim.CloseWrite()
			io.Copy(io.Discard, victim)
			victim.Close()
			want := ErrPanic
			if method == "OnClose" {
				want = nil
			}
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, ends, "OnClose"), want)
			tlstest.Until(t, "the victim to be gone", func() bool { return s.Conns() == 1 })
			roundTrip(t, other, "after")
			tlstest.Until(t, "a line of the log that has a stack with the place", func() bool {
				out := log.String()
				return strings.Contains(out, "handler panicked") && strings.Contains(out, "thePanic") && strings.Contains(out, "boom in "+method)
			})
			tlstest.Equal(t, "panics counted", s.Stats().Panics, 1)
		})
	}
}

// thePanic is a name to be found in a stack.
//
//go:noinline
func thePanic(method string) { panic("boom in " + method) }

// TestCloseOthersInBatch (P05): events of many connections come in one batch, and the
// handler of each aborts or closes all others. Nothing comes after OnClose, and each ends once.
func TestCloseOthersInBatch(t *testing.T) {
	for _, end := range []func(*Conn){func(c *Conn) { c.Close() }, func(c *Conn) { c.Abort(nil) }} {
		const n = 20
		var conns []*Conn // the loop's goroutine alone
		opened, ends := make(chan struct{}, n), make(chan struct{}, n)
		dead := map[*Conn]bool{}
		s := &Server{Handler: &hooks{
			open: func(c *Conn) { conns = append(conns, c); opened <- struct{}{} },
			data: func(c *Conn, p []byte) {
				if dead[c] {
					t.Error("OnData after OnClose")
				}
				for _, o := range conns {
					if o != c {
						end(o)
					}
				}
			},
			closed: func(c *Conn, err error) {
				if dead[c] {
					t.Error("OnClose came twice")
				}
				dead[c] = true
				ends <- struct{}{}
			},
		}}
		addr := start(t, s)
		l, x := startLoop(t, LoopConfig{}), clientContext(t, nil)
		var clients []*Conn
		for range n {
			clients = append(clients, dialOpen(t, l, x, addr, &hooks{}))
			tlstest.Receive(t, opened, "OnOpen")
		}
		// The loop is held until all have sent, so that one epoll_wait brings them all.
		release := hold(s.loops[0])
		before := s.Stats()
		for _, c := range clients {
			c.Write([]byte("x"))
		}
		tlstest.Until(t, "the clients to send", func() bool { return l.Stats().Sessions.BytesWritten == n })
		release()
		for range n - 1 {
			tlstest.Receive(t, ends, "OnClose")
		}
		after := s.Stats()
		atMost(t, "turns", after.Turns-before.Turns, after.TurnEvents.Sum-before.TurnEvents.Sum)
		goDial(t, addr) // it still takes connections
	}
}

// TestStaleEvent (P21): an event for a connection that has ended does not reach the one
// that stands in the same slot now, with the same descriptor number.
func TestStaleEvent(t *testing.T) {
	ops := 0 // the loop's goroutine alone
	h, opened := opens(&hooks{})
	h, ended := ends(h)
	s := &Server{Handler: h, Trace: func(*Conn, tlsio.Op, tlsio.Result, session.Event) { ops++ }}
	addr := start(t, s)
	goDial(t, addr)
	first := tlstest.Receive(t, opened, "the first connection")
	first.Abort(nil)
	tlstest.Receive(t, ended, "its end")
	tlstest.Until(t, "its slot to be free", func() bool { return s.Conns() == 0 })
	goDial(t, addr)
	second := tlstest.Receive(t, opened, "the second connection")
	if uint32(first.key) != uint32(second.key) || first.key == second.key {
		t.Fatalf("keys %x and %x: the test needs the same slot with another generation", first.key, second.key)
	}
	assertQuiet(t, s.Stats)
	for _, c := range []*Conn{first, second} {
		caused := onLoopOf(t, s.loops[0], func() bool {
			before := ops
			s.loops[0].dispatch(poller.Polled{Key: c.key, Event: session.Readable | session.Writable})
			return ops > before
		})
		tlstest.Equal(t, "the event caused operations", caused, c == second)
	}
}

// stuckLog is a slog.Handler that blocks until it is freed, as one does whose
// pipe nobody reads.
type stuckLog struct {
	slog.Handler
	entered chan struct{} // gets something once a line has come
	freed   chan struct{}
}

func (h *stuckLog) Handle(ctx context.Context, r slog.Record) error {
	select {
	case h.entered <- struct{}{}:
	default:
	}
	<-h.freed
	return h.Handler.Handle(ctx, r)
}

// TestStuckLog (P55): whatever a loop has to say, a log that blocks holds up no
// connection, nor the end of the server. Lines that are too many are counted,
// and the log tells that they are missing. A panic of Admit refuses that connection and no other.
func TestStuckLog(t *testing.T) {
	for _, c := range []struct {
		name, line string
		cause      func(t *testing.T, s *Server, addr net.Addr) net.Conn // a connection that makes the loop log something
		many       bool                                                  // as often as it is called
	}{
		{"handler panics", "handler panicked", func(t *testing.T, _ *Server, addr net.Addr) net.Conn {
			conn := goDial(t, addr)
			io.WriteString(conn, "panic")
			return conn
		}, true},
		{"Admit panics", "Admit panicked", func(t *testing.T, _ *Server, addr net.Addr) net.Conn { return rawDial(t, addr) }, true},
		{"accept fails", "creating a TLS connection failed", func(t *testing.T, s *Server, addr net.Addr) net.Conn {
			bad := serverContext(t, "rsa", nil)
			bad.Close()
			s.SetContext(bad)
			return rawDial(t, addr)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log tlstest.Buffer
			h := &stuckLog{slog.NewTextHandler(&log, nil), make(chan struct{}, 1), make(chan struct{})}
			refuse := false
			s := &Server{Logger: slog.New(h), Handler: &hooks{data: func(c *Conn, p []byte) {
				if string(p) == "panic" {
					panic("here")
				}
				c.Write(p)
			}}, Admit: func(netip.AddrPort) error {
				if refuse {
					panic("here")
				}
				return nil
			}}
			addr := start(t, s)
			free := sync.OnceFunc(func() { close(h.freed) })
			t.Cleanup(free) // before the server's own
			other := goDial(t, addr)
			roundTrip(t, other, "before")
			l := s.loops[0]
			inLoop(t, l, func() { refuse = c.name == "Admit panics" })
			wantEnd(t, c.cause(t, s, addr))
			tlstest.Receive(t, h.entered, "a line")
			roundTrip(t, other, "after the first")
			tlstest.Equal(t, "lines dropped after the first", s.Stats().LogDropped, 0)
			if c.many {
				inLoop(t, l, func() {
					for range maxLines - 1 {
						l.log.Error("filled")
					}
				})
				wantEnd(t, c.cause(t, s, addr))
				wantEnd(t, c.cause(t, s, addr))
				roundTrip(t, other, "after many")
				tlstest.Until(t, "lines to be dropped", func() bool { return s.Stats().LogDropped == 2 })
			}
			inLoop(t, l, func() { refuse = false })
			if c.many {
				roundTrip(t, goDial(t, addr), "another one")
			}
			tlstest.Must(t, s.Close())
			free()
			tlstest.Until(t, "the line", func() bool { return strings.Contains(log.String(), c.line) })
			if c.many {
				tlstest.Until(t, "the loss to be told", func() bool {
					return strings.Contains(log.String(), `level=WARN msg="log lines were dropped because the log was too slow" count=2`)
				})
			}
		})
	}
}
