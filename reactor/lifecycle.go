package reactor

import (
	"cmp"
	"net"
	"os"
	"strings"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/saturate"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// Attach makes the loop drive a connection over fd, a stream socket that is
// connected or connecting. x decides whether it is a client or a server. The
// loop owns fd, also if Attach returns an error, and sets O_NONBLOCK, which all
// duplicates of fd share. Any goroutine may call Attach; h is called on the
// loop's goroutine. RemoteAddr of a connecting socket is unknown until OnOpen.
// Attach returns ErrLoopClosed after Stop.
func (l *Loop) Attach(fd int, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fcntl(O_NONBLOCK)", err)
	}
	c, err := newConn(fd, x, cfg, h, data)
	if err != nil {
		return err
	}
	return l.attach(c)
}

// newConn makes a Conn over fd, and closes fd on error.
func newConn(fd int, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) (*Conn, error) {
	tls, err := x.NewConn(fd, cfg)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &Conn{tls: tls, handler: h, fd: fd, Data: data}
	c.bind()
	c.findAddrs()
	return c, nil
}

// findAddrs gets the addresses of the socket.
func (c *Conn) findAddrs() {
	c.findPeer()
	if sa, err := unix.Getsockname(c.fd); err == nil {
		if a, ok := sa.(*unix.SockaddrUnix); ok {
			c.local = unixAddr(a)
		} else {
			c.local = net.TCPAddrFromAddrPort(addrPort(sa))
		}
	}
}

// findPeer gets the peer's address (getpeername). A connecting socket has none
// yet.
func (c *Conn) findPeer() {
	sa, err := unix.Getpeername(c.fd)
	if err != nil {
		return
	}
	if a, ok := sa.(*unix.SockaddrUnix); ok {
		c.peer = unixAddr(a)
	} else {
		c.remote = addrPort(sa)
	}
}

// unixAddr converts a. x/sys returns "@" for a socket without a name.
func unixAddr(a *unix.SockaddrUnix) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: strings.TrimSuffix(a.Name, "@")}
}

// attach passes c to the loop.
func (l *Loop) attach(c *Conn) error {
	if !l.Do(func() { l.adopt(c) }) {
		c.free()
		return ErrLoopClosed
	}
	return nil
}

// free frees a connection that no loop has adopted.
func (c *Conn) free() {
	c.closeTLS()
	unix.Close(c.fd)
}

// closeTLS frees the TLS side, if there is one.
func (c *Conn) closeTLS() {
	if c.tls != nil {
		c.tls.Close()
	}
	if c.plain != nil && c.plain.tls != nil {
		c.plain.tls.Close()
	}
}

// adopt starts to drive a new connection.
func (l *Loop) adopt(c *Conn) {
	c.loop, c.id, c.active, c.begun = l, lastID.Add(1), l.now, l.now
	c.key = l.newSlot(slot{conn: c})
	if c.plain != nil {
		c.plain.due = saturate.Add(l.now, l.cfg.HandshakeTimeout)
		c.session.Init(c.plain, (*events)(c), l.sessions)
	} else {
		c.session.Init(c.tls, (*events)(c), l.sessions)
	}
	if c.server != nil && c.server.Header != nil {
		c.header = new(header)
	}
	if c.plain != nil && c.header != nil {
		// A server that speaks first must not wait for a peer that sends no
		// header.
		if err := l.parseHeader(c, nil); err != nil {
			c.session.Abort(err)
		}
	}
	if c.server != nil && (c.plain == nil || c.header != nil) {
		c.session.ExpectPeer()
	}
	if f := l.cfg.Trace; f != nil {
		c.session.SetTrace(func(op tlsio.Op, r tlsio.Result) {
			var wait session.Event
			if !c.session.Runnable() {
				wait = c.session.Interest()
			}
			f(c, op, r, wait)
		})
	}
	l.stats.Conns++
	if c.plain != nil {
		l.stats.Plain++
	} else {
		l.stats.Handshaking++
	}
	if c.server != nil && c.plain == nil {
		l.pending.add(c, l.now)
	}
	l.turn(c, 0)
}

// ended is a connection that has ended, with the error that OnClose gets.
type ended struct {
	c   *Conn
	err error
}

// closed records the end of a connection, in the turn that ends it.
func (l *Loop) closed(c *Conn, err error) {
	c.dead = true
	l.wheel.remove(c)
	l.buffers.remove(c)
	l.dead = append(l.dead, ended{c, err})
	if c.plain != nil {
		l.stats.Plain--
		l.countEnd(err, true)
		return
	}
	shook := c.timedIn != session.Handshaking
	if !shook {
		l.pending.remove(c)
	}
	l.countEnd(err, shook)
}

// freeClosed frees the connections that ended in this turn.
func (l *Loop) freeClosed() {
	for i, e := range l.dead {
		c := e.c
		l.dead[i] = ended{}
		if c.reset {
			// RST instead of FIN: the peer must not believe that it has
			// received everything.
			_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		} else {
			drainAfterFIN(c.fd, l.sessions.Buffer)
		}
		c.closeTLS()
		if c.server == nil && c.polled {
			_ = l.poller.Remove(c.fd) // a duplicate that the caller of Attach has would keep it in epoll
		}
		unix.Close(c.fd) // takes an accepted one out of epoll too
		l.freeSlot(c.key)
		l.stats.Conns--
		if c.server != nil {
			if c.counted && c.server.Release != nil {
				c.server.Release(c.remote)
			}
			c.server.release()
		}
		c.answerDial(cmp.Or(e.err, error(net.ErrClosed)))
	}
	l.dead = l.dead[:0]
}

// drainAfterFIN sends the FIN and discards input that has arrived. Closing a
// socket with unread input would send a RST, which can destroy the alert that
// tells the peer the reason.
func drainAfterFIN(fd int, buf []byte) {
	if unix.Shutdown(fd, unix.SHUT_WR) != nil {
		return // the peer has reset it
	}
	for range 16 {
		if n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); n <= 0 || err != nil {
			return
		}
	}
}
