package reactor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// stuckLog is a slog.Handler that blocks until it is freed, as one does whose
// pipe nobody reads.
type stuckLog struct {
	slog.Handler
	entered chan struct{} // gets something once a line has come
	freed   chan struct{}
}

func newStuckLog(w io.Writer) (h *stuckLog, free func()) {
	h = &stuckLog{slog.NewTextHandler(w, nil), make(chan struct{}, 1), make(chan struct{})}
	return h, sync.OnceFunc(func() { close(h.freed) })
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
// and the log tells that they are missing.
func TestStuckLog(t *testing.T) {
	for _, c := range []struct {
		name, line string
		cause      func(t *testing.T, s *Server, addr net.Addr) // makes the loop log something
		many       bool                                         // as often as it is called
	}{
		{"handler panics", "handler panicked", func(t *testing.T, _ *Server, addr net.Addr) {
			conn := goDial(t, addr)
			defer conn.Close()
			io.WriteString(conn, "panic")
			io.Copy(io.Discard, conn)
		}, true},
		{"Admit panics", "Admit panicked", func(t *testing.T, _ *Server, addr net.Addr) {
			conn := rawDial(t, addr)
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}, true},
		{"accept fails", "creating a TLS connection failed", func(t *testing.T, s *Server, addr net.Addr) {
			good := s.context.Load()
			defer s.SetContext(good)
			bad := serverContext(t, "rsa", nil)
			bad.Close()
			s.SetContext(bad)
			conn := rawDial(t, addr)
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logBuffer
			h, free := newStuckLog(&log)
			s := &Server{Loops: 1, Logger: slog.New(h), Handler: &hooks{data: func(c *Conn, p []byte) {
				if string(p) == "panic" {
					panic("here")
				}
				c.Write(p)
			}}}
			refuse := false
			s.Admit = func(netip.AddrPort) error {
				if refuse {
					panic("here")
				}
				return nil
			}
			addr := start(t, s)
			t.Cleanup(free) // before the server's own
			other := goDial(t, addr)
			roundTrip(t, other, "before")
			set := make(chan struct{})
			s.loops[0].Do(func() { refuse = c.name == "Admit panics"; close(set) })
			tlstest.Receive(t, set, "the loop's turn")
			c.cause(t, s, addr)
			tlstest.Receive(t, h.entered, "a line")
			roundTrip(t, other, "after the first")
			if n := s.Stats().LogDropped; n != 0 {
				t.Errorf("%d lines dropped after the first", n)
			}
			if c.many {
				l := s.loops[0]
				done := make(chan struct{})
				l.Do(func() {
					for range maxLines - 1 {
						l.log.Error("filled")
					}
					close(done)
				})
				tlstest.Receive(t, done, "the queue to be full")
				c.cause(t, s, addr)
				c.cause(t, s, addr)
				roundTrip(t, other, "after many")
				tlstest.Until(t, "lines to be dropped", func() bool { return s.Stats().LogDropped == 2 })
			}
			if err := s.Close(); err != nil && !errors.Is(err, ErrServerClosed) {
				t.Error(err)
			}
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
