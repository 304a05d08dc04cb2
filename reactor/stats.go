package reactor

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/bits"
	"os"
	"syscall"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
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
	// Groups are the key exchange groups of the handshakes, Refusals the refused connections by reason, and
	// Closes the connections that have ended, also in the handshake, by outcome: "clean", "timeout: idle" and so on.
	Groups, Refusals, Closes map[string]uint64
	// Queued is how many bytes wait to be written now, over all connections.
	Queued int64
	// TurnMicroseconds is how long a turn took from the end of its wait on, and TurnEvents how many events it had.
	TurnMicroseconds, TurnEvents Histogram
	// Panics of the handler.
	Panics uint64
	// LogDropped is how many lines were dropped because the Logger did not take
	// them in time.
	LogDropped uint64
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
	s := c.tls.State()
	if s.Resumed {
		l.stats.Resumed++
	}
	bump(&l.pub.Versions, s.Version.String())
	bump(&l.pub.Ciphers, s.Cipher)
	if s.Group != "" {
		bump(&l.pub.Groups, s.Group)
	}
	c.timedIn = session.Open
	l.wheel.remove(c)
	l.pending.remove(c)
	if c.server == nil && c.peer == nil && !c.remote.IsValid() {
		c.findPeer() // it was still connecting when the loop took it over
	}
}

// countEnd counts a connection that has ended. shook: its handshake was done.
func (l *Loop) countEnd(err error, shook bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bump(&l.pub.Closes, outcomeOf(err, shook))
	if !shook {
		l.stats.Handshaking--
		bump(&l.pub.HandshakeFailures, reasonOf(err))
	}
}

// refuse closes a connection that was just accepted.
func (l *Loop) refuse(fd int, reason string) {
	unix.Close(fd)
	l.countRefusal(reason)
}

func (l *Loop) countRefusal(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Refused++
	bump(&l.pub.Refusals, reason)
}

// The reasons for refusals that are the server's own.
const (
	refusedFull  = "connections in all"
	refusedFiles = "no file descriptors"
)

// outcomeOf names how a connection ended, in a small number of words.
func outcomeOf(err error, shook bool) string {
	var e *tlsio.Error
	switch {
	case err == nil:
		return "clean"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrHeader):
		return "header"
	case errors.Is(err, ErrPanic):
		return "handler panicked"
	case errors.Is(err, ErrLoopClosed):
		return "closed by us"
	case errors.Is(err, ErrHandshakeEvicted):
		return "crowded out"
	case errors.Is(err, ErrHandshakeTimeout):
		return "timeout: handshake"
	case errors.Is(err, ErrIdleTimeout):
		return "timeout: idle"
	case errors.Is(err, ErrWriteTimeout):
		return "timeout: write"
	case errors.Is(err, ErrCloseTimeout):
		return "timeout: close"
	case errors.Is(err, io.ErrUnexpectedEOF), !shook && errors.Is(err, io.EOF):
		return "closed without close_notify"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "reset by peer"
	case errors.As(err, &e) && e.Errno == 0:
		return "tls error"
	}
	return "other"
}

// Histogram counts values by their size. Bucket i holds those of less than 1<<i that are in no bucket before it; the last one holds all
// the rest.
type Histogram struct {
	Buckets [24]uint64
	Sum     uint64
}

func (h *Histogram) add(v uint64) {
	h.Buckets[min(bits.Len64(v), len(h.Buckets)-1)]++
	h.Sum += v
}

// merge adds the counts of o.
func (h *Histogram) merge(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Sum += o.Sum
}

// reasonOf names why a handshake failed, in a small number of words.
func reasonOf(err error) string {
	var e *tlsio.Error
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, ErrLoopClosed):
		return "closed by us"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrPanic):
		return "handler panicked"
	case errors.Is(err, ErrHeader):
		return "header"
	case errors.Is(err, ErrHandshakeEvicted):
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
	var kept [7]map[string]uint64
	for i, m := range l.pub.maps() {
		kept[i] = *m
	}
	l.pub = l.stats
	l.pub.Queued = l.queued.Load()
	for i, m := range l.pub.maps() {
		*m = kept[i]
	}
	l.mu.Unlock()
}

// Stats is a copy of the loop's counters as of the end of its last turn. Any goroutine may call it.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.pub
	for _, m := range s.maps() {
		*m = maps.Clone(*m)
	}
	s.LogDropped = l.lines.Dropped()
	return s
}

// maps are all maps of s.
func (s *Stats) maps() [7]*map[string]uint64 {
	return [...]*map[string]uint64{
		&s.AcceptErrors, &s.Versions, &s.Ciphers, &s.HandshakeFailures, &s.Groups, &s.Refusals, &s.Closes,
	}
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
	s.LogDropped += o.LogDropped
	s.Queued += o.Queued
	s.Sessions.Add(&o.Sessions)
	s.TurnMicroseconds.merge(&o.TurnMicroseconds)
	s.TurnEvents.merge(&o.TurnEvents)
	from := o.maps()
	for i, to := range s.maps() {
		for k, v := range *from[i] {
			if *to == nil {
				*to = map[string]uint64{}
			}
			(*to)[k] += v
		}
	}
}
