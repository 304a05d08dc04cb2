// Package poller waits for many descriptors by epoll, for one goroutine.
package poller

import (
	"fmt"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/reactor/internal/sys"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

// Poller is an epoll instance (level-triggered) with an eventfd to wake it. Only
// Wake may be called from another goroutine than the one that calls Wait.
type Poller struct {
	epoll  int
	wake   int
	woken  atomic.Bool
	events []unix.EpollEvent
}

// Key identifies what was added; it comes back with each event.
type Key uint64

// WakeKey is the Poller's own: of the event that Wake brings.
const WakeKey = ^Key(0)

// Polled is one event.
type Polled struct {
	Key Key
	// Event: a hang-up or an error counts as both directions.
	Event session.Event
	// HangUp: the event was EPOLLHUP or EPOLLERR, which epoll reports whether or not they are waited for.
	HangUp bool
}

// New makes a Poller that takes up to batch events at a time.
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
	// Edge-triggered, for this one alone: it fires once for each write, and its
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
	p.wake, p.epoll = -1, -1 // the numbers are soon others'
}

// FD is the descriptor of the epoll instance, or -1 after Close.
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

// Add registers fd with the events to wait for.
func (p *Poller) Add(fd int, k Key, e session.Event) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, k, mask(e))
}

// AddExclusive registers a descriptor that several Pollers wait for, so that one
// event wakes about one of them (EPOLLEXCLUSIVE). It cannot be modified, only removed.
func (p *Poller) AddExclusive(fd int, k Key, e session.Event) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, k, mask(e)|unix.EPOLLEXCLUSIVE)
}

// Modify changes what to wait for.
func (p *Poller) Modify(fd int, k Key, e session.Event) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, k, mask(e))
}

// Remove takes fd out.
func (p *Poller) Remove(fd int) error {
	return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0)
}

// Wait waits up to timeout milliseconds (0: not at all, -1: without end) and
// answers how many events there are. A call that a signal interrupts answers 0.
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

// At is event i of the last Wait.
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

// Wake makes the current or next Wait return, from any goroutine. Calls before
// the loop has taken notice cost nothing. What the loop is to find must be
// in place before.
func (p *Poller) Wake() {
	if p.woken.Swap(true) {
		return
	}
	one := [8]byte{1}
	// It fails only if 2^64-2 calls were never taken notice of.
	_, _ = unix.Write(p.wake, one[:])
}
