package reactor

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"syscall"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// Stats counts what a loop, or all loops of a server, did since the start.
type Stats struct {
	// Turns of the loop, events that epoll brought, and calls of epoll_ctl.
	Turns, Events, EpollCtls uint64
	// Conns and Handshaking are how many there are now.
	Conns, Handshaking int
	// Accepted connections; AcceptErrors by the name of the errno; Refused when the
	// server had MaxConns, or no descriptor was left.
	Accepted, Refused uint64
	AcceptErrors      map[string]uint64
	// Handshakes that were done, Resumed those among them that resumed a session,
	// by version and by cipher; HandshakeFailures by reason.
	Handshakes, Resumed uint64
	Versions, Ciphers   map[string]uint64
	HandshakeFailures   map[string]uint64
	// Panics of the handler.
	Panics uint64
	// Sessions has bytes, and each operation by its result.
	Sessions session.Counters
}

// maxReasons bounds the maps, whose keys a peer can influence.
const maxReasons = 64

func bump(m *map[string]uint64, key string) {
	if *m == nil {
		*m = map[string]uint64{}
	}
	if _, ok := (*m)[key]; !ok && len(*m) >= maxReasons {
		key = "other"
	}
	(*m)[key]++
}

func (l *Loop) opened(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Handshaking--
	l.stats.Handshakes++
	n := c.tls.Negotiated()
	if n.Resumed {
		l.stats.Resumed++
	}
	bump(&l.pub.Versions, n.Version.String())
	bump(&l.pub.Ciphers, n.Cipher)
	c.timedIn = session.Open
	l.wheel.remove(c)
	l.crowd.remove(c)
	if c.server == nil && c.peer == nil && !c.remote.IsValid() {
		c.findPeer() // it was still connecting when the loop took it over
	}
}

func (l *Loop) handshakeFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Handshaking--
	bump(&l.pub.HandshakeFailures, reasonOf(err))
}

// reasonOf names why a handshake failed, in a small number of words.
func reasonOf(err error) string {
	var e *cssl.Error
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, ErrLoopClosed):
		return "closed by us"
	case errors.Is(err, ErrCrowdedOut):
		return "crowded out"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "closed by peer"
	case errors.As(err, &e) && len(e.Reasons) > 0:
		return e.Reasons[len(e.Reasons)-1].Text
	case errors.As(err, &errno):
		return errno.Error()
	}
	return "other"
}

// publish makes the counters of this turn visible to Stats. The maps are kept
// under the lock all the time: they change once for a connection, not once a turn.
func (l *Loop) publish() {
	l.mu.Lock()
	s := l.stats
	s.AcceptErrors, s.Versions, s.Ciphers, s.HandshakeFailures =
		l.pub.AcceptErrors, l.pub.Versions, l.pub.Ciphers, l.pub.HandshakeFailures
	l.pub = s
	l.mu.Unlock()
}

// Stats is a copy of the loop's counters as of the end of its last turn. Any goroutine may call it.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.pub
	for _, m := range []*map[string]uint64{&s.AcceptErrors, &s.Versions, &s.Ciphers, &s.HandshakeFailures} {
		*m = maps.Clone(*m)
	}
	return s
}

// Add adds the counters of o.
func (s *Stats) Add(o Stats) {
	s.Turns += o.Turns
	s.Events += o.Events
	s.EpollCtls += o.EpollCtls
	s.Conns += o.Conns
	s.Handshaking += o.Handshaking
	s.Accepted += o.Accepted
	s.Refused += o.Refused
	s.Handshakes += o.Handshakes
	s.Resumed += o.Resumed
	s.Panics += o.Panics
	s.Sessions.Add(&o.Sessions)
	for _, m := range []struct {
		to   *map[string]uint64
		from map[string]uint64
	}{
		{&s.AcceptErrors, o.AcceptErrors}, {&s.Versions, o.Versions},
		{&s.Ciphers, o.Ciphers}, {&s.HandshakeFailures, o.HandshakeFailures},
	} {
		for k, v := range m.from {
			if *m.to == nil {
				*m.to = map[string]uint64{}
			}
			(*m.to)[k] += v
		}
	}
}
