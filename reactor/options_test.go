package reactor

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// keepAliveOf reads back what the system does for a socket: the idle time, the interval and the number of probes, or nothing.
func keepAliveOf(t testing.TB, fd int) (options [3]int) {
	t.Helper()
	if noDelay, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); noDelay == 0 && err == nil {
		t.Error("TCP_NODELAY is not set")
	}
	on := tlstest.Value(unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE))(t)
	if on == 0 {
		return options
	}
	for i, name := range []int{unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT} {
		options[i] = tlstest.Value(unix.GetsockoptInt(fd, unix.IPPROTO_TCP, name))(t)
	}
	return options
}

// TestKeepAlive: what is accepted and what connects has keep-alive as package net has it, also where the listening socket is
// inherited from a process that set it otherwise, and connections wait there.
func TestKeepAlive(t *testing.T) {
	inherited := func(t *testing.T) net.Listener {
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		fd := tlstest.Value(dup(l.(*net.TCPListener)))(t)
		defer unix.Close(fd)
		tlstest.Must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
		tlstest.Must(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77))
		return l
	}
	for _, c := range []struct {
		name string
		set  time.Duration
		want [3]int
	}{
		{"default", 0, [3]int{15, 15, 9}},
		{"one minute", time.Minute, [3]int{60, 15, 9}},
		{"part of a second", 1100 * time.Millisecond, [3]int{2, 15, 9}},
		{"the greatest", never, [3]int{32767, 15, 9}},
		{"none", -1, [3]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := clientContext(t, nil)
			clients := startLoop(t, LoopConfig{KeepAlive: c.set})
			for _, loops := range []int{1, 2} {
				for _, own := range []bool{true, false} {
					got := make(chan [3]int, 2)
					report := &hooks{open: func(c *Conn) { got <- keepAliveOf(t, c.fd) }}
					s := &Server{Handler: report, Loops: loops, KeepAlive: c.set}
					var addr net.Addr
					if own {
						addr = start(t, s)
					} else {
						l := inherited(t)
						addr = l.Addr()
						waiting := rawDial(t, addr) // since before there was a Server
						serveOn(t, s, l)
						goOver(t, waiting)
						if o := tlstest.Receive(t, got, "OnOpen"); o != c.want {
							t.Errorf("%d loops, from the backlog: %v, want %v", loops, o, c.want)
						}
					}
					tlstest.Must(t, clients.Connect(addr.(*net.TCPAddr).AddrPort(), x, csslLocalhost, report, nil))
					for range 2 {
						if o := tlstest.Receive(t, got, "OnOpen"); o != c.want {
							t.Errorf("%d loops, own %v: %v, want %v", loops, own, o, c.want)
						}
					}
				}
			}
		})
	}
}

// TestKeepAliveUnix: a unix socket has none, and needs none.
func TestKeepAliveUnix(t *testing.T) {
	got := make(chan [3]int, 1)
	s := &Server{Handler: &hooks{open: func(c *Conn) { got <- keepAliveOf(t, c.fd) }}, Addr: "unix:" + filepath.Join(t.TempDir(), "socket")}
	goDial(t, start(t, s))
	if o := tlstest.Receive(t, got, "OnOpen"); o != [3]int{} {
		t.Errorf("%v", o)
	}
}
