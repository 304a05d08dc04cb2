package sslnetpoll

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
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/tlsio"
)

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// records runs a test with each kind of records.
func records(t *testing.T, f func(t *testing.T, set func(*server, *cssl.Config))) {
	for _, r := range []cssl.Records{cssl.RecordsOpenSSL, cssl.RecordsDirect} {
		t.Run(fmt.Sprint(r), func(t *testing.T) { f(t, func(_ *server, c *cssl.Config) { c.Records = r }) })
	}
}

// TestEcho: 64 connections stream in both directions, and each gets its own
// bytes: those of crypto/tls and of Dialer.
func TestEcho(t *testing.T) {
	records(t, func(t *testing.T, set func(*server, *cssl.Config)) {
		s := serve(t, set)
		results := make(chan error)
		for i := range 64 {
			var c io.ReadWriteCloser = s.dial(versions[i/2%2])
			if i%2 == 0 {
				c = s.dialNetpoll(cssl.TLSVersion(versions[i/2%2]))
			}
			go func() { results <- errors.Join(tlstest.Echo(c, 1_000_000/tlstest.Scale+i), c.Close()) }()
		}
		for range 64 {
			tlstest.Must(t, tlstest.Receive(t, results, "the end of a client"))
		}
		tlstest.Nothing(t, s.failed, "an error")
	})
}

// TestRekey: renegotiations (TLS 1.2) and KeyUpdates (TLS 1.3) come while 64
// connections stream in both directions.
func TestRekey(t *testing.T) {
	records(t, func(t *testing.T, set func(*server, *cssl.Config)) {
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			c.Renegotiation = true
		})
		tlstest.RekeyInStreams(t, func(tls13 bool) tlstest.Rekeyer {
			if tls13 {
				return s.dialSSL(tls.VersionTLS13)
			}
			return s.dialSSL(tls.VersionTLS12)
		})
	})
}

// TestReader: the methods of Reader and Writer do to plaintext what netpoll's
// own do to what a socket carries. Each server is asked the same.
func TestReader(t *testing.T) {
	line := func(p any, err error) string { return fmt.Sprintf("%s %v;", p, err) }
	for _, step := range []struct {
		name string
		do   func(c netpoll.Connection) string
	}{
		{"Next, Peek, Skip, Release", func(c netpoll.Connection) string {
			r := c.Reader()
			text := line(r.Peek(4)) + line(r.Next(2)) + fmt.Sprint(r.Skip(1)) + line(r.Peek(2))
			return text + line(r.Next(7)) + fmt.Sprint(r.Len(), r.Release())
		}},
		{"ReadString, ReadBinary, ReadByte, Until", func(c netpoll.Connection) string {
			r := c.Reader()
			b, err := r.ReadByte()
			return fmt.Sprint(b, err) + line(r.ReadString(2)) + line(r.ReadBinary(1)) + line(r.Until('y')) + fmt.Sprint(r.Skip(3))
		}},
		{"Slice, Read", func(c netpoll.Connection) string {
			s, err := c.Reader().Slice(4)
			p := make([]byte, 100)
			n, err2 := c.Read(p)
			return line(s.Next(4)) + fmt.Sprint(err) + line(p[:n], err2)
		}},
		{"reads that wait", func(c netpoll.Connection) string {
			c.Reader().Skip(10)
			c.Write([]byte("more?\n"))
			return line(c.Reader().Next(10)) + line(c.Reader().Until('.'))
		}},
		{"a timeout", func(c netpoll.Connection) string {
			c.SetReadTimeout(time.Millisecond)
			_, err := c.Reader().Next(11)
			_, err2 := c.Reader().Until('!')
			c.SetReadDeadline(time.Now())
			_, err3 := c.Read(nil)
			_, err4 := c.Read(make([]byte, 1))
			late := netpoll.ErrReadTimeout
			return fmt.Sprint(errors.Is(err, late), errors.Is(err2, late), c.Reader().Len(), err3, errors.Is(err4, late))
		}},
		{"Writer", func(c netpoll.Connection) string {
			c.Reader().Skip(10)
			w := c.Writer()
			buf, _ := w.Malloc(8)
			copy(buf, "one two ")
			w.WriteDirect([]byte("direct "), 4)
			w.WriteString("string ")
			w.WriteByte('b')
			w.WriteBinary(bytes.Repeat([]byte("x"), 5000))
			more := netpoll.NewLinkBuffer()
			more.WriteString("appended")
			w.Append(more)
			text := fmt.Sprint(w.MallocLen())
			w.Malloc(100)
			w.MallocAck(w.MallocLen() - 100)
			return text + fmt.Sprint(w.Flush(), w.MallocLen())
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			request := func(_ context.Context, c netpoll.Connection) error {
				defer c.Close()
				if c.Reader().Len() > 10 {
					return errors.New("more than was sent")
				}
				_, err := c.Write([]byte(step.do(c)))
				return err
			}
			plain := tlstest.Value(netpoll.NewEventLoop(request))(t)
			raw := tlstest.Value(net.Dial("tcp", listen(t, plain)))(t)
			defer raw.Close()
			s := serve(t, func(s *server, _ *cssl.Config) { s.OnRequest = request })
			var replies [2]string
			for i, c := range []net.Conn{raw, s.dialSSL(tls.VersionTLS13)} {
				tlstest.Value(c.Write([]byte("some bytes")))(t)
				if step.name == "reads that wait" {
					tlstest.Value(io.ReadFull(c, make([]byte, len("more?\n"))))(t)
					for _, part := range []string{"the re", "st", " of it", "."} {
						tlstest.Value(c.Write([]byte(part)))(t)
					}
				}
				replies[i] = string(tlstest.Value(io.ReadAll(c))(t))
			}
			tlstest.Equal(t, step.name, replies[1], replies[0])
		})
	}
}

// TestEnds: how connections end, and what OnError gets, or the handler.
func TestEnds(t *testing.T) {
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // the beginning of a ClientHello
	for _, tc := range []struct {
		name  string
		raw   []byte // what is sent instead of a handshake
		until bool   // the client waits for the server's end
		do    func(t *testing.T, s *server, c *tls.Conn)
		want  error
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
			disconnected, freed := make(chan bool, 9), make(chan bool, 9)
			s := serve(t, func(s *server, _ *cssl.Config) {
				s.HandshakeTimeout, s.CloseTimeout = tlstest.Hang, tlstest.Hang
				if tc.want == os.ErrDeadlineExceeded {
					s.HandshakeTimeout = time.Second / 5
				}
				s.OnDisconnect = func(context.Context, netpoll.Connection) { disconnected <- true }
				s.OnPrepare = func(c netpoll.Connection) context.Context {
					c.AddCloseCallback(func(netpoll.Connection) error { freed <- true; return nil })
					return nil
				}
			})
			if tc.raw != nil {
				c := s.connect()
				tlstest.Value(c.Write(tc.raw))(t)
				if tc.until {
					io.Copy(io.Discard, c)
				}
				c.Close()
			} else {
				c := s.dial(tls.VersionTLS13)
				tlstest.Must(t, tlstest.Echo(c, 10))
				tc.do(t, s, c)
				if _, failed := tc.want.(tlsio.Alert); !failed {
					tlstest.Receive(t, disconnected, "OnDisconnect")
				}
			}
			tlstest.Receive(t, freed, "the close of the socket")
			if tc.want != nil {
				err := tlstest.Receive(t, s.failed, "OnError")
				var e *tlsio.Error
				if tc.want == errProtocol {
					if !errors.As(err, &e) || e.Op != tlsio.OpHandshake || len(e.Reasons) == 0 {
						t.Errorf("the error is %v", err)
					}
				} else if a, ok := tc.want.(tlsio.Alert); ok {
					if !errors.As(err, &e) || e.Alert != a {
						t.Errorf("the error is %v", err)
					}
				} else {
					tlstest.IsError(t, "the end", err, tc.want)
				}
			}
			tlstest.Must(t, tlstest.Echo(s.dial(tls.VersionTLS13), 100_000)) // others are served
			tlstest.Nothing(t, s.failed, "another error")
			tlstest.Nothing(t, disconnected, "another OnDisconnect")
		})
	}
}

var errProtocol = errors.New("an error of the handshake")

// TestReadErrors: what a read that waits returns when the connection ends.
func TestReadErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		end   func(s *server, client *sslnet.Conn, own netpoll.Connection)
		wants []error
	}{
		"close_notify": {func(_ *server, c *sslnet.Conn, _ netpoll.Connection) { c.Close() }, []error{netpoll.ErrEOF}},
		"FIN": {func(_ *server, c *sslnet.Conn, _ netpoll.Connection) { c.NetConn().Close() },
			[]error{netpoll.ErrConnClosed, io.ErrUnexpectedEOF}},
		"Close": {func(_ *server, _ *sslnet.Conn, c netpoll.Connection) { c.Close() }, []error{netpoll.ErrConnClosed}},
	} {
		t.Run(name, func(t *testing.T) {
			conns, read := make(chan netpoll.Connection), make(chan error)
			s := serve(t, func(s *server, _ *cssl.Config) {
				s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
					conns <- c
					p, err := c.Reader().Until('\n')
					if string(p) != "x" {
						err = fmt.Errorf("%q was read, and %w", p, err)
					}
					_, err2 := c.Reader().Next(1)
					read <- errors.Join(err, err2)
					return nil
				}
			})
			c := s.dialSSL(tls.VersionTLS13)
			tlstest.Value(c.Write([]byte("x")))(t)
			own := tlstest.Receive(t, conns, "OnRequest")
			tlstest.Equal(t, "active", own.IsActive(), true)
			tc.end(s, c, own)
			err := tlstest.Receive(t, read, "the end of Next")
			for _, want := range tc.wants {
				tlstest.IsError(t, "Next", err, want)
			}
			tlstest.Until(t, "its end", func() bool { return !own.IsActive() })
			_, err = own.Write([]byte("y"))
			tlstest.Until(t, "an error", func() bool { _, err = own.Write([]byte("y")); return err != nil })
			tlstest.IsError(t, "Write", err, netpoll.ErrConnClosed)
		})
	}
}

// TestClients: other implementations are served, by an HTTP server in the shape
// of netpoll's examples.
func TestClients(t *testing.T) {
	records(t, func(t *testing.T, set func(*server, *cssl.Config)) {
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
				path := ""
				for {
					line, err := c.Reader().Until('\n')
					if err != nil {
						return c.Close()
					} else if f := strings.Fields(string(line)); len(f) == 0 {
						break
					} else if path == "" {
						path = f[1]
					}
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
				if path == "/end" {
					return c.Close()
				}
				return c.Reader().Release()
			}
		})
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

// TestShutdown: Shutdown waits for a handler, whose client gets its reply and
// close_notify, and an idle client gets close_notify.
func TestShutdown(t *testing.T) {
	begun, end := make(chan bool), make(chan bool)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnRequest = func(ctx context.Context, c netpoll.Connection) error {
			begun <- true
			<-end
			return echo(ctx, c)
		}
	})
	idle, busy := s.dialSSL(tls.VersionTLS13), s.dialSSL(tls.VersionTLS13)
	tlstest.Value(busy.Write([]byte("request")))(t)
	<-begun
	down := tlstest.Later(func() error { shutDown(t, s.loop); return nil })
	for c, want := range map[*sslnet.Conn]string{idle: "", busy: "request"} {
		if c == busy {
			tlstest.Nothing(t, down, "an early end of Shutdown")
			end <- true
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	<-down
}

// TestSlowReader: while a peer does not read, what it is sent waits in bounded
// memory, and another one that is read goes on. It is all there in the end; a
// Flush to a peer that never reads ends with its timeout.
func TestSlowReader(t *testing.T) {
	const size = 256 << 20 / tlstest.Scale
	records(t, func(t *testing.T, set func(*server, *cssl.Config)) {
		flushed := make(chan error, 2)
		s := serve(t, func(s *server, c *cssl.Config) {
			set(s, c)
			s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
				how, _ := c.Reader().ReadByte()
				var sent tlstest.Stream
				var err error
				for n := 0; n < size && err == nil; n += 1 << 20 {
					if how == 'n' {
						c.SetWriteTimeout(time.Second / 5)
					}
					_, err = c.Writer().WriteBinary(sent.Next(1 << 20))
					err = errors.Join(err, c.Writer().Flush())
				}
				flushed <- err
				return nil
			}
		})
		before := tlstest.RSS(t)
		slow, never := s.dial(tls.VersionTLS13), s.dial(tls.VersionTLS13)
		tlstest.Value(never.Write([]byte("n")))(t)
		err := tlstest.Receive(t, flushed, "the end of Flush")
		tlstest.IsError(t, "Flush", err, netpoll.ErrWriteTimeout)
		tlstest.IsError(t, "Flush", err, netpoll.ErrConnClosed)
		tlstest.IsError(t, "OnError", tlstest.Receive(t, s.failed, "OnError"), netpoll.ErrWriteTimeout)
		tlstest.Value(slow.Write([]byte("s")))(t)
		var got tlstest.Stream
		buf := make([]byte, 1<<20)
		for got.N < size && got.Bad == nil {
			n := tlstest.Value(slow.Read(buf))(t)
			got.Check(buf[:n])
			if got.N < 1<<20 {
				tlstest.Nothing(t, flushed, "the end of what is not read")
			}
		}
		tlstest.Must(t, errors.Join(got.Bad, tlstest.Receive(t, flushed, "the end of the stream")))
		if grown := tlstest.RSS(t) - before; grown > size/2 && tlstest.Scale == 1 {
			t.Errorf("the process has grown by %d MiB", grown>>20)
		}
	})
}

// TestWriter: a handler that only writes, or leaves that to another goroutine,
// goes on with renegotiations and KeyUpdates that the peer begins meanwhile.
func TestWriter(t *testing.T) {
	const size = 8 << 20
	for _, elsewhere := range []bool{false, true} {
		s := serve(t, func(s *server, c *cssl.Config) {
			c.Renegotiation = true
			s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
				c.Reader().Skip(c.Reader().Len())
				write := func() {
					var sent tlstest.Stream
					for n := 0; n < size; n += 64 << 10 {
						c.Write(sent.Next(64 << 10))
					}
				}
				if elsewhere {
					go write()
				} else {
					write()
				}
				return nil
			}
		})
		for version, rekey := range map[cssl.TLSVersion]func(*sslnet.Conn) error{
			tls.VersionTLS12: (*sslnet.Conn).Renegotiate,
			tls.VersionTLS13: func(c *sslnet.Conn) error { return c.KeyUpdate(true) },
		} {
			c := s.dialSSL(version)
			tlstest.Value(c.Write([]byte("x")))(t)
			rekeyed := tlstest.Later(func() (err error) {
				for range 5 {
					err = errors.Join(err, rekey(c))
				}
				return err
			})
			var got tlstest.Stream
			buf := make([]byte, 100_000)
			for got.N < size && got.Bad == nil {
				n := tlstest.Value(c.Read(buf))(t)
				got.Check(buf[:n])
			}
			go io.Copy(io.Discard, c) // what is left of the last handshake
			tlstest.Must(t, errors.Join(got.Bad, tlstest.Receive(t, rekeyed, "the end of the handshakes")))
		}
	}
}

// TestServer: OnConnect follows the handshake, may read and write, and its
// context goes on to OnRequest and OnDisconnect; SetContext changes what new
// connections get.
func TestServer(t *testing.T) {
	type key struct{}
	disconnected := make(chan any, 1)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnPrepare = func(c netpoll.Connection) context.Context {
			return context.WithValue(context.Background(), key{}, c)
		}
		s.OnConnect = func(ctx context.Context, c netpoll.Connection) context.Context {
			fmt.Fprintf(c, "hello %v ", ctx.Value(key{}) == c)
			name, _ := c.Reader().ReadString(3)
			return context.WithValue(ctx, key{}, name)
		}
		s.OnRequest = func(ctx context.Context, c netpoll.Connection) error {
			c.Reader().Skip(c.Reader().Len())
			fmt.Fprintf(c, "%v %v", ctx.Value(key{}), c.(*Conn).State().Version)
			return nil
		}
		s.OnDisconnect = func(ctx context.Context, c netpoll.Connection) { disconnected <- ctx.Value(key{}) }
	})
	c := s.dial(tls.VersionTLS13)
	got := make([]byte, 100)
	tlstest.Value(io.ReadFull(c, got[:len("hello true ")]))(t)
	tlstest.Equal(t, "OnConnect writes", string(got[:11]), "hello true ")
	tlstest.Value(c.Write([]byte("me?")))(t)
	tlstest.Value(c.Write([]byte("x")))(t)
	n := tlstest.Value(c.Read(got))(t)
	tlstest.Equal(t, "OnRequest writes", string(got[:n]), "me? TLSv1.3")
	c.Close()
	tlstest.Equal(t, "OnDisconnect", tlstest.Receive(t, disconnected, "OnDisconnect"), any("me?"))
	old := tlstest.Value(cssl.NewServerContext(cssl.Config{MaxVersion: tls.VersionTLS12, Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}))(t)
	tlstest.Must(t, s.SetContext(old))
	s.dial(tls.VersionTLS12)
	old.Close()
	io.Copy(io.Discard, s.connect())
	tlstest.IsError(t, "the handshake", tlstest.Receive(t, s.failed, "OnError"), os.ErrClosed)
	tlstest.IsError(t, "SetContext", s.SetContext(clientContext(t, tls.VersionTLS13)), errNotServer)
	if _, err := (&Server{TLS: s.TLS}).EventLoop(); err == nil {
		t.Error("a Server without OnRequest")
	}
	_, err := (&Server{OnRequest: echo}).EventLoop()
	tlstest.IsError(t, "EventLoop", err, errNotServer)
}

// TestDialer: OnRequest can be set on a client, also when data has come already,
// and what fails in DialConnection leaves nothing behind.
func TestDialer(t *testing.T) {
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnConnect = func(ctx context.Context, c netpoll.Connection) context.Context {
			c.Write([]byte("greeting"))
			return ctx
		}
	})
	c := s.dialNetpoll(tls.VersionTLS13)
	tlstest.Value(c.Peek(8))(t) // now it is in c, and netpoll has nothing
	heard, closed := make(chan string, 2), make(chan bool, 1)
	tlstest.Must(t, errors.Join(
		c.AddCloseCallback(func(same netpoll.Connection) error { closed <- same == c; return nil }),
		c.SetOnRequest(func(_ context.Context, c netpoll.Connection) error {
			first, err := c.Reader().ReadString(4)
			rest, err2 := c.Reader().ReadString(4)
			heard <- fmt.Sprint(first, rest, err, err2)
			return nil
		})))
	tlstest.Equal(t, "OnRequest", tlstest.Receive(t, heard, "OnRequest"), "greeting<nil> <nil>")
	tlstest.Value(c.Write([]byte("a rep")))(t)
	tlstest.Value(c.Write([]byte("ly.")))(t)
	tlstest.Equal(t, "OnRequest", tlstest.Receive(t, heard, "OnRequest"), "a reply.<nil> <nil>")
	tlstest.Must(t, c.Close())
	tlstest.Equal(t, "the callback has c", tlstest.Receive(t, closed, "the callback"), true)
	tlstest.Nothing(t, s.failed, "OnError")

	mute := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer mute.Close()
	for _, tc := range []struct {
		name, address string
		d             Dialer
		timeout       time.Duration
		want          error
	}{
		{"another name", s.address, Dialer{TLS: clientContext(t, tls.VersionTLS13), Conn: cssl.ConnConfig{ServerName: "example.org"}}, 0, netpoll.ErrConnClosed},
		{"a server that says nothing", mute.Addr().String(), Dialer{TLS: clientContext(t, tls.VersionTLS13)}, time.Second / 5, netpoll.ErrDialTimeout},
		{"a server's Context", s.address, Dialer{TLS: s.TLS}, 0, errNotClient},
		{"a bad name", s.address, Dialer{TLS: clientContext(t, tls.VersionTLS13), Conn: cssl.ConnConfig{ServerName: "a\x00b"}}, 0, nil},
	} {
		c, err := tc.d.DialTimeout("tcp", tc.address, tc.timeout)
		if c != nil || err == nil {
			t.Errorf("%s: %v, %v", tc.name, c, err)
		} else if tc.want != nil {
			tlstest.IsError(t, tc.name, err, tc.want)
		}
	}
}

// TestDecision: a handshake waits for the application.
func TestDecision(t *testing.T) {
	hellos := make(chan *cssl.ClientHello, 2)
	s := serve(t, func(_ *server, c *cssl.Config) { c.ClientHello = func(h *cssl.ClientHello) { hellos <- h } })
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
	if _, ok := second.Owner.(netpoll.Connection); !ok {
		t.Errorf("the owner is %T", second.Owner)
	}
	second.Refuse(os.ErrPermission)
	if err := tlstest.Receive(t, dialed, "the other client"); err == nil {
		t.Error("a client that was refused is served")
	}
	tlstest.IsError(t, "the handshake", tlstest.Receive(t, s.failed, "OnError"), os.ErrPermission)
}

// TestOwner: the callbacks of a handshake may call methods of its connection.
func TestOwner(t *testing.T) {
	disconnected := make(chan bool, 1)
	s := serve(t, func(_ *server, c *cssl.Config) {
		c.ClientHello = func(h *cssl.ClientHello) {
			c := h.Owner.(netpoll.Connection)
			if h.ServerName == "close" {
				c.Close()
			}
			tlstest.Equal(t, h.ServerName+" active", c.IsActive(), h.ServerName != "close")
			tlstest.Must(t, errors.Join(c.SetDeadline(time.Time{}), c.SetIdleTimeout(time.Minute),
				c.SetOnRequest(func(ctx context.Context, c netpoll.Connection) error {
					c.Write([]byte("another handler and "))
					return echo(ctx, c)
				}), c.(*Conn).SetOnDisconnect(func(context.Context, netpoll.Connection) { disconnected <- true })))
			h.Accept(nil)
		}
	})
	c := s.dial(tls.VersionTLS13)
	tlstest.Value(c.Write([]byte("echo")))(t)
	got := make([]byte, len("another handler and echo"))
	tlstest.Value(io.ReadFull(c, got))(t)
	tlstest.Equal(t, "the reply", string(got), "another handler and echo")
	c.Close()
	tlstest.Receive(t, disconnected, "OnDisconnect")
	named := goClient(tls.VersionTLS13)
	named.ServerName = "close"
	if c, err := tls.Dial("tcp", s.address, named); err == nil { // a client is done before the server
		n, err := c.Read(make([]byte, 1))
		if c.Close(); err == nil {
			t.Errorf("%d bytes came after Close", n)
		}
	}
	tlstest.Nothing(t, s.failed, "an error")
}

// TestPrepare: OnPrepare may close the connection, which netpoll then does not
// register.
func TestPrepare(t *testing.T) {
	freed := make(chan bool, 100)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnPrepare = func(c netpoll.Connection) context.Context {
			c.AddCloseCallback(func(netpoll.Connection) error { freed <- true; return nil })
			tlstest.Must(t, c.Close())
			return nil
		}
	})
	for range cap(freed) {
		if n, err := s.connect().Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes came", n)
		}
		tlstest.Receive(t, freed, "the close of the socket")
	}
	tlstest.Nothing(t, s.failed, "an error")
}

// TestIdle: an idle connection has no goroutine, nor has one whose handshake
// waits for the peer.
func TestIdle(t *testing.T) {
	s := serve(t, nil)
	c := s.dialNetpoll(tls.VersionTLS13)
	tlstest.Must(t, tlstest.Echo(c, 1000))
	few := runtime.NumGoroutine()
	for range 50 {
		tlstest.Must(t, tlstest.Echo(s.dialNetpoll(tls.VersionTLS13), 1000))
		tlstest.Value(s.connect().Write([]byte{22, 3, 1, 2}))(t)
	}
	tlstest.Until(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() < few+20 })
}
