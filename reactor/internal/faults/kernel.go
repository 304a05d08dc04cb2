package faults

import (
	"unsafe"

	"github.com/spacemonad/go-openssl/reactor/internal/sys"
	"golang.org/x/sys/unix"
)

// #include "shim.h"
import "C"

// init replaces the variables before any loop runs, and never restores them, so
// that no loop reads them meanwhile.
func init() {
	plan.first = map[int]int{}
	accept, control, wait := sys.Accept4, sys.EpollCtl, sys.EpollWait
	sys.Recv, sys.Send = plainly(PlainRecv, sys.Recv), plainly(PlainSend, sys.Send)
	sys.Accept4 = func(fd int) (int, unix.RawSockaddrAny, unix.Errno) {
		if errno := chosen(Accept, fd, 0, fd); errno != 0 {
			return -1, unix.RawSockaddrAny{}, errno
		}
		n, sa, errno := accept(fd)
		if errno == 0 {
			accepted(n, &sa)
		}
		return n, sa, errno
	}
	sys.EpollCtl = func(epoll, op, fd int, ev unix.EpollEvent) error {
		if errno := chosen(EpollCtl, epoll, op, fd); errno != 0 {
			return errno
		}
		err := control(epoll, op, fd, ev)
		if err == nil && op == unix.EPOLL_CTL_ADD {
			added(epoll, fd, ev)
		}
		return err
	}
	sys.EpollWait = func(epoll int, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
		if errno := chosen(EpollWait, epoll, 0, 0); errno != 0 {
			return -1, errno
		}
		return wait(epoll, events, timeout)
	}
}

// plainly injects the faults of recv or send in plain text.
func plainly(k Kind, call func(int, []byte, int) (int, unix.Errno)) func(int, []byte, int) (int, unix.Errno) {
	return func(fd int, p []byte, flags int) (int, unix.Errno) {
		switch errno := int(chosen(k, fd, 0, fd)); errno {
		case 0:
		case Short:
			p = p[:min(len(p), 1)]
		default:
			return -1, unix.Errno(errno)
		}
		return call(fd, p, flags)
	}
}

// chosen counts a call of Go on fd, and returns the errno to inject, or 0. It
// keeps op and about for the report.
func chosen(k Kind, fd, op, about int) unix.Errno {
	plan.mu.Lock()
	defer plan.mu.Unlock()
	f, r := &plan.armed, &plan.report
	if f.Kind != k || f.FD != 0 && f.FD != fd {
		return 0
	}
	r.Calls++
	if f.Call == 0 || r.Calls < f.Call || r.Calls > f.Call && !f.Forever {
		return 0
	}
	r.Hit, r.Op, r.FD = true, op, about
	return unix.Errno(f.Answer)
}

// accepted aims a fault that waits for the next connection at fd.
func accepted(fd int, sa *unix.RawSockaddrAny) {
	plan.mu.Lock()
	defer plan.mu.Unlock()
	if plan.armed.Accepted && (plan.armed.Peer == 0 || plan.armed.Peer == port(sa)) {
		plan.armed.Accepted, plan.armed.FD = false, fd
		C.shim_aim(C.int(fd))
	}
}

// port returns the port of an IPv4 address, or 0.
func port(sa *unix.RawSockaddrAny) int {
	if sa.Addr.Family != unix.AF_INET {
		return 0
	}
	p := (*[2]byte)(unsafe.Pointer(&(*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Port))
	return int(p[0])<<8 | int(p[1])
}

// added records a poller. The eventfd that wakes it is the first descriptor
// that is added, and the only one that is edge-triggered.
func added(epoll, fd int, ev unix.EpollEvent) {
	plan.mu.Lock()
	defer plan.mu.Unlock()
	if ev.Events&unix.EPOLLET != 0 {
		plan.pollers = append(plan.pollers, epoll)
		plan.first[epoll] = 0
	} else if plan.first[epoll] == 0 {
		plan.first[epoll] = fd
	}
}

// Pollers returns the pollers that were made since the last call, oldest first.
func Pollers() []int {
	plan.mu.Lock()
	defer plan.mu.Unlock()
	out := plan.pollers
	plan.pollers = nil
	return out
}

// First returns the first descriptor that was added to a poller, or 0. For a
// server that is its listener.
func First(epoll int) int {
	plan.mu.Lock()
	defer plan.mu.Unlock()
	return plan.first[epoll]
}
