package reactor

import (
	"context"
	"errors"
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
	addr := nl.Addr()
	f := tlstest.Value(nl.(*net.TCPListener).File())(t)
	defer f.Close()
	s := &Server{Handler: echo(), Loops: 1, Limits: Limits{CloseTimeout: tlstest.Hang}}
	serveOn(t, s, nl)
	roundTrip(t, goDial(t, addr), "hello") // it does not read, so the drain lasts
	ctx, cancel := context.WithCancel(context.Background())
	done := tlstest.Later(func() error { return s.Shutdown(ctx) })
	tlstest.Until(t, "the close to begin", func() bool { return s.Stats().Sessions.Results[tlsio.OpShutdown][tlsio.WantNone] == 1 })
	rawDial(t, addr) // for the successor
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
	serveOn(t, s, tcp)
	serveOn(t, s, local)
	for _, l := range []net.Listener{tcp, local} {
		roundTrip(t, goDial(t, l.Addr()), "hello") // the address is known all the time
	}
	if _, err := tcp.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("package net still listens: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	tlstest.Must(t, s.Close())
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the path of a closed listener: %v", err)
	}
}

// TestListenerBlocking (P41): os.File's Fd makes all duplicates of a socket blocking, before the loops have their listener or
// later. They must not hang in accept, although each is woken for what another one has taken.
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
				ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
				defer cancel()
				tlstest.Must(t, s.Ping(ctx))
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
		if mode, err := unix.FcntlInt(uintptr(dup), unix.F_GETFL, 0); err != nil || mode&unix.O_NONBLOCK == 0 {
			t.Errorf("Attach leaves the mode %#o, %v", mode, err)
		}
		if later {
			tlstest.Must(t, unix.SetNonblock(dup, false))
		}
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
	dup := tlstest.Value(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))(t)
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

// TestAbortInOnClose: on a connection that has ended, the methods do nothing.
func TestAbortInOnClose(t *testing.T) {
	ended := make(chan *Conn, 1)
	s := &Server{Handler: &hooks{closed: func(c *Conn, _ error) { c.Abort(nil); ended <- c }}}
	client := goDial(t, start(t, s))
	tlstest.Must(t, client.CloseWrite())
	c := tlstest.Receive(t, ended, "OnClose")
	tlstest.Until(t, "the end", func() bool { return s.Conns() == 0 })
	if c.reset {
		t.Error("a connection that ended cleanly was reset")
	}
}

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
	tlstest.Equal(t, "keep-alive", tlstest.Receive(t, got, "OnOpen"), [3]int{})
}
