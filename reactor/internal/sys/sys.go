// Package sys has the system calls of a loop as variables, so that tests can
// inject errors that the kernel seldom returns (package faults). Nothing else
// may set them, and only before the first loop runs. A call through a variable
// costs about a nanosecond; the arguments are values, so that nothing escapes
// to the heap.
package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"

	_ "github.com/spacemonad/go-openssl/internal/platform" // fails to build with a clear message on unsupported platforms
)

var (
	// Accept4 accepts a connection, non-blocking and close-on-exec, and returns
	// the peer's address. Unlike unix.Accept4 it makes no getsockopt call and
	// does not allocate.
	Accept4 = accept4
	// EpollCtl is epoll_ctl(2).
	EpollCtl = epollCtl
	// EpollWait is epoll_wait(2) for up to len(events) events and timeout
	// milliseconds (-1: without limit).
	EpollWait = epollWait
	// Recv and Send are recv(2) and send(2) with MSG_DONTWAIT, for plain text.
	// Unlike unix.Recvfrom they do not allocate.
	Recv = recv
	Send = send
)

func recv(fd int, p []byte, flags int) (int, unix.Errno) {
	return transfer(unix.SYS_RECVFROM, fd, p, flags)
}
func send(fd int, p []byte, flags int) (int, unix.Errno) {
	return transfer(unix.SYS_SENDTO, fd, p, flags)
}

func transfer(call uintptr, fd int, p []byte, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	return int(n), errno
}

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
		// It does not block, so the scheduler need not know about it.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(timeout), 0, 0)
	return int(n), errno
}
