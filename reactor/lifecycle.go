package reactor

import (
	"net"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

// Attach makes the loop drive a connection over fd, a connected (or connecting)
// non-blocking stream socket, in the role of x. The loop owns fd from here on, also when this fails. Any
// goroutine may call it; h hears of the connection on the loop's goroutine.
func (l *Loop) Attach(fd int, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) error {
	tls, err := x.NewConn(fd, cfg)
	if err != nil {
		unix.Close(fd)
		return err
	}
	c := &Conn{tls: tls, handler: h, fd: fd, Data: data}
	if sa, err := unix.Getpeername(fd); err == nil {
		c.remote = addrPort(sa)
	}
	if sa, err := unix.Getsockname(fd); err == nil {
		if ap := addrPort(sa); ap.IsValid() {
			c.local = net.TCPAddrFromAddrPort(ap)
		} else {
			c.local = &net.UnixAddr{Net: "unix"}
		}
	}
	if !l.Do(func() { l.adopt(c) }) {
		tls.Close()
		unix.Close(fd)
		return ErrLoopClosed
	}
	return nil
}

// adopt begins to drive a new connection.
func (l *Loop) adopt(c *Conn) {
	c.loop, c.id, c.active = l, lastID.Add(1), l.now
	c.key = l.newSlot(slot{conn: c})
	e := (*events)(c)
	var sh session.Handler = e
	if _, ok := c.handler.(EOFHandler); ok {
		sh = halfOpen{e}
	}
	c.session.Init(c.tls, sh, l.sessions)
	if c.server != nil {
		c.session.ExpectPeer()
	}
	if f := l.cfg.Trace; f != nil {
		c.session.SetTrace(func(op cssl.Op, r cssl.Result) {
			f(c, Step{op, r, c.session.Interest(), c.session.Runnable()})
		})
	}
	l.stats.Conns++
	l.stats.Handshaking++
	l.turn(c, 0)
}

// closed takes note of the end of a connection, within the turn that ends it.
func (l *Loop) closed(c *Conn, err error) {
	c.dead = true
	l.wheel.remove(c)
	l.dead = append(l.dead, c)
	if c.timedIn == session.Handshaking {
		l.handshakeFailed(err)
	}
}

// bury frees the connections that ended in this turn.
func (l *Loop) bury() {
	for i, c := range l.dead {
		l.dead[i] = nil
		if c.reset {
			// RST instead of FIN: the peer is not to think that it has got all.
			_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		} else {
			swallow(c.fd, l.sessions.Buffer)
		}
		c.tls.Close()
		if c.server == nil && c.polled {
			_ = l.poller.Remove(c.fd) // the caller of Attach may hold a duplicate, which would keep it in epoll
		}
		unix.Close(c.fd) // which takes an accepted one out of epoll too
		l.freeSlot(c.key)
		l.stats.Conns--
		if c.server != nil {
			c.server.release()
		}
	}
	l.dead = l.dead[:0]
}

// swallow sends the FIN and reads what has arrived and nobody will read. Closing
// with unread input would send RST, which can destroy the alert that says why.
func swallow(fd int, buf []byte) {
	if unix.Shutdown(fd, unix.SHUT_WR) != nil {
		return // the peer has reset it, or it is all over already
	}
	for range 16 {
		if n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); n <= 0 || err != nil {
			return
		}
	}
}
