// Package poller waits for many descriptors with epoll, for one goroutine.
package poller

import (
	"fmt"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/reactor/internal/sys"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

// Poller is a level-triggered epoll instance with an eventfd to wake it. Only
// the goroutine that calls Wait may call its methods, except Wake.
type Poller struct {
	epoll  int
	wake   int
	woken  atomic.Bool
	events []unix.EpollEvent
}

// Key identifies a registered descriptor. Each event carries it.
type Key uint64

// WakeKey is the key of the event that Wake causes.
const WakeKey = ^Key(0)

// Polled is one event.
type Polled struct {
	Key Key
	// Event is both directions after a hang-up or an error.
	Event session.Event
	// HangUp is set for EPOLLHUP and EPOLLERR, which epoll always reports.
	HangUp bool
}

// New returns a Poller that takes up to batch events at a time.
func New(batch int) (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &Poller{epoll: epoll, wake: wake, events: make([]unix.EpollEvent, batch)}
	// The eventfd alone is edge-triggered: each write causes one event, and its
	// counter need not be read.
	if err := p.control(unix.EPOLL_CTL_ADD, wake, WakeKey, unix.EPOLLIN|unix.EPOLLET); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close closes both descriptors. No Wake may run at the same time or later.
func (p *Poller) Close() {
	unix.Close(p.wake)
	unix.Close(p.epoll)
	p.wake, p.epoll = -1, -1 // the numbers may be reused
}

// FD returns the descriptor of the epoll instance, or -1 after Close.
func (p *Poller) FD() int { return p.epoll }

func (p *Poller) control(op, fd int, k Key, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(uint32(k)), Pad: int32(uint32(k >> 32))}
	if err := sys.EpollCtl(p.epoll, op, fd, ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func mask(e session.Event) (m uint32) {
	if e&session.Readable != 0 {
		m |= unix.EPOLLIN
	}
	if e&session.Writable != 0 {
		m |= unix.EPOLLOUT
	}
	return m
}

// Add registers fd and the events to wait for.
func (p *Poller) Add(fd int, k Key, e session.Event) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, k, mask(e))
}

// AddExclusive registers a descriptor that several Pollers wait for
// (EPOLLEXCLUSIVE), so that an event wakes about one of them. It can be removed
// but not modified.
func (p *Poller) AddExclusive(fd int, k Key, e session.Event) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, k, mask(e)|unix.EPOLLEXCLUSIVE)
}

// Modify changes the events to wait for.
func (p *Poller) Modify(fd int, k Key, e session.Event) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, k, mask(e))
}

// Remove unregisters fd.
func (p *Poller) Remove(fd int) error {
	return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0)
}

// Wait waits up to timeout milliseconds (0: not at all, -1: without limit) and
// returns the number of events. It returns 0 when a signal interrupts it.
func (p *Poller) Wait(timeout int) (int, error) {
	n, errno := sys.EpollWait(p.epoll, p.events, timeout)
	switch errno {
	case 0:
		return n, nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("epoll_wait: %w", errno)
}

// At returns event i of the last Wait.
func (p *Poller) At(i int) Polled {
	ev := &p.events[i]
	out := Polled{Key: Key(uint32(ev.Fd)) | Key(uint32(ev.Pad))<<32}
	if out.Key == WakeKey {
		p.woken.Store(false)
		return out
	}
	if ev.Events&unix.EPOLLIN != 0 {
		out.Event |= session.Readable
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		out.Event |= session.Writable
	}
	if ev.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		out.Event, out.HangUp = session.Readable|session.Writable, true
	}
	return out
}

// Wake makes the current or next Wait return. Any goroutine may call it.
// Further calls cost no system call until Wait's event has been taken with At.
// Whatever the loop is to find must be in place before the call.
func (p *Poller) Wake() {
	if p.woken.Swap(true) {
		return
	}
	one := [8]byte{1}
	// It fails only if 2^64-2 writes were never read.
	_, _ = unix.Write(p.wake, one[:])
}
