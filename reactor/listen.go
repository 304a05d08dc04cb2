package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens listening sockets for addr: "host:port" (IPv4, IPv6 or a name)
// gets n that share the port (SO_REUSEPORT), one for each loop; "unix:/path"
// gets one.
func listen(addr string, n int) ([]net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		l, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	lc := net.ListenConfig{}
	if n > 1 {
		// With SO_REUSEPORT the kernel would let our sockets join those of
		// another server of the same user. A socket without it fails if the
		// port is in use.
		probe, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, err
		}
		addr = probe.Addr().String()
		probe.Close()
		lc.Control = reusePort
	}
	var out []net.Listener
	for len(out) < n {
		l, err := lc.Listen(context.Background(), "tcp", addr)
		if err != nil {
			closeAll(out)
			return nil, err
		}
		out = append(out, l)
		addr = l.Addr().String() // the kernel chooses for port 0 once
	}
	return out, nil
}

func reusePort(_, _ string, rc syscall.RawConn) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		l.Close()
	}
}

// dupListener duplicates the descriptor of a listener.
func dupListener(l net.Listener, keepAlive time.Duration) (int, error) {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("reactor: a listener of type %T has no file descriptor; use a *net.TCPListener or *net.UnixListener", l)
	}
	fd, err := dup(sc)
	if err != nil {
		return -1, err
	}
	// Accepted sockets inherit the options, which saves system calls. A unix
	// socket has none of them.
	err = setOptions(fd, keepAlive)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOPROTOOPT) {
		unix.Close(fd)
		return -1, fmt.Errorf("reactor: setting options of a listening socket: %w", os.NewSyscallError("setsockopt", err))
	}
	return fd, nil
}

// dup duplicates the descriptor of a socket of package net. The result is
// non-blocking, and only its owner closes it. (The *os.File of net's File
// method has a finalizer: it would close a number that may be another socket's
// by then.)
func dup(sc syscall.Conn) (int, error) {
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var derr error
	if err := rc.Control(func(f uintptr) { fd, derr = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if derr != nil {
		return -1, fmt.Errorf("fcntl(F_DUPFD_CLOEXEC): %w", derr)
	}
	// os.File's Fd makes all duplicates blocking, and a loop must never block.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("fcntl(O_NONBLOCK): %w", err)
	}
	return fd, nil
}
