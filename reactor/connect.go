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

// Connect begins to connect to remote over TCP, without waiting, and makes the loop drive the
// connection; any goroutine may call it, also a loop's own. h hears OnOpen, or OnClose alone if connecting or
// the handshake failed; Limits.HandshakeTimeout bounds both together. x is a client's Context.
// Where cfg.ServerName is empty, it is the IP address. TCP_NODELAY and LoopConfig.KeepAlive are set; for other options
// of the socket, make it yourself and use [Loop.Attach].
//
// An error, a *net.OpError or one of Attach's, means that h hears nothing. It is what the system
// says at once, such as EADDRNOTAVAIL when there is no local port left; that nobody listens it may say later.
func (l *Loop) Connect(remote netip.AddrPort, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) error {
	fd, err := startConnect(remote, l.cfg.KeepAlive)
	if err != nil {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = remote.Addr().String()
	}
	c, err := newConn(fd, x, cfg, h, data)
	if err != nil {
		return err
	}
	c.remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	return l.attach(c)
}

// startConnect makes a non-blocking socket that connects to remote.
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

// sockaddr is the opposite of addrPort.
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
