package sslnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestCloseWakes: Close ends each operation that is blocked, with net.ErrClosed.
func TestCloseWakes(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c, peer *Conn, n int) {
		ended := later(func() error { return b.op(c) })
		waiting(t, c, b.half(c), b.want)
		c.SetCloseTimeout(0)
		if err := receive(t, later(c.Close), "Close"); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		is(t, receive(t, ended, b.name), net.ErrClosed)
		is(t, b.op(c), net.ErrClosed)
	})
}

// TestClosed: after Close everything answers net.ErrClosed, whenever Close was called.
func TestClosed(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, client, server *Conn){
		"before any operation": func(*testing.T, *Conn, *Conn) {},
		"in the handshake": func(t *testing.T, client, _ *Conn) {
			must(t, client.SetReadDeadline(time.Now().Add(time.Millisecond)))
			timedOut(t, client.Handshake())
		},
		"after the handshake": func(t *testing.T, client, server *Conn) { shake(t, client, server) },
		"after CloseWrite": func(t *testing.T, client, server *Conn) {
			shake(t, client, server)
			must(t, client.CloseWrite())
		},
		"after the peer's Close": func(t *testing.T, client, server *Conn) {
			shake(t, client, server)
			must(t, server.Close())
			is(t, reading(client)(), io.EOF)
		},
		"after a deadline": func(t *testing.T, client, server *Conn) {
			shake(t, client, server)
			must(t, client.SetDeadline(longAgo))
		},
	} {
		for network, over := range networks {
			t.Run(name+" "+network, func(t *testing.T) {
				client, server := pair(t, over)
				begin(t, client, server)
				must(t, client.Close())
				for what, op := range map[string]func() error{
					"Close": client.Close, "Handshake": client.Handshake, "CloseWrite": client.CloseWrite,
					"Read": reading(client), "Write": func() error { _, err := client.Write([]byte("x")); return err },
					"empty Read":  func() error { _, err := client.Read(nil); return err },
					"empty Write": func() error { _, err := client.Write(nil); return err },
					"KeyUpdate":   func() error { return client.KeyUpdate(true) }, "Renegotiate": client.Renegotiate,
					"SetDeadline":      func() error { return client.SetDeadline(time.Time{}) },
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
				client.SetCloseTimeout(hang)
				if client.LocalAddr() == nil || client.RemoteAddr() == nil {
					t.Error("no address after Close")
				}
			})
		}
	}
}

// TestCloseTwiceAtOnce: of those that call Close at once, one closes.
func TestCloseTwiceAtOnce(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		peer := later(reading(server))
		var ends []<-chan error
		for range 8 {
			ends = append(ends, later(client.Close))
		}
		good := 0
		for _, end := range ends {
			if err := receive(t, end, "Close"); err == nil {
				good++
			} else {
				is(t, err, net.ErrClosed)
			}
		}
		if good != 1 {
			t.Errorf("%d calls of Close answered nil, want 1", good)
		}
		is(t, receive(t, peer, "the peer"), io.EOF)
	})
}

// TestCloseTimeout: Close over a transport that is full, to a peer that does not read, ends when SetCloseTimeout
// says so; with none it does not wait at all.
func TestCloseTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, 0, -1} {
		everywhere(t, narrow, func(t *testing.T, connect func(...change) (client, server *Conn)) {
			_, server := connect()
			full(t, server)
			server.SetCloseTimeout(timeout)
			timedOut(t, receive(t, later(server.Close), "Close"))
		})
	}
}

// TestCloseWithoutWaiting: with no time to wait, close_notify is sent all the same where the socket takes it.
func TestCloseWithoutWaiting(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, timeout := range []time.Duration{0, -1} {
			client, server := connect(t, networks[network])
			client.SetCloseTimeout(timeout)
			must(t, client.Close())
			if err := reading(server)(); err != io.EOF {
				t.Errorf("%s, %v: the peer got %v, want io.EOF", network, timeout, err)
			}
		}
	}
}

// TestCloseSendsAll: Close sends what a Write accepted before its deadline, and close_notify behind it.
func TestCloseSendsAll(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, c *Conn){
		"after Write": func(*testing.T, *Conn) {},
		"after a CloseWrite that came to nothing": func(t *testing.T, c *Conn) {
			must(t, c.SetWriteDeadline(longAgo))
			timedOut(t, c.CloseWrite())
		},
		"after a CloseWrite that was given up": func(t *testing.T, c *Conn) {
			ended := later(c.CloseWrite)
			waiting(t, c, &c.writer, tlsio.WantWrite)
			must(t, c.SetWriteDeadline(longAgo))
			timedOut(t, receive(t, ended, "CloseWrite"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, narrow, func(t *testing.T, connect func(...change) (client, server *Conn)) {
				peer, c := connect()
				n := full(t, c)
				before(t, c)
				c.SetCloseTimeout(hang)
				closed := later(c.Close)
				take(t, c, peer, n)
				is(t, reading(peer)(), io.EOF)
				must(t, receive(t, closed, "Close"))
			})
		})
	}
}

// TestCloseAfterIdleCloseWrite: a CloseWrite that ran into its deadline at once has sent nothing; then Close does.
func TestCloseAfterIdleCloseWrite(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		must(t, client.SetWriteDeadline(longAgo))
		timedOut(t, client.CloseWrite())
		closed := later(client.Close)
		is(t, reading(server)(), io.EOF)
		must(t, receive(t, closed, "Close"))
	})
}

// TestReplyNotReset: Close with input that was not read does not destroy what the peer has not read yet (P13).
func TestReplyNotReset(t *testing.T) {
	// One that hides its socket, such as those that count or limit, is served in engine mode.
	wrapped := func(t testing.TB) (a, b net.Conn) {
		a, b = networks["tcp"](t)
		return a, struct{ net.Conn }{b}
	}
	for network, connected := range map[string]network{"tcp": networks["tcp"], "unix": networks["unix"], "wrapped": wrapped} {
		for name, end := range map[string]func(*Conn) error{
			"Close":                        (*Conn).Close,
			"CloseWrite, and then Close":   func(c *Conn) error { return errors.Join(c.CloseWrite(), c.Close()) },
			"Close that waits for nothing": func(c *Conn) error { c.SetCloseTimeout(0); return c.Close() },
		} {
			if network == "wrapped" && name == "Close that waits for nothing" {
				continue // in engine mode nothing is sent without a wait for the goroutine that does it
			}
			t.Run(network+" "+name, func(t *testing.T) {
				client, server := connect(t, connected)
				must(t, send(client, 100_000, 10_000))
				must(t, send(server, 100_000, 10_000))
				must(t, end(server))
				must(t, expect(client, 100_000))
				is(t, reading(client)(), io.EOF)
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
			must(t, send(client, 2000, 1000))
			n := full(t, server)
			server.SetCloseTimeout(hang)
			ended := later(func() error { return end(server) })
			var in sequence
			p := make([]byte, 100)
			for in.n < n-10_000 { // what is left finds room in the kernel
				k, err := client.Read(p)
				must(t, err)
				must(t, in.check(p[:k]))
			}
			must(t, receive(t, ended, "Close"))
			for {
				k, err := client.Read(p)
				must(t, in.check(p[:k]))
				if err != nil {
					is(t, err, io.EOF)
					break
				}
			}
			if in.n != n {
				t.Errorf("%d bytes came of %d", in.n, n)
			}
		})
	}
}

// TestCloseKeepsDescriptorsApart: the connection below is closed behind the back
// of a Conn, which waits for it to take more, and its number belongs to another
// file by the time of Close. That file is left alone.
func TestCloseKeepsDescriptorsApart(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			client, server := connect(t, narrow[network])
			n := full(t, server)
			var fd int
			raw, err := server.NetConn().(syscall.Conn).SyscallConn()
			must(t, err)
			must(t, raw.Control(func(f uintptr) { fd = int(f) }))
			var pipe [2]int
			must(t, syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK))
			defer syscall.Close(pipe[0])
			defer syscall.Close(pipe[1])
			must(t, server.NetConn().Close())
			must(t, syscall.Dup3(pipe[1], fd, syscall.O_CLOEXEC))
			defer syscall.Close(fd)
			got := later(func() error { return expect(client, n) }) // what is in the kernel comes
			for what, op := range map[string]func() error{
				"Read": reading(server), "Write": func() error { _, err := server.Write([]byte("x")); return err },
				"CloseWrite": server.CloseWrite, "SetDeadline": func() error { return server.SetDeadline(longAgo) },
			} {
				if err := op(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: %v, want net.ErrClosed", what, err)
				}
			}
			is(t, server.Close(), net.ErrClosed)
			if err := receive(t, got, "the client"); err == nil {
				t.Error("the client got what had not been sent when the socket was closed")
			}
			if k, err := syscall.Read(pipe[0], make([]byte, 1)); err != syscall.EAGAIN {
				t.Errorf("the other file got %d bytes and %v", k, err)
			}
		})
	}
}

// TestCloseWhileSetting: deadlines that are set while the connection is closed.
func TestCloseWhileSetting(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, _ := connect()
		client.SetCloseTimeout(0)
		read := later(reading(client))
		var ends []<-chan error
		for _, set := range []func(time.Time) error{client.SetReadDeadline, client.SetWriteDeadline} {
			ends = append(ends, later(func() error {
				for i := 0; ; i++ {
					d := time.Time{}
					if i%2 == 0 {
						d = time.Now().Add(hang)
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
			is(t, receive(t, end, "net.ErrClosed"), net.ErrClosed)
		}
	})
}

// TestCloseLeavesNoInterest: what a Conn was waiting for is forgotten when it is
// closed, also if another descriptor keeps the socket open and gets the number.
func TestCloseLeavesNoInterest(t *testing.T) {
	client, server := connect(t, narrow["tcp"], v12, big)
	read, rekeyed, _ := readMustWrite(t, client, server)
	var fd int
	must(t, server.transport.(*socket).raw.Control(func(f uintptr) { fd = int(f) }))
	f, err := server.NetConn().(*net.TCPConn).File()
	must(t, err)
	defer f.Close()
	server.SetCloseTimeout(0)
	server.Close()
	receive(t, read, "Read")
	must(t, syscall.Dup3(int(f.Fd()), fd, syscall.O_CLOEXEC))
	defer syscall.Close(fd)
	must(t, unix.EpollCtl(crossFDs.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}))
	must(t, unix.EpollCtl(crossFDs.epoll, unix.EPOLL_CTL_DEL, fd, nil))
	client.SetCloseTimeout(0)
	client.Close()
	receive(t, rekeyed, "Renegotiate")
}
