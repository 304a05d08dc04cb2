// Package sys has the system calls on which a loop stands, as variables: the kernel gives some of its
// answers too seldom to wait for them, so a test (package faults) puts itself between. Nothing else
// may set them, and only before the first loop runs. A call through a variable costs
// about a nanosecond; the arguments are values, so that nothing moves to the heap for it.
package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"

	_ "github.com/spacemonad/go-openssl/internal/platform" // says what is needed where this package does not build
)

var (
	// Accept4 takes one connection, non-blocking and close-on-exec, with the peer's address. It does
	// what unix.Accept4 does without the getsockopt and the allocations.
	Accept4 = accept4
	// EpollCtl is epoll_ctl(2).
	EpollCtl = epollCtl
	// EpollWait is epoll_wait(2) for up to len(events) events and timeout milliseconds (-1: without end).
	EpollWait = epollWait
)

func accept4(fd int) (int, unix.RawSockaddrAny, unix.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), sa, errno
}

func epollCtl(epoll, op, fd int, ev unix.EpollEvent) error { return unix.EpollCtl(epoll, op, fd, &ev) }

func epollWait(epoll int, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
	if timeout == 0 {
		// It does not block, so the scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(timeout), 0, 0)
	return int(n), errno
}
