package reactor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/spacemonad/go-openssl/session"
)

// errServerQueueFull is returned by Write if p would exceed Limits.MaxQueued.
var errServerQueueFull = fmt.Errorf("reactor: Limits.MaxQueued exceeded: %w", session.ErrQueueFull)

// Limits are the timeouts and bounds of a Server or a Loop. The zero value of a
// field means its default.
type Limits struct {
	// HandshakeTimeout (default 10 s) bounds the handshake. The time includes
	// Server.Header, and connecting for Attach and Connect. In plain text it
	// bounds the wait for the peer's first bytes, and from StartTLS on for what
	// is queued to be sent. After that the connection is closed, and OnClose
	// gets ErrHandshakeTimeout.
	HandshakeTimeout time.Duration
	// IdleTimeout (default: none) is how long a connection may have no traffic.
	// After that it is closed as by Conn.Close, and OnClose gets
	// ErrIdleTimeout.
	IdleTimeout time.Duration
	// WriteTimeout (default: none) is how long a peer may take nothing of a
	// queue. After that the connection is reset, and OnClose gets
	// ErrWriteTimeout.
	WriteTimeout time.Duration
	// CloseTimeout (default 5 s) is how long a close may take, until the peer
	// has sent close_notify or a FIN. After that the connection is closed, and
	// OnClose gets ErrCloseTimeout.
	CloseTimeout time.Duration

	// MaxConns (default: none) is the number of connections above which further
	// ones are refused.
	MaxConns int
	// MaxHandshakes (default: 1024 for each loop) bounds the handshakes in
	// progress. It is divided evenly among the loops, at least one each. A loop
	// that has reached its share accepts no more: new connections wait in the
	// listener's backlog. While others wait there, a handshake that has waited
	// for its peer for a fifth of HandshakeTimeout is evicted
	// (ErrHandshakeEvicted), so that stalled handshakes do not keep the others
	// out. A connection that began in plain text counts from StartTLS on, which
	// never waits for a place: MaxConns bounds how many there can be.
	MaxHandshakes int
	// MaxQueued (default: none) bounds the queued bytes over all connections. A
	// Write that would exceed it returns session.ErrQueueFull.
	MaxQueued int64
	// MaxQueue (default: only that of session.Config) bounds the queued bytes
	// of one connection, like session.Config.MaxQueue; the lower one counts.
	// SetLimits can change it. A Write that would exceed it returns
	// session.ErrQueueFull. Bytes that are queued already stay.
	MaxQueue int
}

// SetLimits replaces s.Limits, also while s runs. Any goroutine may call it. A
// connection keeps its current deadline until its next one is set. No
// connection is closed because of a lower MaxConns.
func (s *Server) SetLimits(m Limits) {
	s.limits.Store(&m)
	s.mu.Lock()
	loops := s.loops
	s.mu.Unlock()
	for _, l := range loops {
		l.Do(func() {
			l.cfg.Limits = m
			l.cfg = l.cfg.withDefaults()
		})
	}
}

func (s *Server) maxHandshakesPerLoop() int {
	if n := s.limits.Load().MaxHandshakes; n > 0 {
		return max(1, n/len(s.loops))
	}
	return 1024
}

// hasRoom reports whether n more bytes may be queued, besides those that the
// loops have counted.
func (s *Server) hasRoom(n int) bool {
	limit := s.limits.Load().MaxQueued
	if limit <= 0 {
		return true
	}
	sum := int64(n)
	for _, l := range s.loops {
		sum += l.queued.Load()
	}
	return sum <= limit
}

// errRefused marks the error of a connection that Admit refused after its
// Header. OnClose gets it with Admit's own error.
var errRefused = errors.New("reactor: connection refused by Admit")

// mayEnter calls Admit. A panic refuses the connection.
func (l *Loop) mayEnter(s *Server, remote netip.AddrPort) (err error) {
	if s.Admit == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			l.log.Error("Admit panicked", "remote", remote.String(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = ErrPanic
		}
	}()
	return s.Admit(remote)
}

// Ping returns nil once every loop has responded, for watchdogs and health
// checks. It returns ErrServerClosed if a loop has ended, and an error that
// wraps ctx's if ctx is done first.
func (s *Server) Ping(ctx context.Context) error {
	s.mu.Lock()
	loops := s.loops
	s.mu.Unlock()
	turned := make(chan struct{}, len(loops))
	for _, l := range loops {
		if !l.Do(func() { turned <- struct{}{} }) {
			return ErrServerClosed
		}
	}
	for range loops {
		select {
		case <-turned:
		case <-ctx.Done():
			return fmt.Errorf("reactor: a loop does not respond: %w", ctx.Err())
		}
	}
	return nil
}
