package sslnet

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A crossPoller waits where Go's poller cannot: for a Read that must write, and
// for a Write that must read. Go's poller has one place for each direction of a
// descriptor, and the other half may occupy it.
//
// It is one epoll instance that holds the sockets' own descriptors. Duplicates
// of the descriptors would be simpler, but a duplicate would keep the
// connection open after its owner's Close: the peer would get neither FIN nor
// RST. epoll holds no reference, and forgets a descriptor that is closed
// (epoll(7), Q6).
//
// Each registration is level-triggered and fires once (EPOLLONESHOT), so no
// event is lost. One goroutine waits for all of them. It runs while any socket
// is registered.
type crossPoller struct {
	mu      sync.Mutex
	epoll   int      // created when first needed
	file    *os.File // epoll as a file, for Go's poller
	running bool
	last    uint64
	sockets map[uint64]*socket
}

// crossFDs is the only crossPoller of the process.
var crossFDs = crossPoller{sockets: map[uint64]*socket{}}

// add registers t under a new key. remove undoes it.
func (p *crossPoller) add(t *socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return os.NewSyscallError("epoll_create1", err)
		}
		if err := unix.SetNonblock(fd, true); err != nil { // for Go's poller
			unix.Close(fd)
			return os.NewSyscallError("fcntl", err)
		}
		p.epoll, p.file = fd, os.NewFile(uintptr(fd), "epoll")
	}
	if !p.running {
		raw, err := p.file.SyscallConn()
		if err == nil {
			err = p.file.SetReadDeadline(time.Time{}) // set by remove
		}
		if err != nil {
			return fmt.Errorf("sslnet: Go's poller does not accept an epoll descriptor: %w", err)
		}
		p.running = true
		go p.run(raw)
	}
	p.last++
	t.key = p.last
	p.sockets[t.key] = t
	return nil
}

// remove drops t. Events of t are ignored from then on.
func (p *crossPoller) remove(t *socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sockets, t.key)
	if len(p.sockets) == 0 && p.running {
		_ = p.file.SetReadDeadline(past) // ends run
	}
}

// arm requests one call of t.fire when fd is ready for one of the events.
func (p *crossPoller) arm(fd uintptr, t *socket, events uint32) error {
	op := unix.EPOLL_CTL_MOD
	if t.key == 0 {
		if err := p.add(t); err != nil {
			return err
		}
		op = unix.EPOLL_CTL_ADD
	}
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(uint32(t.key)), Pad: int32(uint32(t.key >> 32))}
	err := unix.EpollCtl(p.epoll, op, int(fd), &ev)
	if err != nil && op == unix.EPOLL_CTL_ADD {
		p.remove(t)
		t.key = 0
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// forget removes fd from epoll. Closing fd does that too, unless a duplicate
// (net.TCPConn.File) keeps the socket open.
func (p *crossPoller) forget(fd uintptr) {
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, int(fd), nil)
}

func (p *crossPoller) run(raw syscall.RawConn) {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0) // no wait, so no EINTR
			return n > 0
		})
		p.mu.Lock()
		if err != nil { // the deadline of remove
			if len(p.sockets) == 0 {
				p.running = false
				p.mu.Unlock()
				return
			}
			_ = p.file.SetReadDeadline(time.Time{}) // a socket was added
		}
		for _, ev := range events[:max(n, 0)] {
			if t := p.sockets[uint64(uint32(ev.Fd))|uint64(uint32(ev.Pad))<<32]; t != nil {
				go t.fire(ev.Events) // waits for the lock of the Conn
			}
		}
		p.mu.Unlock()
	}
}
