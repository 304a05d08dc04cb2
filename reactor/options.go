package reactor

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// The defaults of package net (net.KeepAliveConfig).
const (
	defaultKeepAlive  = 15 * time.Second
	keepAliveInterval = 15 // seconds
	keepAliveCount    = 9
)

// mostKeepAlive is the maximum of TCP_KEEPIDLE (MAX_TCP_KEEPIDLE in Linux).
const mostKeepAlive = math.MaxInt16 * time.Second

// setOptions sets TCP_NODELAY and the keep-alive options of a TCP socket.
// keepAlive is the idle time before probes; 0 means the default, and a negative
// value turns probes off. Accepted connections inherit the options of their
// listening socket.
func setOptions(fd int, keepAlive time.Duration) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	idle := keepAlive
	if idle < 0 {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	}
	if idle == 0 {
		idle = defaultKeepAlive
	}
	seconds := int((min(idle, mostKeepAlive) + time.Second - 1) / time.Second)
	for _, o := range [...]struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveInterval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}
