package reactor

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor/internal/poller"
	"github.com/spacemonad/go-openssl/reactor/internal/sys"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

const (
	// acceptBatch is how many connections a turn accepts from a listener, so
	// that a burst does not delay established connections.
	acceptBatch = 16
	// acceptPause is how long a listener pauses when descriptors or memory have
	// run out.
	acceptPause = 100 * time.Millisecond
	// acceptLogEvery is how often a listener logs an accept error, which may
	// recur all the time.
	acceptLogEvery = time.Second
)

// listener is a listening socket as one loop sees it.
type listener struct {
	server *Server
	fd     int // this loop's own descriptor
	addr   net.Addr
	key    poller.Key
	shared bool // other loops wait for the same socket
	paused bool
	// early is set while connections may wait that arrived before the listener
	// had its socket options.
	early bool
	// resumeAt is when a pause ends. If full is set, the pause ends earlier
	// when a handshake ends.
	resumeAt time.Duration
	full     bool
	// spare is an open descriptor to give up when descriptors have run out, so
	// that a connection can be accepted and closed instead of waiting forever.
	spare int
	// logAt is when the next accept error may be logged. unlogged counts those
	// since the last line.
	logAt    time.Duration
	unlogged int
	// failed is called when no connection can be accepted any more.
	failed func(error)
}

// listen begins to accept on ln.fd, which the loop owns from then on.
func (l *Loop) listen(ln *listener) error {
	ln.key = l.newSlot(slot{listener: ln})
	ln.spare = openSpare()
	if err := l.pollListener(ln); err != nil {
		l.closeListener(ln)
		return err
	}
	return nil
}

func (l *Loop) pollListener(ln *listener) error {
	if ln.shared {
		return l.poller.AddExclusive(ln.fd, ln.key, session.Readable)
	}
	return l.poller.Add(ln.fd, ln.key, session.Readable)
}

func (l *Loop) closeListener(ln *listener) {
	// Closing is not enough: epoll refers to the open file description, which
	// lives on in any duplicate that the application has (epoll(7)).
	_ = l.poller.Remove(ln.fd)
	unix.Close(ln.fd)
	if ln.spare >= 0 {
		unix.Close(ln.spare)
	}
	l.freeSlot(ln.key)
	ln.fd, ln.spare = -1, -1
}

func openSpare() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// accept accepts up to a batch of connections from a listener.
func (l *Loop) accept(ln *listener) {
	s := ln.server
	// All duplicates share O_NONBLOCK, and the application may have cleared it
	// since (os.File's Fd does). accept4 has no MSG_DONTWAIT as recv and send
	// have.
	_ = unix.SetNonblock(ln.fd, true)
	for range acceptBatch {
		if s.draining.Load() {
			_ = l.poller.Remove(ln.fd) // it is about to be closed and must not keep waking the loop
			return
		}
		var slow *Conn // its place is given to the next connection
		if l.stats.Handshaking >= s.maxHandshakesPerLoop() {
			var due time.Duration
			if slow, due = l.slowest(); slow == nil {
				l.pause(ln, due, true)
				return
			}
		}
		fd, remote, err := accept4(ln.fd)
		switch err {
		case 0:
		case unix.EAGAIN:
			ln.early = false
			return
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.ENETDOWN, unix.ENOPROTOOPT, unix.EHOSTDOWN,
			unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.EPERM, unix.ETIMEDOUT:
			// Errors of the connection that would have been accepted
			// (accept(2)).
			l.countAcceptError(err)
			continue
		case unix.EMFILE, unix.ENFILE:
			l.countAcceptError(err)
			l.refuseOne(ln)
			l.pause(ln, l.now+acceptPause, false)
			l.logAcceptError(ln, slog.LevelWarn, "accept: out of file descriptors, pausing", err)
			return
		case unix.EBADF, unix.EFAULT, unix.EINVAL, unix.ENOTSOCK:
			// The listener cannot be used any more, for example after a
			// shutdown(2) on a duplicate.
			l.countAcceptError(err)
			_ = l.poller.Remove(ln.fd) // it is about to be closed and must not keep waking the loop
			ln.failed(fmt.Errorf("accept4: %w", err))
			return
		default:
			l.countAcceptError(err)
			l.pause(ln, l.now+acceptPause, false)
			l.logAcceptError(ln, slog.LevelWarn, "accept failed, pausing", err)
			return
		}
		if !s.admit() {
			l.refuse(fd, refusedFull)
			continue
		}
		if s.Header == nil {
			if err := l.mayEnter(s, remote); err != nil {
				s.release()
				l.refuse(fd, err.Error())
				continue
			}
		}
		if slow != nil {
			slow.session.Abort(ErrHandshakeEvicted)
			l.turn(slow, 0)
		}
		if ln.early && remote.IsValid() {
			_ = setOptions(fd, s.KeepAlive) // best effort: they only help to detect a dead peer
		}
		l.stats.Accepted++
		l.serve(ln, fd, remote)
	}
}

// logAcceptError logs an accept error of ln, with how many there were since the
// last line.
func (l *Loop) logAcceptError(ln *listener, level slog.Level, what string, err error) {
	ln.unlogged++
	if l.now < ln.logAt {
		return
	}
	l.log.Log(context.Background(), level, what, "listener", ln.addr.String(), "error", err, "count", ln.unlogged)
	ln.logAt, ln.unlogged = l.now+acceptLogEvery, 0
}

// serve starts a connection that was accepted and admitted.
func (l *Loop) serve(ln *listener, fd int, remote netip.AddrPort) {
	s := ln.server
	c := &Conn{handler: s.Handler, server: s, fd: fd, remote: remote, local: ln.addr}
	var err error
	if s.Plain != nil {
		c.plain = &plain{handler: s.Plain, fd: fd, connected: true}
	} else if c.tls, err = s.newConn(fd, s.context.Load()); err != nil {
		unix.Close(fd)
		if s.Header == nil && s.Release != nil && s.Admit != nil {
			s.Release(remote)
		}
		s.release()
		l.logAcceptError(ln, slog.LevelError, "accept: creating a TLS connection failed", err)
		return
	}
	c.counted = s.Header == nil && s.Admit != nil
	if c.tls != nil {
		c.bind()
	}
	l.adopt(c)
}

// newConn makes the TLS side of a connection with x, or with the Context that
// has replaced it: x may have been closed since it was loaded.
func (s *Server) newConn(fd int, x *cssl.Context) (*cssl.Conn, error) {
	for {
		tls, err := x.NewConn(fd, cssl.ConnConfig{})
		now := s.context.Load()
		if err == nil || now == x {
			return tls, err
		}
		x = now
	}
}

// refuseOne gives up the spare descriptor to accept one waiting connection and
// close it. On a shared listener another loop may be quicker; that does not
// matter.
func (l *Loop) refuseOne(ln *listener) {
	if ln.spare < 0 {
		return
	}
	unix.Close(ln.spare)
	if fd, _, err := accept4(ln.fd); err == 0 {
		l.refuse(fd, refusedFiles)
	}
	ln.spare = openSpare()
}

// pause takes a listener out of epoll until the given time, or, if full is set,
// until there is room for another handshake.
func (l *Loop) pause(ln *listener, until time.Duration, full bool) {
	if ln.paused || l.poller.Remove(ln.fd) != nil {
		return
	}
	ln.paused, ln.resumeAt, ln.full = true, until, full
	l.resume = append(l.resume, ln)
}

// resumeListeners ends pauses that are over.
func (l *Loop) resumeListeners() {
	rest := l.resume[:0]
	for _, ln := range l.resume {
		switch {
		case ln.fd < 0:
		case l.now >= ln.resumeAt, ln.full && l.stats.Handshaking < ln.server.maxHandshakesPerLoop():
			if ln.spare < 0 {
				ln.spare = openSpare()
			}
			if err := l.pollListener(ln); err != nil {
				ln.resumeAt = l.now + acceptPause
				rest = append(rest, ln)
				continue
			}
			ln.paused = false
		default:
			rest = append(rest, ln)
		}
	}
	clear(l.resume[len(rest):])
	l.resume = rest
}

func (l *Loop) countAcceptError(err unix.Errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := unix.ErrnoName(err)
	if name == "" {
		name = "other"
	}
	bump(&l.pub.AcceptErrors, name)
}

// accept4 accepts a non-blocking connection and returns its peer's address if
// that is TCP.
func accept4(fd int) (int, netip.AddrPort, unix.Errno) {
	n, sa, errno := sys.Accept4(fd)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		return n, addrPort(&unix.SockaddrInet4{Addr: in.Addr, Port: hostOrder(in.Port)}), 0
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&sa))
		return n, addrPort(&unix.SockaddrInet6{Addr: in.Addr, Port: hostOrder(in.Port), ZoneId: in.Scope_id}), 0
	}
	return n, netip.AddrPort{}, 0
}

// hostOrder converts a port from network byte order.
func hostOrder(port uint16) int {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return int(b[0])<<8 | int(b[1])
}

// addrPort returns the address of a TCP peer, or the zero value for a unix
// socket.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				ip = ip.WithZone(i.Name)
			}
		}
		return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
