package sslgnet

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	gerrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// records runs a test with each kind of records, level- and edge-triggered.
func records(t *testing.T, f func(t *testing.T, set func(*server, *cssl.Config), edge gnet.Option)) {
	for _, r := range []cssl.Records{cssl.RecordsOpenSSL, cssl.RecordsDirect} {
		for _, edge := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/edge=%v", r, edge), func(t *testing.T) {
				f(t, func(_ *server, c *cssl.Config) { c.Records = r }, gnet.WithEdgeTriggeredIO(edge))
			})
		}
	}
}

// TestEcho: 64 connections stream in both directions, and each gets its own
// bytes.
func TestEcho(t *testing.T) {
	records(t, func(t *testing.T, set func(*server, *cssl.Config), edge gnet.Option) {
		s := serve(t, set, edge)
		results := make(chan error)
		for i := range 64 {
			c := s.dial(versions[i%2])
			go func() { results <- errors.Join(tlstest.Echo(c, 1_000_000/tlstest.Scale+i), c.Close()) }()
		}
		for range 64 {
			tlstest.Must(t, tlstest.Receive(t, results, "the end of a client"))
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, s.ends, "OnClose"), nil)
		}
	})
}

// TestRekey: renegotiations (TLS 1.2) and KeyUpdates (TLS 1.3) come while 64
// connections stream in both directions.
func TestRekey(t *testing.T) {
	records(t, func(t *testing.T, set func(*server, *cssl.Config), edge gnet.Option) {
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			c.Renegotiation = true
		}, edge)
		tlstest.RekeyInStreams(t, func(tls13 bool) tlstest.Rekeyer {
			if tls13 {
				return s.dialSSL(tls.VersionTLS13)
			}
			return s.dialSSL(tls.VersionTLS12)
		})
	})
}

// TestMethods: each method of gnet.Conn does to plaintext what gnet's own does
// to what a socket carries. Each server is asked the same.
func TestMethods(t *testing.T) {
	for _, step := range []struct {
		name string
		do   func(c gnet.Conn) string
	}{
		{"Peek and Discard", func(c gnet.Conn) string {
			p, err := c.Peek(5)
			text := fmt.Sprintf("%s %v", p, err)
			n, err := c.Discard(2)
			p, err2 := c.Peek(-1)
			text += fmt.Sprintf(" %d %v %s %v", n, err, p, err2)
			n, err = c.Discard(0)
			return text + fmt.Sprintf(" %d %v %d", n, err, c.InboundBuffered())
		}},
		{"Read and Next", func(c gnet.Conn) string {
			p := make([]byte, 4)
			n, err := c.Read(p)
			q, err2 := c.Next(3)
			q2, err3 := c.Next(100)
			q3, err4 := c.Next(0)
			text := fmt.Sprintf("%d %s %v %s %v %s %v %s %v", n, p, err, q, err2, q2, err3, q3, err4)
			n, err = c.Read(p)
			q, err2 = c.Peek(1)
			return text + fmt.Sprintf(" %d %v %s %v", n, err, q, err2)
		}},
		{"WriteTo, ReadFrom, Writev, Flush", func(c gnet.Conn) string {
			var b bytes.Buffer
			n, err := c.WriteTo(&b)
			m, err2 := c.ReadFrom(strings.NewReader("read "))
			k, err3 := c.Writev([][]byte{[]byte("two "), []byte("parts ")})
			return fmt.Sprintf("%d %s %v %d %v %d %v %v", n, &b, err, m, err2, k, err3, c.Flush())
		}},
		{"SendTo, SetDeadline", func(c gnet.Conn) string {
			c.Discard(-1)
			_, err := c.SendTo([]byte("x"), c.RemoteAddr())
			return fmt.Sprint(err, c.SetDeadline(time.Now()), c.RemoteAddr().Network(), c.LocalAddr().Network())
		}},
		{"part of a message", func(c gnet.Conn) string {
			if c.InboundBuffered() < 3*len("some bytes")/2 {
				return "" // asks again
			}
			p, err := c.Next(-1)
			return fmt.Sprintf("%s %v", p, err)
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			traffic := func(c gnet.Conn) gnet.Action {
				if text := step.do(c); text != "" {
					c.Write([]byte(text + "\n"))
				}
				return gnet.None
			}
			plain := newEcho()
			plain.traffic = traffic
			address, _, _ := run(t, plain, plain.booted)
			s := serve(t, func(s *server, _ *cssl.Config) { s.traffic = traffic })
			raw := tlstest.Value(net.Dial("tcp", address))(t)
			defer raw.Close()
			var replies [2]string
			for i, c := range []net.Conn{raw, s.dial(tls.VersionTLS13)} {
				c.Write([]byte("some bytes"))
				if step.name == "part of a message" {
					c.Write([]byte("some more!"))
				}
				for !strings.Contains(replies[i], "\n") {
					buf := make([]byte, 1000)
					replies[i] += string(buf[:tlstest.Value(c.Read(buf))(t)])
				}
			}
			tlstest.Equal(t, step.name, replies[1], replies[0])
		})
	}
}

// TestAsync: what other goroutines ask for happens on the loop, in order, and
// calls back; after OnClose it is refused.
func TestAsync(t *testing.T) {
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.traffic = func(c gnet.Conn) gnet.Action {
			c.Write([]byte(fmt.Sprintf("woken with %d", c.InboundBuffered())))
			return gnet.None
		}
	})
	client := s.dialSSL(tls.VersionTLS13)
	c := tlstest.Receive(t, s.opened, "OnOpen")
	heard := make(chan string, 10_000)
	back := func(what string) gnet.AsyncCallback {
		return func(same gnet.Conn, err error) error {
			heard <- fmt.Sprint(what, same == c, err)
			return nil
		}
	}
	var want strings.Builder
	for i := range 3000 { // more than gnet's queue of high priority
		text := fmt.Sprint(i, " ")
		want.WriteString(text)
		if i%2 == 0 {
			tlstest.Must(t, c.AsyncWrite([]byte(text), nil))
		} else {
			tlstest.Must(t, c.AsyncWritev([][]byte{[]byte(text[:1]), []byte(text[1:])}, back("write ")))
		}
	}
	got := make([]byte, want.Len())
	tlstest.Value(io.ReadFull(client, got))(t)
	tlstest.Equal(t, "what came", string(got), want.String())
	for range 1500 {
		tlstest.Equal(t, "callback", tlstest.Receive(t, heard, "a callback"), "write true <nil>")
	}
	tlstest.Must(t, c.Wake(back("wake ")))
	tlstest.Equal(t, "callback", tlstest.Receive(t, heard, "a callback"), "wake true <nil>")
	tlstest.Value(io.ReadFull(client, got[:len("woken with 0")]))(t)
	tlstest.Equal(t, "what came", string(got[:len("woken with 0")]), "woken with 0")
	ran := make(chan error)
	tlstest.Must(t, c.EventLoop().Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
		c.Write([]byte("ran"))
		ran <- nil
		return nil
	})))
	<-ran
	tlstest.Value(io.ReadFull(client, got[:3]))(t)
	tlstest.Equal(t, "what came", string(got[:3]), "ran")
	tlstest.Must(t, c.CloseWithCallback(back("close ")))
	rest, err := io.ReadAll(client)
	if err != nil || len(rest) > 0 {
		t.Errorf("%q, %v at the end", rest, err)
	}
	client.Close()
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, s.ends, "OnClose"), nil)
	tlstest.Equal(t, "callback", tlstest.Receive(t, heard, "a callback"), "close true <nil>")
	tlstest.IsError(t, "AsyncWrite after OnClose", c.AsyncWrite([]byte("x"), back("late")), net.ErrClosed)
	tlstest.IsError(t, "Wake after OnClose", c.Wake(nil), net.ErrClosed)
	tlstest.Nothing(t, heard, "a callback")
}

// TestEnds: how connections end, and what OnClose or OnHandshakeError gets.
func TestEnds(t *testing.T) {
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // the beginning of a ClientHello
	for _, tc := range []struct {
		name  string
		raw   []byte // what is sent instead of a handshake
		until bool   // the client waits for the server's end
		do    func(t *testing.T, s *server, c *tls.Conn)
		want  error
		alert bool // the client is told why
	}{
		{name: "close_notify", do: func(t *testing.T, s *server, c *tls.Conn) { c.Close() }},
		{name: "half close", do: func(t *testing.T, s *server, c *tls.Conn) {
			sent := tlstest.Bytes(1<<20, 1)
			wrote := tlstest.Later(func() error {
				_, err := c.Write(sent)
				return errors.Join(err, c.CloseWrite())
			})
			got, err := io.ReadAll(c)
			tlstest.Must(t, errors.Join(err, <-wrote))
			if !bytes.Equal(got, sent) {
				t.Errorf("%d bytes came back, or others", len(got))
			}
			if n, err := c.NetConn().Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("behind close_notify: %d, %v, want a FIN", n, err)
			}
			c.Close()
		}},
		{name: "FIN", do: func(t *testing.T, s *server, c *tls.Conn) {
			tlstest.Must(t, c.NetConn().(*net.TCPConn).CloseWrite())
		}, want: io.ErrUnexpectedEOF},
		{name: "reset", do: func(t *testing.T, s *server, c *tls.Conn) {
			c.NetConn().(*net.TCPConn).SetLinger(0)
			c.NetConn().Close()
		}, want: syscall.ECONNRESET},
		{name: "Close of its loop", do: func(t *testing.T, s *server, c *tls.Conn) {
			g := tlstest.Receive(t, s.opened, "OnOpen")
			g.EventLoop().Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error { return g.EventLoop().Close(g) }))
			tlstest.Value(io.ReadAll(c))(t)
			c.Close()
		}},
		{name: "a close that the peer ignores", do: func(t *testing.T, s *server, c *tls.Conn) {
			tlstest.Must(t, tlstest.Receive(t, s.opened, "OnOpen").Close())
		}, want: os.ErrDeadlineExceeded},
		{name: "a damaged record", do: func(t *testing.T, s *server, c *tls.Conn) {
			c.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
			_, err := c.Read(make([]byte, 1))
			if !strings.Contains(fmt.Sprint(err), "bad record MAC") {
				t.Errorf("the client hears %v", err)
			}
		}, want: tlsio.Alert(20)},
		{name: "nothing", raw: []byte{}, want: io.ErrUnexpectedEOF},
		{name: "gone in the handshake", raw: hello, want: io.ErrUnexpectedEOF},
		{name: "stalled handshake", raw: hello, until: true, want: os.ErrDeadlineExceeded},
		{name: "garbage", raw: tlstest.Bytes(1000, 1), until: true, want: errProtocol},
		{name: "HTTP", raw: []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), until: true, want: errProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, func(s *server, _ *cssl.Config) {
				s.HandshakeTimeout, s.CloseTimeout = tlstest.Hang, tlstest.Hang
				if tc.want == os.ErrDeadlineExceeded {
					s.HandshakeTimeout, s.CloseTimeout = time.Second/5, time.Second/5
				}
			})
			ends, none := s.ends, s.failed
			if tc.raw != nil {
				ends, none = s.failed, s.ends
				c := s.connect()
				tlstest.Value(c.Write(tc.raw))(t)
				if tc.until {
					io.Copy(io.Discard, c)
				}
				c.Close()
			} else {
				tc.do(t, s, s.dial(tls.VersionTLS13))
			}
			err := tlstest.Receive(t, ends, "the end")
			if tc.want == errProtocol {
				var e *tlsio.Error
				if !errors.As(err, &e) || e.Op != tlsio.OpHandshake || len(e.Reasons) == 0 {
					t.Errorf("the error is %v", err)
				}
			} else if a, ok := tc.want.(tlsio.Alert); ok {
				var e *tlsio.Error
				if !errors.As(err, &e) || e.Alert != a {
					t.Errorf("the error is %v", err)
				}
			} else {
				tlstest.IsError(t, "the end", err, tc.want)
			}
			tlstest.Must(t, tlstest.Echo(s.dial(tls.VersionTLS13), 100_000)) // others are served
			tlstest.Nothing(t, none, "an error elsewhere")
		})
	}
}

var errProtocol = errors.New("an error of the handshake")

// TestClients: other implementations are served, by an HTTP server in the shape
// of gnet's example.
func TestClients(t *testing.T) {
	records(t, func(t *testing.T, set func(*server, *cssl.Config), edge gnet.Option) {
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			s.traffic = func(c gnet.Conn) gnet.Action {
				for {
					p, _ := c.Peek(-1)
					head, _, ok := bytes.Cut(p, []byte("\r\n\r\n"))
					if !ok {
						return gnet.None
					}
					path := strings.Fields(string(head))[1]
					c.Discard(len(head) + 4)
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
					if path == "/end" {
						return gnet.Close
					}
				}
			}
		}, edge)
		url := "https://" + s.address
		for _, tc := range []struct {
			stdin   string
			command []string
			want    string
		}{
			{"", []string{"curl", "--silent", "--show-error", "--insecure", url + "/one", url + "/two"}, "/one/two"},
			{"GET /a H\r\n\r\nGET /end H\r\n\r\n", []string{"openssl", "s_client", "-quiet", "-connect", s.address}, "/aHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n/end"},
		} {
			if _, err := exec.LookPath(tc.command[0]); err != nil {
				t.Skip(err)
			}
			cmd := exec.CommandContext(t.Context(), tc.command[0], tc.command[1:]...)
			cmd.Stdin = strings.NewReader(tc.stdin)
			var problems bytes.Buffer
			cmd.Stderr = &problems
			out, err := cmd.Output()
			if err != nil || !strings.HasSuffix(string(out), tc.want) {
				t.Errorf("%v: %q, %v, %s", tc.command, out, err, &problems)
			}
		}
	})
}

// TestShutdown: when the engine stops, clients get what was written, and
// close_notify.
func TestShutdown(t *testing.T) {
	s := serve(t, nil)
	c := s.dialSSL(tls.VersionTLS13)
	tlstest.Must(t, tlstest.Echo(c, 1000))
	stopped := tlstest.Later(func() error { s.stop(); return nil })
	got, err := io.ReadAll(c)
	if err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	<-stopped
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, s.ends, "OnClose"), nil)
}

// TestStopInHandshake: when the engine stops, a handshake ends with an error.
func TestStopInHandshake(t *testing.T) {
	s := serve(t, nil)
	s.connect()
	tlstest.Until(t, "the server has the connection", func() (ok bool) {
		s.conns.Range(func(any, any) bool { ok = true; return true })
		return ok
	})
	s.stop()
	tlstest.IsError(t, "the handshake", tlstest.Receive(t, s.failed, "OnHandshakeError"), net.ErrClosed)
}

// TestActions: what OnOpen returns is sent, and the actions do what they do
// without TLS.
func TestActions(t *testing.T) {
	for _, action := range []gnet.Action{gnet.Close, gnet.Shutdown} {
		s := serve(t, func(s *server, _ *cssl.Config) {
			s.traffic = func(c gnet.Conn) gnet.Action {
				c.Write([]byte("bye"))
				return action
			}
		})
		c := s.dialSSL(tls.VersionTLS13)
		c.Write([]byte("hello"))
		got, err := io.ReadAll(c)
		if err != nil || string(got) != "bye" {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
		tlstest.IsError(t, "OnClose", tlstest.Receive(t, s.ends, "OnClose"), nil)
	}
}

// TestSlowReader: what a peer does not read is held in bounded memory, and is
// all there when it reads; a peer that never does is cut off.
func TestSlowReader(t *testing.T) {
	const size = 4 << 20
	records(t, func(t *testing.T, set func(*server, *cssl.Config), edge gnet.Option) {
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			s.MaxQueue = size
			s.Handler.HighWater = 64 << 10
		}, edge)
		slow, never := s.dial(tls.VersionTLS13), s.dial(tls.VersionTLS13)
		for _, c := range []*tls.Conn{slow, never} { // else the kernel may hold it all
			tlstest.Must(t, c.NetConn().(*net.TCPConn).SetReadBuffer(512<<10))
			tlstest.Must(t, tlstest.Receive(t, s.opened, "OnOpen").SetWriteBuffer(64<<10))
		}
		sent := tlstest.Bytes(size, 1)
		tlstest.Value(slow.Write(sent))(t) // gnet reads it all
		got := make([]byte, size)
		tlstest.Value(io.ReadFull(slow, got))(t)
		if !bytes.Equal(got, sent) {
			t.Error("other bytes came back")
		}
		for total, err := 0, error(nil); err == nil; total += size {
			if total > 100<<20 { // three times what the kernel holds
				t.Fatal("a peer that does not read is not cut off")
			}
			_, err = never.Write(sent)
		}
		tlstest.IsError(t, "OnClose", tlstest.Receive(t, s.ends, "OnClose"), ErrUnread)
	})
}

// TestUnread: what a handler leaves unread is kept whole, and its memory is
// given back when it has been read.
func TestUnread(t *testing.T) {
	const size = 1 << 20
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.traffic = func(c gnet.Conn) gnet.Action {
			if p, err := c.Next(size); err == nil {
				c.Write(p)
			}
			return gnet.None
		}
	})
	c := s.dial(tls.VersionTLS13)
	g := tlstest.Receive(t, s.opened, "OnOpen").(*conn)
	sent, got := tlstest.Bytes(2*size, 1), make([]byte, 2*size)
	for _, p := range []struct{ from, to int }{{0, size + 5}, {size + 5, 2 * size}} {
		tlstest.Value(c.Write(sent[p.from:p.to]))(t)
		tlstest.Value(io.ReadFull(c, got[p.from/size*size:p.to/size*size]))(t)
		held := make(chan int)
		tlstest.Must(t, g.EventLoop().Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
			held <- g.in.Cap()
			return nil
		})))
		if n := <-held; n > 64<<10 {
			t.Errorf("%d bytes of memory are held", n)
		}
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back")
	}
}

// TestReset: what gnet has read before the peer's reset gets to the handler, as
// it does without TLS.
func TestReset(t *testing.T) {
	const count, size = 60, 1000
	records(t, func(t *testing.T, set func(*server, *cssl.Config), edge gnet.Option) {
		total, stalled, resume := 0, make(chan gnet.Conn), make(chan bool)
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			s.traffic = func(c gnet.Conn) gnet.Action {
				p, _ := c.Next(-1)
				if total += len(p); string(p) == "wait" {
					stalled <- c // the loop is busy elsewhere
					<-resume
				} else {
					c.Write(p)
				}
				return gnet.None
			}
		}, edge)
		c := s.dial(tls.VersionTLS13)
		tlstest.Must(t, tlstest.Echo(c, 1)) // nothing is left to be sent
		tlstest.Value(c.Write([]byte("wait")))(t)
		g := tlstest.Receive(t, stalled, "OnTraffic").(*conn)
		fd := g.Fd()
		for range count {
			tlstest.Value(c.Write(make([]byte, size)))(t)
		}
		tlstest.Until(t, "all has come", func() bool { return tlstest.Value(unix.IoctlGetInt(fd, unix.TIOCINQ))(t) > count*size })
		tlstest.Must(t, c.NetConn().(*net.TCPConn).SetLinger(0))
		tlstest.Must(t, c.NetConn().Close())
		tlstest.Until(t, "the reset has come", func() bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 0)
			return n == 1 && err == nil
		})
		resume <- true
		if err := tlstest.Receive(t, s.ends, "OnClose"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("OnClose gets %v", err)
		}
		tlstest.Equal(t, "what the handler got", total, len("xwait")+count*size)
		active := make(chan bool)
		tlstest.Must(t, g.EventLoop().Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
			active <- g.timer.Stop()
			return nil
		})))
		tlstest.Equal(t, "a timer is active after the end", <-active, false)
	})
}

// TestQueueFull: a handler that writes more than MaxQueue gets an error, and so
// does its connection, since its client would miss bytes.
func TestQueueFull(t *testing.T) {
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.MaxQueue = 1000
		s.traffic = func(c gnet.Conn) gnet.Action {
			c.Write(make([]byte, 1001))
			c.Write([]byte("behind the gap"))
			return gnet.None
		}
	})
	c := s.dialSSL(tls.VersionTLS13)
	c.Write([]byte("hello"))
	got, err := io.ReadAll(c)
	if err == nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, s.ends, "OnClose"), session.ErrQueueFull)
}

// TestDecision: a handshake waits for the application without the loop.
func TestDecision(t *testing.T) {
	hellos := make(chan *cssl.ClientHello, 2)
	s := serve(t, func(_ *server, c *cssl.Config) { c.ClientHello = func(h *cssl.ClientHello) { hellos <- h } },
		gnet.WithNumEventLoop(1))
	dialed := make(chan error, 2)
	for range 2 {
		go func() {
			c, err := tls.Dial("tcp", s.address, goClient(tls.VersionTLS13))
			if err == nil {
				err = tlstest.Echo(c, 1000)
				c.Close()
			}
			dialed <- err
		}()
	}
	first, second := tlstest.Receive(t, hellos, "a ClientHello"), tlstest.Receive(t, hellos, "the other ClientHello")
	first.Accept(nil)
	tlstest.Must(t, tlstest.Receive(t, dialed, "a client"))
	if _, ok := second.Owner.(gnet.Conn); !ok {
		t.Errorf("the owner is %T", second.Owner)
	}
	second.Refuse(os.ErrPermission)
	if err := tlstest.Receive(t, dialed, "the other client"); err == nil {
		t.Error("a client that was refused is served")
	}
	tlstest.IsError(t, "the handshake", tlstest.Receive(t, s.failed, "OnHandshakeError"), os.ErrPermission)
}

// TestContexts: SetContext changes what new connections get, a closed Context
// fails them, and a client's is refused.
func TestContexts(t *testing.T) {
	s := serve(t, nil)
	s.dial(tls.VersionTLS13)
	c := tlstest.Receive(t, s.opened, "OnOpen")
	version := make(chan cssl.TLSVersion)
	tlstest.Must(t, c.EventLoop().Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
		version <- TLS(c).State().Version
		return nil
	})))
	tlstest.Equal(t, "version", <-version, tls.VersionTLS13)
	if TLS(nil) != nil {
		t.Error("TLS(nil)")
	}
	old := tlstest.Value(cssl.NewServerContext(cssl.Config{MaxVersion: tls.VersionTLS12, Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}))(t)
	tlstest.Must(t, s.SetContext(old))
	s.dial(tls.VersionTLS12)
	old.Close()
	io.Copy(io.Discard, s.connect())
	tlstest.IsError(t, "the handshake", tlstest.Receive(t, s.failed, "OnHandshakeError"), os.ErrClosed)
	client := tlstest.Value(cssl.NewClientContext(cssl.Config{}))(t)
	defer client.Close()
	tlstest.IsError(t, "SetContext", s.SetContext(client), errNotServer)
	defer func() { tlstest.Equal(t, "panic of OnBoot", recover(), any(errNotServer)) }()
	(&Handler{}).OnBoot(gnet.Engine{})
}

// TestRegister: the loop of a conn makes no connections without TLS, and those
// that the engine makes leave nothing behind, whatever is done to them.
func TestRegister(t *testing.T) {
	s := serve(t, nil, gnet.WithLoadBalancing(gnet.SourceAddrHash))
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	client := s.dial(tls.VersionTLS13)
	loop := tlstest.Receive(t, s.opened, "OnOpen").EventLoop()
	_, err := loop.Register(t.Context(), l.Addr())
	tlstest.IsError(t, "Register", err, gerrors.ErrUnsupportedOp)
	_, err = loop.Enroll(t.Context(), client.NetConn())
	tlstest.IsError(t, "Enroll", err, gerrors.ErrUnsupportedOp)

	made := tlstest.Value(s.engine.Register(gnet.NewNetAddrContext(t.Context(), l.Addr())))(t)
	peer := tlstest.Value(l.Accept())(t)
	defer peer.Close()
	raw := tlstest.Receive(t, made, "a connection").Conn
	tlstest.Must(t, raw.EventLoop().Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
		raw.SetContext("mine")
		return peer.Close()
	})))
	tlstest.IsError(t, "the handshake", tlstest.Receive(t, s.failed, "OnHandshakeError"), io.ErrUnexpectedEOF)
}

// TestRunAgain: a Handler runs again, and keeps nothing of the loops before.
func TestRunAgain(t *testing.T) {
	s := serve(t, nil)
	for range 3 {
		tlstest.Must(t, tlstest.Echo(s.dial(tls.VersionTLS13), 1000))
		s.stop()
		s.address, s.engine, s.stop = run(t, s.Handler, s.booted)
	}
	tlstest.Must(t, tlstest.Echo(s.dial(tls.VersionTLS13), 1000))
	loops := 0
	s.loops.Range(func(any, any) bool { loops++; return true })
	tlstest.Equal(t, "loops", loops, 1)
}

// deaf is a gnet.Conn whose loop cannot be woken.
type deaf struct {
	gnet.Conn
	err error
}

func (d *deaf) Wake(gnet.AsyncCallback) error { return d.err }

// TestWakeFails: what gnet has refused is not called later, and each post is
// told.
func TestWakeFails(t *testing.T) {
	d := &deaf{err: os.ErrPermission}
	c := &conn{Conn: d}
	for range 2 {
		tlstest.IsError(t, "post", c.post(func() { t.Error("it is called") }), os.ErrPermission)
	}
	tlstest.Equal(t, "posted", len(c.posted), 0)
}
