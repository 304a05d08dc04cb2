package reactor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
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
	tlstest.Until(t, "rest, with a listener that is closed", func() bool { return !spins(s.loops[0]) })
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

// TestListenerBlocking: os.File's Fd makes all duplicates of a socket blocking. The loop must not hang in accept.
func TestListenerBlocking(t *testing.T) {
	nl := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	addr := nl.Addr()
	f := tlstest.Value(nl.(*net.TCPListener).File())(t)
	defer f.Close()
	_ = f.Fd()
	serveOn(t, &Server{Handler: echo(), Loops: 1}, nl)
	roundTrip(t, goDial(t, addr), "hello")
	roundTrip(t, goDial(t, addr), "again")
}

// TestListenerMadeBlocking (P41): the same, when the loops have their listener already, and each is woken for what another one
// has taken.
func TestListenerMadeBlocking(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			nl := tlstest.Value(net.Listen(network, address))(t)
			addr := nl.Addr()
			f := tlstest.Value(nl.(interface{ File() (*os.File, error) }).File())(t)
			defer f.Close()
			s := &Server{Handler: echo(), Loops: 2}
			serveOn(t, s, nl)
			f.Fd()
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
	if err := l.Attach(1<<20, sx, csslNone, echo(), nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("Attach of no descriptor: %v", err)
	}
}

// TestAttachDuplicate: the caller keeps a duplicate of a descriptor that it handed over.
func TestAttachDuplicate(t *testing.T) {
	addr := start(t, &Server{Handler: echo()})
	l := startLoop(t, LoopConfig{})
	fd := connect(t, addr, 0)
	dup := tlstest.Value(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))(t)
	defer unix.Close(dup)
	closed := make(chan error, 1)
	h := &hooks{open: func(c *Conn) { c.Close() }, closed: func(_ *Conn, err error) { closed <- err }}
	tlstest.Must(t, l.Attach(fd, clientContext(t, nil), csslLocalhost, h, nil))
	tlstest.Must(t, tlstest.Receive(t, closed, "OnClose"))
	tlstest.Until(t, "rest, with a connection that is closed", func() bool { return !spins(l) })
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
