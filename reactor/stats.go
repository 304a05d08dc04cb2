package reactor

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/bits"
	"os"
	"syscall"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// Stats are the counters of a loop, or of all loops of a server, since the
// start.
type Stats struct {
	// Turns and EpollCtls count the turns of the loop, and calls of epoll_ctl.
	Turns, EpollCtls uint64
	// Conns, Handshaking and Plain are the current numbers of connections, of
	// those still in the handshake, and of those in plain text.
	Conns, Handshaking, Plain int
	// Accepted connections, and errors of accept4 by errno name.
	Accepted     uint64
	AcceptErrors map[string]uint64
	// Handshakes that succeeded, how many of them resumed a session, their
	// versions and ciphers, and the failed handshakes by reason.
	Handshakes, Resumed uint64
	Versions, Ciphers   map[string]uint64
	HandshakeFailures   map[string]uint64
	// Groups are the key-exchange groups of the handshakes. Refusals are the
	// refused connections by reason: MaxConns was reached, descriptors had run
	// out, or the text of Admit's error. Closes are the ended connections,
	// including those that failed in the handshake, by outcome: "clean",
	// "timeout: idle" and so on.
	Groups, Refusals, Closes map[string]uint64
	// Records counts handshakes by the kind of records: "direct", "openssl" or
	// "kernel", followed by ": " and cssl.State.RecordsReason if there is one.
	Records map[string]uint64
	// Queued is the current number of queued bytes, over all connections.
	Queued int64
	// TurnMicroseconds is how long the turns took, without their wait for
	// events. TurnEvents is how many events epoll returned in each turn.
	TurnMicroseconds, TurnEvents Histogram
	// Panics counts the handler's panics.
	Panics uint64
	// LogDropped is how many log lines were dropped because the Logger was too
	// slow.
	LogDropped uint64
	// Sessions counts bytes, and operations by result.
	Sessions session.Counters
}

// maxReasons bounds the maps, because a peer can influence their keys.
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
	f := negotiated.Of(c.tls)
	if f.Resumed {
		l.stats.Resumed++
	}
	bump(&l.pub.Versions, cssl.TLSVersion(f.Version).String())
	bump(&l.pub.Ciphers, f.Cipher)
	if f.Group != "" {
		bump(&l.pub.Groups, f.Group)
	}
	bump(&l.pub.Records, negotiated.RecordsText(cssl.Records(f.Records), f.Obstacle))
	c.timedIn = session.Open
	l.wheel.remove(c)
	l.pending.remove(c)
	if c.server == nil && c.peer == nil && !c.remote.IsValid() {
		c.findPeer() // it was still connecting when the loop took it over
	}
}

// countEnd counts an ended connection. shook is whether its handshake
// succeeded.
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
	bump(&l.pub.Refusals, reason)
}

// The server's own reasons for refusals.
const (
	refusedFull  = "MaxConns reached"
	refusedFiles = "no file descriptors"
)

// outcomeOf names how a connection ended. The set of names is small.
func outcomeOf(err error, shook bool) string {
	var e *tlsio.Error
	switch {
	case err == nil:
		return "clean"
	case errors.Is(err, errRefused):
		return "refused"
	case errors.Is(err, ErrHeader):
		return "header"
	case errors.Is(err, tlsio.ErrPlaintextAfterStartTLS):
		return "plaintext after STARTTLS"
	case errors.Is(err, ErrPanic):
		return "handler panicked"
	case errors.Is(err, ErrLoopClosed):
		return "closed by us"
	case errors.Is(err, ErrHandshakeEvicted):
		return "handshake evicted"
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

// Histogram counts values in buckets of powers of two. Bucket i has the values
// below 1<<i that are not in a lower bucket; the last one has all others. Sum
// is the sum of the values.
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

// reasonOf names why a handshake failed. The set of names is small, except for
// OpenSSL's reasons.
func reasonOf(err error) string {
	var e *tlsio.Error
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, ErrLoopClosed):
		return "closed by us"
	case errors.Is(err, errRefused):
		return "refused"
	case errors.Is(err, ErrPanic):
		return "handler panicked"
	case errors.Is(err, ErrHeader):
		return "header"
	case errors.Is(err, tlsio.ErrPlaintextAfterStartTLS):
		return "plaintext after STARTTLS"
	case errors.Is(err, ErrHandshakeEvicted):
		return "handshake evicted"
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

// publish makes the counters of this turn visible to Stats. The maps are
// updated in place under the lock: they change once for a connection, not once
// a turn.
func (l *Loop) publish() {
	l.mu.Lock()
	var kept [8]map[string]uint64
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

// Stats returns a copy of the loop's counters as of the end of its last turn.
// Any goroutine may call it.
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

// maps returns all maps of s.
func (s *Stats) maps() [8]*map[string]uint64 {
	return [...]*map[string]uint64{
		&s.AcceptErrors, &s.Versions, &s.Ciphers, &s.HandshakeFailures, &s.Groups, &s.Refusals, &s.Closes, &s.Records,
	}
}

// Add adds the counters of o to s.
func (s *Stats) Add(o Stats) {
	s.Turns += o.Turns
	s.EpollCtls += o.EpollCtls
	s.Conns += o.Conns
	s.Handshaking += o.Handshaking
	s.Plain += o.Plain
	s.Accepted += o.Accepted
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
