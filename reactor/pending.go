package reactor

import (
	"time"

	"github.com/spacemonad/go-openssl/internal/saturate"
	"golang.org/x/sys/unix"
)

// pendingHandshakes is the list of a loop's accepted connections whose handshake is under way, linked through
// them, the one that has waited longest first.
type pendingHandshakes struct{ oldest, newest *Conn }

// patienceShare of HandshakeTimeout is what a handshake has when others wait for its place. With the
// default that is two seconds: enough for a far peer, also if a packet is lost.
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

// answered gives c, whose peer has just got an answer, its time anew, from now on and not from when this turn began: its
// own answer may be on its way. It happens two or three times in a handshake, and never to a peer that sends its hello a byte at a time.
func (l *Loop) answered(c *Conn) {
	l.pending.remove(c)
	l.pending.add(c, time.Since(l.start))
}

// slowest is the connection whose handshake has waited longest, if that is long enough for another one to get its
// place, or when to ask again.
func (l *Loop) slowest() (c *Conn, due time.Duration) {
	patience := max(l.cfg.HandshakeTimeout/patienceShare, tick)
	for c = l.pending.oldest; c != nil; c = l.pending.oldest {
		if due = saturate.Add(c.waiting, patience); due > l.now {
			return nil, due
		}
		if n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ); err != nil || n == 0 {
			return c, 0
		}
		// It is we who are late. It waits anew, which is also why this loop ends.
		l.pending.remove(c)
		l.pending.add(c, l.now)
	}
	return nil, saturate.Add(l.now, l.cfg.HandshakeTimeout) // they are all of clients
}
