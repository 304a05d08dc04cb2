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
	// acceptBatch is how many connections one turn takes from a listener, so that
	// a burst does not hold up those that are established.
	acceptBatch = 16
	// acceptPause is how long a listener rests when there are no descriptors or no memory left.
	acceptPause = 100 * time.Millisecond
	// acceptLogEvery is how often a listener tells what keeps it from accepting, which may be the same again and again.
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
	// early: connections may wait that came before the listener had its options.
	early bool
	// resumeAt is when a pause ends. One that is full ends earlier, when a handshake does.
	resumeAt time.Duration
	full     bool
	// spare is kept open to be given up when descriptors have run out, so that a
	// connection can be accepted and closed instead of waiting for ever.
	spare int
	// logAt is when the next such line may be logged, and unlogged how many were not since the last one.
	logAt    time.Duration
	unlogged int
	// failed is told once no connection can come any more.
	failed func(error)
}

// listen begins to accept on fd, which the loop owns from here on.
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
	// Closing is not enough: epoll holds the open file description, which lives on in
	// whatever duplicate the application keeps.
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

// accept takes what waits on a listener, up to a batch.
func (l *Loop) accept(ln *listener) {
	s := ln.server
	// O_NONBLOCK belongs to all duplicates, and the application may have taken it away since (os.File's Fd does).
	// accept4 has no flag of its own for that, as recv and send have.
	_ = unix.SetNonblock(ln.fd, true)
	for range acceptBatch {
		if s.draining.Load() {
			_ = l.poller.Remove(ln.fd) // it is about to be closed, and must not keep the loop turning
			return
		}
		var slow *Conn // whose place the next one gets
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
			// Errors of the connection that would have been accepted (accept(2)).
			l.countAcceptError(err)
			continue
		case unix.EMFILE, unix.ENFILE:
			l.countAcceptError(err)
			l.refuseOne(ln)
			l.pause(ln, l.now+acceptPause, false)
			l.logAcceptError(ln, slog.LevelWarn, "accept: out of file descriptors, resting", err)
			return
		case unix.EBADF, unix.EFAULT, unix.EINVAL, unix.ENOTSOCK:
			// The listener is of no use any more, such as after a shutdown(2) by whoever has a duplicate.
			l.countAcceptError(err)
			_ = l.poller.Remove(ln.fd) // it is about to be closed, and must not keep the loop turning
			ln.failed(fmt.Errorf("accept4: %w", err))
			return
		default:
			l.countAcceptError(err)
			l.pause(ln, l.now+acceptPause, false)
			l.logAcceptError(ln, slog.LevelWarn, "accept failed, resting", err)
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
			_ = setOptions(fd, s.KeepAlive) // a peer that has gone is found out soon enough
		}
		l.stats.Accepted++
		l.serve(ln, fd, remote)
	}
}

// logAcceptError logs what keeps ln from accepting, with how many times it did since the last line.
func (l *Loop) logAcceptError(ln *listener, level slog.Level, what string, err error) {
	ln.unlogged++
	if l.now < ln.logAt {
		return
	}
	l.log.Log(context.Background(), level, what, "listener", ln.addr.String(), "error", err, "count", ln.unlogged)
	ln.logAt, ln.unlogged = l.now+acceptLogEvery, 0
}

// serve begins a connection that was accepted and admitted.
func (l *Loop) serve(ln *listener, fd int, remote netip.AddrPort) {
	s := ln.server
	tls, err := s.newConn(fd, s.context.Load())
	if err != nil {
		unix.Close(fd)
		if s.Header == nil && s.Release != nil && s.Admit != nil {
			s.Release(remote)
		}
		s.release()
		l.logAcceptError(ln, slog.LevelError, "accept: no TLS connection can be made", err)
		return
	}
	c := &Conn{tls: tls, handler: s.Handler, server: s, fd: fd, remote: remote, local: ln.addr}
	c.counted = s.Header == nil && s.Admit != nil
	c.bind()
	l.adopt(c)
}

// newConn makes the TLS side of a connection with x, or with what has replaced it:
// the old Context may have been closed since it was looked up.
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

// refuseOne gives up the spare descriptor to tell one waiting peer that there is no
// room. On a shared listener another loop may have been quicker; that does not matter.
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

// pause takes a listener out of epoll until the given time, or until there is room
// for another handshake if it is full.
func (l *Loop) pause(ln *listener, until time.Duration, full bool) {
	if ln.paused || l.poller.Remove(ln.fd) != nil {
		return
	}
	ln.paused, ln.resumeAt, ln.full = true, until, full
	l.resume = append(l.resume, ln)
}

// resumeListeners brings paused listeners back.
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

// accept4 takes one connection, non-blocking, with its peer's address if that is TCP.
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

// hostOrder reads a port as it lies in memory, most significant byte first.
func hostOrder(port uint16) int {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return int(b[0])<<8 | int(b[1])
}

// addrPort is the address of a TCP peer, or the zero value for a unix socket.
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
