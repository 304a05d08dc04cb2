package reactor

import (
	"time"

	"github.com/spacemonad/go-openssl/internal/saturate"
	"golang.org/x/sys/unix"
)

// pendingHandshakes is a list of a loop's accepted connections in the
// handshake, linked through them, in the order of how long they have waited.
type pendingHandshakes struct{ oldest, newest *Conn }

// patienceShare divides HandshakeTimeout: a handshake has that long when others
// wait for its place. By default that is two seconds, enough for a distant
// peer, even if a packet is lost.
const patienceShare = 5

func (d *pendingHandshakes) add(c *Conn, now time.Duration) {
	c.pending, c.waiting = true, now
	c.pendingOlder, c.pendingNewer = d.newest, nil
	if d.newest != nil {
		d.newest.pendingNewer = c
	} else {
		d.oldest = c
	}
	d.newest = c
}

func (d *pendingHandshakes) remove(c *Conn) {
	if !c.pending {
		return
	}
	if c.pendingOlder != nil {
		c.pendingOlder.pendingNewer = c.pendingNewer
	} else {
		d.oldest = c.pendingNewer
	}
	if c.pendingNewer != nil {
		c.pendingNewer.pendingOlder = c.pendingOlder
	} else {
		d.newest = c.pendingOlder
	}
	c.pending, c.pendingOlder, c.pendingNewer = false, nil, nil
}

// answered restarts the wait of c, to whose peer we have just sent something.
// It starts now and not when the turn began, because the peer's response may be
// on its way. It happens two or three times in a handshake, and never for a
// peer that sends its ClientHello byte by byte.
func (l *Loop) answered(c *Conn) {
	l.pending.remove(c)
	l.pending.add(c, time.Since(l.start))
}

// slowest returns the connection whose handshake has waited longest, if it may
// be evicted, or nil and when to ask again.
func (l *Loop) slowest() (c *Conn, due time.Duration) {
	patience := max(l.cfg.HandshakeTimeout/patienceShare, tick)
	for c = l.pending.oldest; c != nil; c = l.pending.oldest {
		if due = saturate.Add(c.waiting, patience); due > l.now {
			return nil, due
		}
		if n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ); err != nil || n == 0 {
			return c, 0
		}
		// The loop is late, not the peer. The wait restarts, so this loop ends.
		l.pending.remove(c)
		l.pending.add(c, l.now)
	}
	return nil, saturate.Add(l.now, l.cfg.HandshakeTimeout) // all handshakes are those of clients
}
