package sslnet

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// past is a deadline that makes Go's poller end a wait.
var past = time.Unix(1, 0)

// A socket is the transport of a Conn that uses a socket directly. Go's poller
// holds the descriptor and says when a half may try again; cssl calls send and
// recv. The descriptor is used only inside calls of raw, which keep it open.
// Outside them, its number could already be another file's.
type socket struct {
	c    *Conn
	conn socketConn
	raw  syscall.RawConn
	// tries are the functions for raw, one for each half, made once.
	tries [2]func(uintptr) bool

	// For a half that waits for the other direction: the key in crossFDs (0
	// before the first such wait), and the directions that crossFDs watches.
	key      uint64
	watching [2]bool
}

// socketConn is a *net.TCPConn or a *net.UnixConn.
type socketConn interface {
	net.Conn
	syscall.Conn
}

// socketOf returns conn if it is a stream socket of package net.
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
		_ = t.poll(s, past) // fails only if closed, which also wakes
	}
}

func (t *socket) restoreDeadline(s *half) {
	if s.woken {
		s.woken = false
		_ = t.poll(s, s.deadline)
	}
}

func (t *socket) setDeadline(s *half, d time.Time) error {
	s.deadline, s.stale = d, !s.known || d != s.applied
	switch {
	case s.woken: // restoreDeadline will apply it
		return nil
	case !s.runs: // start will
		return t.open()
	}
	return t.poll(s, d)
}

// open returns an error if somebody has closed the socket.
func (t *socket) open() error { return t.raw.Control(func(uintptr) {}) }

// start applies the deadline. net/http sets several for each request of which
// only one is ever waited for.
func (t *socket) start(s *half) (late bool) {
	if !s.stale {
		return false
	}
	if !s.deadline.IsZero() && time.Until(s.deadline) <= 0 && s.task != taskClose {
		return t.open() == nil
	}
	_ = t.poll(s, s.deadline) // fails only if the socket is closed, as run will
	return false
}

// poll sets the deadline of s in Go's poller.
func (t *socket) poll(s *half, d time.Time) error {
	s.applied, s.known, s.stale = d, true, d != s.deadline
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

// arm requests one event in the watched directions.
func (t *socket) arm() (err error) {
	var events uint32
	if t.watching[readable] {
		events |= unix.EPOLLIN
	}
	if t.watching[writable] {
		events |= unix.EPOLLOUT
	}
	if cerr := t.raw.Control(func(fd uintptr) { err = crossFDs.arm(fd, t, events) }); cerr != nil {
		return cerr
	}
	return err
}

// fire handles an event that arm requested. It runs on its own goroutine. A
// hang-up or an error counts as both directions.
func (t *socket) fire(events uint32) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	both := events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	was := t.watching
	t.watching[readable] = was[readable] && !both && events&unix.EPOLLIN == 0
	t.watching[writable] = was[writable] && !both && events&unix.EPOLLOUT == 0
	if t.watching != [2]bool{} {
		_ = t.arm() // fails only if the socket is closed; then nobody waits
	}
	for _, d := range []direction{readable, writable} {
		if was[d] && !t.watching[d] {
			_ = t.raw.Control(func(uintptr) { t.c.onReady(d) })
		}
	}
}

func (t *socket) use(f func() error) (err error) {
	if cerr := t.raw.Control(func(uintptr) { err = f() }); cerr != nil {
		return cerr
	}
	return err
}

func (t *socket) moved(tlsio.Result)       {}
func (t *socket) blocked(tlsio.Want) error { return nil }
func (t *socket) flushed() bool            { return true }

func (t *socket) closeWrite() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	// An error means that the peer has reset the connection: Read returns it.
	_ = t.raw.Control(func(uintptr) { _ = t.c.tls.CloseWrite() })
}

func (t *socket) finish() {
	buf := copyBuffers.Get().(*[4 * tlsio.MaxPlaintext]byte)
	defer copyBuffers.Put(buf)
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
		crossFDs.remove(t)
		_ = t.raw.Control(crossFDs.forget) // fails only if closed already
	}
	t.c.mu.Unlock()
	return t.conn.Close()
}
