package reactor

import (
	"math"
	"time"

	"github.com/spacemonad/go-openssl/internal/saturate"
	"github.com/spacemonad/go-openssl/session"
)

// setDeadline sets the deadline when a phase begins, or when output of an open
// connection begins to wait.
func (l *Loop) setDeadline(c *Conn, p session.Phase) {
	begins := p != c.timedIn || !c.timed
	c.timedIn = p
	switch {
	case p == session.Open:
		if idle, stall, start := l.openDue(c); min(idle, stall, start) < never {
			l.wheel.set(c, min(idle, stall, start))
		} else {
			l.wheel.remove(c)
		}
	case !begins:
	case p == session.Handshaking:
		l.wheel.set(c, saturate.Add(l.now, l.cfg.HandshakeTimeout))
	case p == session.Closing:
		l.wheel.set(c, saturate.Add(l.now, l.cfg.CloseTimeout))
	}
}

const never = time.Duration(math.MaxInt64)

// openDue returns when an open connection exceeds IdleTimeout, when it exceeds
// WriteTimeout, and when one in plain text exceeds HandshakeTimeout.
func (l *Loop) openDue(c *Conn) (idle, stall, start time.Duration) {
	idle, stall, start = never, never, never
	if c.plain != nil {
		start = c.plain.due
	}
	if l.cfg.IdleTimeout > 0 {
		idle = saturate.Add(c.active, l.cfg.IdleTimeout)
	}
	if l.cfg.WriteTimeout > 0 && c.stalled != 0 {
		stall = saturate.Add(c.stalled, l.cfg.WriteTimeout)
	}
	return idle, stall, start
}

// expire handles a deadline that has passed.
func (l *Loop) expire(c *Conn) {
	switch c.session.Phase() {
	case session.Handshaking:
		c.session.Abort(ErrHandshakeTimeout)
	case session.Open:
		switch idle, stall, start := l.openDue(c); {
		case start <= l.now:
			c.session.Abort(ErrHandshakeTimeout)
		case stall <= l.now:
			c.reset = true
			c.session.Abort(ErrWriteTimeout)
		case idle <= l.now:
			c.session.Close(ErrIdleTimeout)
		case min(idle, stall, start) < never:
			l.wheel.set(c, min(idle, stall, start))
			return
		default:
			return
		}
	case session.Closing:
		c.session.Abort(ErrCloseTimeout)
	}
	l.turn(c, 0)
}
