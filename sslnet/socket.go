package sslnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"golang.org/x/sys/unix"
)

// past is a deadline that makes the poller let go of whoever waits.
var past = time.Unix(1, 0)

// A socket is the transport of a Conn that works on a socket itself. Go's poller keeps the descriptor, and says when a
// side may try again; send and recv are cssl's. All use of the descriptor is inside calls of raw, which
// holds it open: its number could be another file's otherwise.
type socket struct {
	c    *Conn
	conn socketConn
	raw  syscall.RawConn
	// attempts are the two sides' for raw, made once.
	attempts [2]func(uintptr) bool

	// A second descriptor of the same socket, for a side that waits for the other direction, made when that
	// first happens. It has a place of its own in the poller and no deadline.
	cross    *os.File
	crossRaw syscall.RawConn
	watching [2]bool
}

// socketConn is a *net.TCPConn or a *net.UnixConn.
type socketConn interface {
	net.Conn
	syscall.Conn
}

// socketOf answers conn if it is a stream socket of package net.
func socketOf(conn net.Conn) (socketConn, bool) {
	switch c := conn.(type) {
	case *net.TCPConn:
		return c, c != nil
	case *net.UnixConn:
		return c, c != nil && c.LocalAddr() != nil && c.LocalAddr().Network() == "unix"
	}
	return nil, false
}

func (c *Conn) overSocket(conn socketConn, x *cssl.Context, cfg cssl.ConnConfig) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	t := &socket{c: c, conn: conn, raw: raw}
	t.attempts[readable] = func(uintptr) bool { return c.reader.attempt() }
	t.attempts[writable] = func(uintptr) bool { return c.writer.attempt() }
	c.transport = t
	if cerr := raw.Control(func(fd uintptr) { c.tls, err = x.NewConn(int(fd), cfg) }); cerr != nil {
		return cerr
	}
	return err
}

func (t *socket) run(s *side) error {
	for {
		var err error
		if s.natural == readable {
			err = t.raw.Read(t.attempts[readable])
		} else {
			err = t.raw.Write(t.attempts[writable])
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		t.c.mu.Lock()
		woken := s.woken
		t.resume(s)
		t.c.mu.Unlock()
		if !woken {
			return os.ErrDeadlineExceeded
		}
	}
}

func (t *socket) wake(s *side) {
	if s.waits && !s.woken {
		s.woken = true
		_ = t.poll(s, past) // fails for a closed socket alone, which wakes by itself
	}
}

func (t *socket) resume(s *side) {
	if s.woken {
		s.woken = false
		_ = t.poll(s, s.deadline)
	}
}

func (t *socket) setDeadline(s *side, d time.Time) error {
	s.deadline = d
	if s.woken {
		return nil // resume sets it
	}
	return t.poll(s, d)
}

// poll sets the poller's deadline for a side.
func (t *socket) poll(s *side, d time.Time) error {
	if s.natural == readable {
		return t.conn.SetReadDeadline(d)
	}
	return t.conn.SetWriteDeadline(d)
}

func (t *socket) watch(d direction) error {
	if t.watching[d] {
		return nil
	}
	if t.cross == nil {
		if err := t.openCross(); err != nil {
			return err
		}
	}
	t.watching[d] = true
	go t.watcher(d, t.crossRaw)
	return nil
}

// openCross makes the second descriptor.
func (t *socket) openCross() error {
	fd := -1
	var err error
	if cerr := t.raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
	}
	f := os.NewFile(uintptr(fd), "tls") // non-blocking, as the socket is, so the poller takes it
	raw, err := f.SyscallConn()
	if err == nil {
		err = f.SetDeadline(time.Time{}) // fails where the poller did not take it
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("sslnet: the second descriptor of a socket cannot be waited for: %w", err)
	}
	t.cross, t.crossRaw = f, raw
	return nil
}

// watcher waits for one event.
func (t *socket) watcher(d direction, raw syscall.RawConn) {
	var err error
	if d == readable {
		err = raw.Read(func(fd uintptr) bool { return isReady(fd, unix.POLLIN) })
	} else {
		err = raw.Write(func(fd uintptr) bool { return isReady(fd, unix.POLLOUT) })
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.watching[d] = false
	if err == nil {
		_ = t.raw.Control(func(uintptr) { t.c.came(d) })
	}
}

// isReady asks without waiting. The poller is edge-triggered: an event that came before somebody began
// to wait is seen by asking alone.
func isReady(fd uintptr, events int16) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 0)
	return err == nil && n > 0
}

func (t *socket) moved(cssl.Result)       {}
func (t *socket) blocked(cssl.Want) error { return nil }
func (t *socket) flushed() bool           { return true }

func (t *socket) closeWrite() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	// An error says that the peer has reset the connection; reading finds that out too.
	_ = t.raw.Control(func(uintptr) { _ = t.c.tls.CloseWrite() })
}

func (t *socket) finish() {
	buf := recordBuffers.Get().(*[recordSize]byte)
	defer recordBuffers.Put(buf)
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_ = t.raw.Control(func(fd uintptr) {
		_ = t.c.tls.CloseWrite() // as in closeWrite
		for n := 0; n < drainLimit; {
			k, err := unix.Read(int(fd), buf[:])
			if k <= 0 && err != unix.EINTR {
				return
			}
			n += max(k, 0)
		}
	})
}

func (t *socket) close() error {
	t.c.mu.Lock()
	if t.cross != nil {
		t.cross.Close()
	}
	t.c.mu.Unlock()
	return t.conn.Close()
}
