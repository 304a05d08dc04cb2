package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// connsPerSource is how many connections one of our addresses may have to the target: there are
// about 28,000 ports (net.ipv4.ip_local_port_range).
const connsPerSource = 25000

// resolve answers the addresses of a target that Check has accepted.
func resolve(target string, timeout time.Duration) ([]netip.AddrPort, error) {
	host, port, _ := net.SplitHostPort(target)
	n, _ := net.LookupPort("tcp", port)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, err)
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
	}
	return addrs, nil
}

// connect begins a connection to addr, as number index of all; the socket may still be connecting.
func connect(addr netip.AddrPort, index int) (fd int, err error) {
	family, sa := sockaddr(addr)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return -1, fmt.Errorf("TCP_NODELAY: %w", err)
	}
	if source := index / connsPerSource; source > 0 && addr.Addr().Is4() && addr.Addr().IsLoopback() {
		// The port is chosen by connect, which knows the target's address; bind alone would want
		// a port that no other connection uses.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return -1, fmt.Errorf("IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
		from := [4]byte{127, 0, byte((1 + source) >> 8), byte(1 + source)}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from}); err != nil {
			return -1, fmt.Errorf("bind to %v: %w", netip.AddrFrom4(from), err)
		}
	}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		if err == unix.EADDRNOTAVAIL {
			return -1, fmt.Errorf("connect: %w: every local port is in use, or rests for a minute after its last connection; "+
				"use fewer connections or widen net.ipv4.ip_local_port_range", err)
		}
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	in6 := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			in6.ZoneId = uint32(i.Index)
		}
	}
	return unix.AF_INET6, in6
}

// spareFiles is how many descriptors are left to the rest of the process.
const spareFiles = 64

// needFiles sees to it that there are descriptors for n connections at once. Package os has raised the soft limit.
func (c *Config) needFiles(n int) error {
	each := 1
	if c.Kind == Handshake || c.Kind == Resume {
		each = 2 // the next connection begins before the last one's descriptor is closed
	}
	others := spareFiles + 2*c.Loops // an epoll instance and an eventfd for each loop
	need := uint64(n*each + others)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	if need > limit.Cur {
		return fmt.Errorf("%d connections need %d file descriptors, and this process may have %d: "+
			"use at most %d connections, or raise the hard limit (ulimit -Hn, or LimitNOFILE= of systemd)",
			n, need, limit.Cur, max(0, (int(limit.Cur)-others)/each))
	}
	return nil
}
