package reactor

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/spacemonad/go-openssl/session"
)

// ErrServerQueueFull is what Write answers when Server.MaxQueued would be passed. It is a session.ErrQueueFull too.
var ErrServerQueueFull = fmt.Errorf("reactor: too much is queued over all connections: %w", session.ErrQueueFull)

// Limits are those settings of a Server that can be changed while it serves. The zero value of each field means its default.
type Limits struct {
	HandshakeTimeout, IdleTimeout, CloseTimeout, WriteTimeout time.Duration

	MaxConns, MaxHandshakes int
	MaxQueued               int64

	// MaxQueue bounds the bytes queued for one connection, besides Server.Session.MaxQueue, which cannot be changed. What is queued
	// already stays.
	MaxQueue int
}

// SetLimits replaces all limits, those of the fields of s too. A connection keeps the deadline that it has until it gets another
// one, and none is closed because there are more than MaxConns.
func (s *Server) SetLimits(m Limits) {
	s.limits.Store(&m)
	s.mu.Lock()
	loops := s.loops
	s.mu.Unlock()
	for _, l := range loops {
		l.Do(func() {
			cfg := l.cfg
			cfg.HandshakeTimeout, cfg.IdleTimeout, cfg.CloseTimeout, cfg.WriteTimeout =
				m.HandshakeTimeout, m.IdleTimeout, m.CloseTimeout, m.WriteTimeout
			l.cfg = cfg.withDefaults()
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

// RefusedError is what OnClose gets of a connection that Admit refused after its header.
type RefusedError struct {
	// Err is Admit's.
	Err error
}

// Error says who refused it.
func (e *RefusedError) Error() string { return "reactor: refused: " + e.Err.Error() }

// Unwrap is Admit's error.
func (e *RefusedError) Unwrap() error { return e.Err }

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
