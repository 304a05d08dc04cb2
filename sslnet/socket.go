package sslnet

import (
	"errors"
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
// half may try again; send and recv are cssl's. All use of the descriptor is inside calls of raw, which
// holds it open: its number could be another file's otherwise.
type socket struct {
	c    *Conn
	conn socketConn
	raw  syscall.RawConn
	// tries are the two halves' for raw, made once.
	tries [2]func(uintptr) bool

	// For a half that waits for the other direction: its key in crosses, 0
	// before that has happened, and the directions that are waited for there.
	key      uint64
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
	t.tries[readable] = func(uintptr) bool { return c.reader.try() }
	t.tries[writable] = func(uintptr) bool { return c.writer.try() }
	c.transport = t
	if cerr := raw.Control(func(fd uintptr) { c.tls, err = x.NewConn(int(fd), cfg) }); cerr != nil {
		return cerr
	}
	return err
}

func (t *socket) run(s *half) error {
	for {
		var err error
		if s.natural == readable {
			err = t.raw.Read(t.tries[readable])
		} else {
			err = t.raw.Write(t.tries[writable])
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		t.c.mu.Lock()
		woken := s.woken
		t.restoreDeadline(s)
		t.c.mu.Unlock()
		if !woken {
			return os.ErrDeadlineExceeded
		}
	}
}

func (t *socket) wake(s *half) {
	if s.waits && !s.woken {
		s.woken = true
		_ = t.poll(s, past) // fails for a closed socket alone, which wakes by itself
	}
}

func (t *socket) restoreDeadline(s *half) {
	if s.woken {
		s.woken = false
		_ = t.poll(s, s.deadline)
	}
}

func (t *socket) setDeadline(s *half, d time.Time) error {
	s.deadline = d
	if s.woken {
		return nil // restoreDeadline sets it
	}
	return t.poll(s, d)
}

// poll sets the poller's deadline for a half.
func (t *socket) poll(s *half, d time.Time) error {
	if s.natural == readable {
		return t.conn.SetReadDeadline(d)
	}
	return t.conn.SetWriteDeadline(d)
}

func (t *socket) watch(d direction) error {
	if t.watching[d] {
		return nil
	}
	t.watching[d] = true
	err := t.arm()
	if err != nil {
		t.watching[d] = false
	}
	return err
}

// arm asks for one event in the directions that are watched.
func (t *socket) arm() (err error) {
	var events uint32
	if t.watching[readable] {
		events |= unix.EPOLLIN
	}
	if t.watching[writable] {
		events |= unix.EPOLLOUT
	}
	if cerr := t.raw.Control(func(fd uintptr) { err = crosses.arm(fd, t, events) }); cerr != nil {
		return cerr
	}
	return err
}

// fire is called, on a goroutine of its own, when one of the events has come
// that arm asked for. A hang-up or an error counts as both directions.
func (t *socket) fire(events uint32) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	both := events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	was := t.watching
	t.watching[readable] = was[readable] && !both && events&unix.EPOLLIN == 0
	t.watching[writable] = was[writable] && !both && events&unix.EPOLLOUT == 0
	if t.watching != [2]bool{} {
		_ = t.arm() // fails for a closed socket alone, where nobody waits any more
	}
	for _, d := range []direction{readable, writable} {
		if was[d] && !t.watching[d] {
			_ = t.raw.Control(func(uintptr) { t.c.onReady(d) })
		}
	}
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
	buf := recordBuffers.Get().(*[cssl.MaxPlaintext]byte)
	defer recordBuffers.Put(buf)
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_ = t.raw.Control(func(fd uintptr) {
		_ = t.c.tls.CloseWrite() // as in closeWrite
		for n := 0; n < drainLimit; {
			k, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT)
			if k <= 0 && err != unix.EINTR {
				return
			}
			n += max(k, 0)
		}
	})
}

func (t *socket) close() error {
	t.c.mu.Lock()
	if t.key != 0 {
		crosses.remove(t)
		_ = t.raw.Control(crosses.forget) // fails where closing it has done that
	}
	t.c.mu.Unlock()
	return t.conn.Close()
}
