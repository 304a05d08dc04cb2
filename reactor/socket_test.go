package reactor

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// TestListenerDuplicate: the application keeps a duplicate of the listening socket, as for
// a successor. epoll would go on reporting it after our descriptor is closed (P32).
func TestListenerDuplicate(t *testing.T) {
	nl := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	f := tlstest.Value(nl.(*net.TCPListener).File())(t)
	defer f.Close()
	s := &Server{Handler: echo()}
	serveOn(t, s, nl)
	roundTrip(t, goDial(t, nl.Addr()), "hello") // it does not read, so the drain lasts
	ctx, cancel := context.WithCancel(context.Background())
	done := tlstest.Later(func() error { return s.Shutdown(ctx) })
	tlstest.Until(t, "the close to begin", func() bool { return s.Stats().Sessions.Results[tlsio.OpShutdown][tlsio.WantNone] == 1 })
	rawDial(t, nl.Addr()) // for the successor
	tlstest.Until(t, "rest, with a listener that is closed", func() bool { return !spins(t, s.loops[0]) })
	cancel()
	tlstest.Receive(t, done, "Shutdown")
}

// TestListenerLetGo: while Go's own poller knows the listening socket too, each connection that comes wakes one
// thread more for nothing. A unix listener has its path to look after.
func TestListenerLetGo(t *testing.T) {
	tcp := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	path := filepath.Join(t.TempDir(), "socket")
	local := tlstest.Value(net.Listen("unix", path))(t)
	s := &Server{Handler: echo(), Loops: 2}
	for _, l := range []net.Listener{tcp, local} {
		serveOn(t, s, l)
		roundTrip(t, goDial(t, l.Addr()), "hello") // the address is known all the time
	}
	_, err := tcp.Accept()
	tlstest.IsError(t, "Accept by package net", err, net.ErrClosed)
	tlstest.Value(os.Stat(path))(t)
	tlstest.Must(t, s.Close())
	_, err = os.Stat(path)
	tlstest.IsError(t, "the path of a closed listener", err, fs.ErrNotExist)
}

// TestListenerBlocking (P41): os.File's Fd makes all duplicates of a socket blocking, before the loops have their
// listener or later. They must not hang in accept, although each is woken for what another one has taken.
func TestListenerBlocking(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, tt := range []struct {
			later bool
			loops int
		}{{false, 1}, {false, 2}, {true, 2}} {
			t.Run(fmt.Sprintf("%s, %+v", network, tt), func(t *testing.T) {
				address := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")}[network]
				nl := tlstest.Value(net.Listen(network, address))(t)
				addr := nl.Addr()
				f := tlstest.Value(nl.(interface{ File() (*os.File, error) }).File())(t)
				defer f.Close()
				if !tt.later {
					f.Fd()
				}
				s := &Server{Handler: echo(), Loops: tt.loops}
				serveOn(t, s, nl)
				if tt.later {
					f.Fd()
				}
				var clients []net.Conn
				for range 5 {
					clients = append(clients, goDial(t, addr))
					for _, c := range clients {
						roundTrip(t, c, "hello")
					}
				}
				tlstest.Must(t, s.Ping(guarded(t)))
			})
		}
	}
}

// TestAttachBlocking (P42): a socket that blocks is handed over, or is made one later. The loop's others are served.
func TestAttachBlocking(t *testing.T) {
	l, sx := startLoop(t, LoopConfig{}), serverContext(t, "ecdsa", nil)
	attach := func(later bool) net.Conn {
		t.Helper()
		a, b := socketPair(t)
		dup := tlstest.Value(unixDup(a))(t)
		t.Cleanup(func() { unix.Close(dup) })
		tlstest.Must(t, unix.SetNonblock(dup, false))
		tlstest.Must(t, l.Attach(a, sx, csslNone, echo(), nil))
		mode := tlstest.Value(unix.FcntlInt(uintptr(dup), unix.F_GETFL, 0))(t)
		tlstest.Equal(t, "what Attach leaves", mode&unix.O_NONBLOCK, unix.O_NONBLOCK)
		tlstest.Must(t, unix.SetNonblock(dup, !later))
		f := os.NewFile(uintptr(b), "peer")
		defer f.Close()
		c := tlstest.Value(net.FileConn(f))(t)
		t.Cleanup(func() { c.Close() })
		tlstest.Must(t, c.SetDeadline(time.Now().Add(tlstest.Hang)))
		return c
	}
	for _, later := range []bool{false, true} {
		silent := attach(later)
		roundTrip(t, goOver(t, attach(later)), "hello")
		roundTrip(t, goOver(t, silent), "hello")
	}
	tlstest.IsError(t, "Attach of no descriptor", l.Attach(1<<20, sx, csslNone, echo(), nil), unix.EBADF)
}

// TestAttachDuplicate: the caller keeps a duplicate of a descriptor that it handed over.
func TestAttachDuplicate(t *testing.T) {
	addr := start(t, &Server{Handler: echo()})
	l := startLoop(t, LoopConfig{})
	fd := connect(t, addr, 0)
	dup := tlstest.Value(unixDup(fd))(t)
	defer unix.Close(dup)
	h, closed := ends(&hooks{open: func(c *Conn) { c.Close() }})
	tlstest.Must(t, l.Attach(fd, clientContext(t, nil), csslLocalhost, h, nil))
	tlstest.Must(t, tlstest.Receive(t, closed, "OnClose"))
	tlstest.Until(t, "rest, with a connection that is closed", func() bool { return !spins(t, l) })
}

// TestSharedListenerFull: of two loops that share a listener one is full of handshakes. The other one serves.
func TestSharedListenerFull(t *testing.T) {
	nl := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	addr := nl.Addr()
	s := &Server{Handler: echo(), Loops: 2, Limits: Limits{MaxHandshakes: 2, HandshakeTimeout: tlstest.Hang}}
	serveOn(t, s, nl)
	rawDial(t, addr)
	tlstest.Until(t, "one handshake", func() bool { return s.Stats().Handshaking == 1 })
	for range 5 {
		roundTrip(t, goDial(t, addr), "hello")
	}
}

// keepAliveOf reads back what the system does for a socket: the idle time, the interval and the number of probes,
// or nothing.
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

// TestKeepAlive: what is accepted and what connects has keep-alive as package net has it, also where the listening
// socket is inherited from a process that set it otherwise, and connections wait there.
func TestKeepAlive(t *testing.T) {
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
			for loops := 1; loops <= 2; loops++ {
				h, opened := opens(&hooks{})
				want := func(who string) {
					t.Helper()
					tlstest.Equal(t, fmt.Sprintf("%d loops, %s", loops, who), keepAliveOf(t, tlstest.Receive(t, opened, "OnOpen").fd), c.want)
				}
				own, heir := &Server{Handler: h, Loops: loops, KeepAlive: c.set}, &Server{Handler: h, Loops: loops, KeepAlive: c.set}
				inherited := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
				fd := tlstest.Value(dup(inherited.(*net.TCPListener)))(t)
				tlstest.Must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
				tlstest.Must(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77))
				unix.Close(fd)
				waiting := rawDial(t, inherited.Addr()) // since before there was a Server
				serveOn(t, heir, inherited)
				goOver(t, waiting)
				want("from the backlog")
				for _, addr := range []net.Addr{start(t, own), inherited.Addr()} {
					tlstest.Must(t, clients.Connect(addr.(*net.TCPAddr).AddrPort(), x, csslLocalhost, h, nil))
					want("one side")
					want("the other side")
				}
			}
		})
	}
}

// TestKeepAliveUnix: a unix socket has none, and needs none.
func TestKeepAliveUnix(t *testing.T) {
	c, _ := serverConn(t, &Server{Addr: "unix:" + filepath.Join(t.TempDir(), "socket")}, &hooks{})
	tlstest.Equal(t, "keep-alive", keepAliveOf(t, c.fd), [3]int{})
}
