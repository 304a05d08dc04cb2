package sslnet

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestCloseWakes: Close ends each operation that is blocked, with net.ErrClosed.
func TestCloseWakes(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c *Conn, _ func()) {
		ended := b.begin(t, c)
		c.SetCloseTimeout(0)
		if err := tlstest.Receive(t, tlstest.Later(c.Close), "Close"); err != nil || b.unsaid {
			timedOut(t, err)
		}
		fails(t, ended, b.name, net.ErrClosed)
		is(t, b.op(c), net.ErrClosed)
	})
}

// TestClosed: after Close everything answers net.ErrClosed, whenever Close was called.
func TestClosed(t *testing.T) {
	for name, begin := range map[string]pairTest{
		"before any operation": func(*testing.T, *Conn, *Conn) {},
		"in the handshake": func(t *testing.T, client, _ *Conn) {
			tlstest.Must(t, client.SetReadDeadline(time.Now().Add(time.Millisecond)))
			timedOut(t, client.Handshake())
		},
		"after the handshake": func(t *testing.T, client, server *Conn) { shake(t, client, server) },
		"after CloseWrite": func(t *testing.T, client, server *Conn) {
			shake(t, client, server)
			tlstest.Must(t, client.CloseWrite())
		},
		"after the peer's Close": func(t *testing.T, client, server *Conn) {
			shake(t, client, server)
			tlstest.Must(t, server.Close())
			is(t, reading(client)(), io.EOF)
		},
		"after a deadline": func(t *testing.T, client, server *Conn) {
			shake(t, client, server)
			tlstest.Must(t, client.SetDeadline(longAgo))
		},
	} {
		t.Run(name, func(t *testing.T) {
			pairs(t, networks, func(t *testing.T, client, server *Conn) {
				begin(t, client, server)
				tlstest.Must(t, client.Close())
				for what, op := range map[string]func() error{
					"Close": client.Close, "Handshake": client.Handshake, "CloseWrite": client.CloseWrite,
					"Read": reading(client), "Write": writing(client),
					"empty Read":  func() error { _, err := client.Read(nil); return err },
					"empty Write": func() error { _, err := client.Write(nil); return err },
					"KeyUpdate":   func() error { return client.KeyUpdate(true) }, "Renegotiate": client.Renegotiate,
					"SetDeadline":      func() error { return client.SetDeadline(noDeadline) },
					"SetReadDeadline":  func() error { return client.SetReadDeadline(time.Now()) },
					"SetWriteDeadline": func() error { return client.SetWriteDeadline(time.Now()) },
					"ReadFrom":         func() error { _, err := client.ReadFrom(server); return err },
					"WriteTo":          func() error { _, err := client.WriteTo(io.Discard); return err },
					"Export":           func() error { _, err := client.ExportKeyingMaterial("x", nil, 8); return err },
				} {
					if err := op(); !errors.Is(err, net.ErrClosed) {
						t.Errorf("%s: %v, want net.ErrClosed", what, err)
					}
				}
				if s := client.Session(); s != nil {
					t.Error("a session after Close")
				}
				client.SetCloseTimeout(tlstest.Hang)
				if client.LocalAddr() == nil || client.RemoteAddr() == nil {
					t.Error("no address after Close")
				}
			})
		})
	}
}

// TestCloseTwiceAtOnce: of those that call Close at once, one closes.
func TestCloseTwiceAtOnce(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		peer := tlstest.Later(reading(server))
		closed := make(chan error, 8)
		for range cap(closed) {
			go func() { closed <- client.Close() }()
		}
		good := 0
		for range cap(closed) {
			if err := tlstest.Receive(t, closed, "Close"); err == nil {
				good++
			} else {
				is(t, err, net.ErrClosed)
			}
		}
		if good != 1 {
			t.Errorf("%d calls of Close answered nil, want 1", good)
		}
		fails(t, peer, "the peer", io.EOF)
	})
}

// TestCloseTimeout: Close over a transport that is full, to a peer that does not read, ends when SetCloseTimeout
// says so, also if that is over before Close begins; with none it does not wait at all.
func TestCloseTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, 1, 0, -1} {
		everywhere(t, narrow, func(t *testing.T, _, server *Conn) {
			full(t, server)
			server.SetCloseTimeout(timeout)
			timedOut(t, tlstest.Receive(t, tlstest.Later(server.Close), "Close"))
		})
	}
}

// TestCloseSendsAll: Close sends what a Write accepted before its deadline, and close_notify behind it.
func TestCloseSendsAll(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, c *Conn){
		"after Write": func(*testing.T, *Conn) {},
		"after a CloseWrite that came to nothing": func(t *testing.T, c *Conn) {
			tlstest.Must(t, c.SetWriteDeadline(longAgo))
			timedOut(t, c.CloseWrite())
		},
		"after a CloseWrite that was given up": func(t *testing.T, c *Conn) {
			ended := tlstest.Later(c.CloseWrite)
			waiting(t, c, &c.writer, tlsio.WantWrite)
			tlstest.Must(t, c.SetWriteDeadline(longAgo))
			timedOut(t, tlstest.Receive(t, ended, "CloseWrite"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, narrow, func(t *testing.T, peer, c *Conn) {
				n := full(t, c)
				before(t, c)
				c.SetCloseTimeout(tlstest.Hang)
				closed := tlstest.Later(c.Close)
				take(t, c, peer, n)
				is(t, reading(peer)(), io.EOF)
				done(t, closed, "Close")
			})
		})
	}
}

// TestReplyNotReset: Close with input that was not read does not destroy what the peer has not read yet (P13).
// With no time to wait, close_notify is sent all the same where the socket takes it.
func TestReplyNotReset(t *testing.T) {
	// One that hides its socket, such as those that count or limit, is served in engine mode.
	wrapped := map[string]network{"wrapped": func(t testing.TB) (a, b net.Conn) {
		a, b = networks["tcp"](t)
		return a, struct{ net.Conn }{b}
	}}
	for _, over := range []map[string]network{sockets, wrapped} {
		for name, end := range map[string]func(*Conn) error{
			"Close":                        (*Conn).Close,
			"CloseWrite, and then Close":   func(c *Conn) error { return errors.Join(c.CloseWrite(), c.Close()) },
			"Close that waits for nothing": func(c *Conn) error { c.SetCloseTimeout(0); return c.Close() },
			"Close without a wait":         func(c *Conn) error { c.SetCloseTimeout(-1); return c.Close() },
		} {
			if over["wrapped"] != nil && strings.HasPrefix(name, "Close ") {
				continue // in engine mode nothing is sent without a wait for the goroutine that does it
			}
			t.Run(name, func(t *testing.T) {
				connected(t, over, func(t *testing.T, client, server *Conn) {
					tlstest.Must(t, send(client, 100_000, 10_000))
					tlstest.Must(t, send(server, 100_000, 10_000))
					tlstest.Must(t, end(server))
					tlstest.Must(t, expect(client, 100_000))
					is(t, reading(client)(), io.EOF)
				})
			})
		}
	}
}

// TestTailNotReset: the same while a part of the reply is still in the kernel of the end that closes.
func TestTailNotReset(t *testing.T) {
	for name, end := range map[string]func(*Conn) error{
		"Close":                      (*Conn).Close,
		"CloseWrite, and then Close": func(c *Conn) error { return errors.Join(c.CloseWrite(), c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, narrow["tcp"])
			tlstest.Must(t, send(client, 2000, 1000))
			n := full(t, server)
			server.SetCloseTimeout(tlstest.Hang)
			ended := tlstest.Later(func() error { return end(server) })
			var in tlstest.Stream
			p := make([]byte, 100)
			for in.N < n-10_000 { // what is left finds room in the kernel
				in.Check(p[:tlstest.Value(client.Read(p))(t)])
			}
			done(t, ended, "Close")
			in.Check(tlstest.Value(io.ReadAll(client))(t))
			tlstest.Must(t, in.Bad)
			tlstest.Equal(t, "bytes that came", in.N, n)
		})
	}
}

// descriptor is the number of the socket below c.
func descriptor(t *testing.T, c *Conn) (fd int) {
	t.Helper()
	tlstest.Must(t, c.transport.(*socket).raw.Control(func(f uintptr) { fd = int(f) }))
	return fd
}

// TestCloseKeepsDescriptorsApart: the connection below is closed behind the back
// of a Conn, which waits for it to take more, and its number belongs to another
// file by the time of Close. That file is left alone.
func TestCloseKeepsDescriptorsApart(t *testing.T) {
	connected(t, narrowSockets, func(t *testing.T, client, server *Conn) {
		n := full(t, server)
		fd := descriptor(t, server)
		var pipe [2]int
		tlstest.Must(t, syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK))
		defer syscall.Close(pipe[0])
		defer syscall.Close(pipe[1])
		tlstest.Must(t, server.NetConn().Close())
		tlstest.Must(t, syscall.Dup3(pipe[1], fd, syscall.O_CLOEXEC))
		defer syscall.Close(fd)
		got := tlstest.Later(func() error { return expect(client, n) }) // what is in the kernel comes
		for what, op := range map[string]func() error{
			"Read": reading(server), "Write": writing(server),
			"CloseWrite": server.CloseWrite, "SetDeadline": func() error { return server.SetDeadline(longAgo) },
		} {
			if err := op(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v, want net.ErrClosed", what, err)
			}
		}
		is(t, server.Close(), net.ErrClosed)
		if err := tlstest.Receive(t, got, "the client"); err == nil {
			t.Error("the client got what had not been sent when the socket was closed")
		}
		if k, err := syscall.Read(pipe[0], make([]byte, 1)); err != syscall.EAGAIN {
			t.Errorf("the other file got %d bytes and %v", k, err)
		}
	})
}

// TestCloseWhileSetting: deadlines that are set while the connection is closed.
func TestCloseWhileSetting(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, client, _ *Conn) {
		client.SetCloseTimeout(0)
		read := tlstest.Later(reading(client))
		var ends []<-chan error
		for _, set := range []func(time.Time) error{client.SetReadDeadline, client.SetWriteDeadline} {
			ends = append(ends, tlstest.Later(func() error {
				for i := 0; ; i++ {
					d := time.Time{}
					if i%2 == 0 {
						d = time.Now().Add(tlstest.Hang)
					}
					if err := set(d); err != nil {
						return err
					}
				}
			}))
		}
		waiting(t, client, &client.reader, tlsio.WantRead)
		client.Close()
		for _, end := range append(ends, read) {
			fails(t, end, "net.ErrClosed", net.ErrClosed)
		}
	})
}

// TestCloseLeavesNoInterest: what a Conn was waiting for is forgotten when it is
// closed, also if another descriptor keeps the socket open and gets the number.
func TestCloseLeavesNoInterest(t *testing.T) {
	client, server := connect(t, narrow["tcp"], v12, big)
	read, rekeyed, _ := readMustWrite(t, client, server)
	fd := descriptor(t, server)
	f := tlstest.Value(server.NetConn().(*net.TCPConn).File())(t)
	defer f.Close()
	server.SetCloseTimeout(0)
	server.Close()
	tlstest.Receive(t, read, "Read")
	tlstest.Must(t, syscall.Dup3(int(f.Fd()), fd, syscall.O_CLOEXEC))
	defer syscall.Close(fd)
	tlstest.Must(t, unix.EpollCtl(crossFDs.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}))
	tlstest.Must(t, unix.EpollCtl(crossFDs.epoll, unix.EPOLL_CTL_DEL, fd, nil))
	client.SetCloseTimeout(0)
	client.Close()
	tlstest.Receive(t, rekeyed, "Renegotiate")
}
