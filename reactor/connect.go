package reactor

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"golang.org/x/sys/unix"
)

// Connect starts to connect to remote over TCP, without waiting, and lets the
// loop drive the connection. Any goroutine may call it, including the loop's.
// h.OnOpen is called when the handshake is done; if connecting or the handshake
// fails, only h.OnClose is called. Limits.HandshakeTimeout bounds both
// together. x is a client's Context. If cfg.ServerName is empty, the IP address
// is verified. TCP_NODELAY and LoopConfig.KeepAlive are set; for other socket
// options, make the socket and call [Loop.Attach].
//
// Connect returns a *net.OpError if the kernel refuses at once, for example
// with EADDRNOTAVAIL when local ports have run out, and Attach's errors. After
// an error h is not called. ECONNREFUSED usually arrives later, through
// OnClose.
func (l *Loop) Connect(remote netip.AddrPort, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) error {
	fd, cfg, err := l.startConnect(remote, cfg)
	if err != nil {
		return err
	}
	c, err := newConn(fd, x, cfg, h, data)
	if err != nil {
		return err
	}
	c.remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	return l.attach(c)
}

// startConnect starts to connect to remote, and completes cfg for it.
func (l *Loop) startConnect(remote netip.AddrPort, cfg cssl.ConnConfig) (int, cssl.ConnConfig, error) {
	fd, err := startConnect(remote, l.cfg.KeepAlive)
	if err != nil {
		return -1, cfg, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = remote.Addr().String()
	}
	return fd, cfg, nil
}

// startConnect makes a non-blocking socket and starts to connect it to remote.
func startConnect(remote netip.AddrPort, keepAlive time.Duration) (int, error) {
	family, sa, err := sockaddr(remote)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := setOptions(fd, keepAlive); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// sockaddr is the inverse of addrPort.
func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr, err error) {
	ip := a.Addr().Unmap()
	switch {
	case ip.Is4():
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, nil
	case !ip.IsValid():
		return 0, nil, &net.AddrError{Err: "not an IP address", Addr: a.String()}
	}
	in := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		n, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			i, err := net.InterfaceByName(zone)
			if err != nil {
				return 0, nil, err
			}
			n = uint64(i.Index)
		}
		in.ZoneId = uint32(n)
	}
	return unix.AF_INET6, in, nil
}
