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

// errServerQueueFull is what Write returns when Limits.MaxQueued would be passed.
var errServerQueueFull = fmt.Errorf("reactor: too much is queued over all connections: %w", session.ErrQueueFull)

// Limits are the timeouts and bounds of a Server or a Loop. The zero value of each
// field means its default.
type Limits struct {
	// HandshakeTimeout (10 s) is how long the handshake may take, together with the
	// connecting of a socket that Attach or Connect took over meanwhile, and with
	// Server.Header. Then the peer is cut off, and OnClose gets ErrHandshakeTimeout.
	HandshakeTimeout time.Duration
	// IdleTimeout (none) is how long a connection may be without traffic. Then it is
	// closed as by Conn.Close, for ErrIdleTimeout.
	IdleTimeout time.Duration
	// WriteTimeout (none) is how long a peer may take nothing while something is
	// queued for it. Then it is cut off: ErrWriteTimeout.
	WriteTimeout time.Duration
	// CloseTimeout (5 s) is how long Conn.Close waits for the peer's end. Then the
	// peer is cut off: ErrCloseTimeout.
	CloseTimeout time.Duration

	// MaxConns (none) is the number of connections above which others are refused.
	MaxConns int
	// MaxHandshakes (1024 for each loop) is how many handshakes may be under way
	// before new connections wait in the listener's backlog. While others wait there,
	// a peer that has kept its handshake waiting for a fifth of HandshakeTimeout loses
	// its place to one of them (ErrHandshakeEvicted), so that those who say nothing do
	// not keep the rest out.
	MaxHandshakes int
	// MaxQueued (none) bounds the bytes that are queued over all connections. A Write
	// that would pass it returns session.ErrQueueFull.
	MaxQueued int64
	// MaxQueue (none) bounds the bytes that are queued for one connection, besides
	// session.Config.MaxQueue. A Write that would pass it returns
	// session.ErrQueueFull. What is queued already stays.
	MaxQueue int
}

// SetLimits takes the place of s.Limits, also while s serves. Any goroutine may call it. A
// connection keeps the deadline that it has until it gets another one, and none is
// closed because there are more than MaxConns.
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

// hasRoom reports whether n bytes may be queued besides those that the loops have summed up.
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

// errRefused marks the error of a connection that Admit refused after its header.
// OnClose gets it with Admit's own error.
var errRefused = errors.New("reactor: refused")

// mayEnter asks Admit. A panic there refuses the connection.
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

// Ping returns once every loop has taken a turn, or with ctx's error: for watchdogs and health checks. It is ErrServerClosed
// when a loop has ended.
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
			return fmt.Errorf("reactor: a loop takes no turn: %w", ctx.Err())
		}
	}
	return nil
}
