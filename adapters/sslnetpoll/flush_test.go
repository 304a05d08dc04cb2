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
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// flushing is a connection of a server that writes in one Flush more than the
// sockets hold. The client has read one byte, and reads no more.
type flushing struct {
	*server
	client
	own     *Conn
	flushed chan error // the result of Flush
	freed   chan bool  // the socket is about to be closed
}

// client is a *sslnet.Conn, or a *tls.Conn, whose CloseWrite sends no FIN.
type client interface {
	net.Conn
	NetConn() net.Conn
	CloseWrite() error
}

const flushSize = 32 << 20

func strict(s *server) client { return s.dialSSL(tls.VersionTLS13) }

// flush makes a flushing, in OnRequest or elsewhere, on another goroutine.
func flush(t *testing.T, elsewhere bool, dial func(*server) client, set func(*server, *cssl.Config)) flushing {
	t.Helper()
	f := flushing{flushed: make(chan error, 1), freed: make(chan bool, 1)}
	conns := make(chan *Conn, 1)
	f.server = serve(t, func(s *server, c *cssl.Config) {
		s.OnConnect = func(ctx context.Context, c netpoll.Connection) context.Context {
			c.AddCloseCallback(func(netpoll.Connection) error { f.freed <- true; return nil })
			return ctx
		}
		s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
			c.Reader().Skip(c.Reader().Len())
			select {
			case conns <- c.(*Conn):
			default:
				return nil
			}
			write := func() {
				var sent tlstest.Stream
				c.Writer().WriteBinary(sent.Next(flushSize))
				f.flushed <- c.Writer().Flush()
			}
			if elsewhere {
				go write()
			} else {
				write()
			}
			return nil
		}
		if set != nil {
			set(s, c)
		}
	})
	f.client = dial(f.server)
	tlstest.Value(f.client.Write([]byte("x")))(t)
	tlstest.Value(f.client.Read(make([]byte, 1)))(t)
	f.own = tlstest.Receive(t, conns, "OnRequest")
	conns <- f.own
	full := 0 // how often the socket was found so: it may be only for a moment
	tlstest.Until(t, "the sockets are full", func() bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(f.own.fd), Events: unix.POLLOUT}}, 0)
		if full++; n > 0 {
			full = 0
		}
		return full > 20
	})
	return f
}

// TestFlushEnds: a Flush to a peer that does not read ends, and the connection
// with it, CloseTimeout after Close and after a fatal error.
func TestFlushEnds(t *testing.T) {
	for name, elsewhere := range map[string]bool{"in OnRequest": false, "elsewhere": true} {
		for _, tc := range []struct {
			name string
			end  func(f flushing)
			want error
		}{
			{"Close", func(f flushing) { f.own.Close() }, nil},
			{"a damaged record", func(f flushing) {
				f.client.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
			}, tlsio.Alert(20)},
		} {
			if tc.want != nil && !elsewhere {
				continue // the record waits for OnRequest, as other input does
			}
			t.Run(tc.name+" "+name, func(t *testing.T) {
				f := flush(t, elsewhere, strict, func(s *server, _ *cssl.Config) { s.CloseTimeout = time.Second / 5 })
				tc.end(f)
				go f.client.NetConn().Write(make([]byte, 1<<20)) // what comes behind the end
				tlstest.IsError(t, "Flush", tlstest.Receive(t, f.flushed, "the end of Flush"), netpoll.ErrConnClosed)
				tlstest.Receive(t, f.freed, "the close of the socket")
				if _, err := io.Copy(io.Discard, f.client); err == nil {
					t.Error("close_notify follows a part of what was written")
				}
				if tc.want != nil {
					tlstest.Receive(t, f.failed, "OnError")
				}
				tlstest.Nothing(t, f.failed, "an error")
			})
		}
	}
}

// TestFlushAtEnd: a Flush goes on when the connection is to close, and
// close_notify follows it.
func TestFlushAtEnd(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		for name, end := range map[string]func(f flushing){
			"Close":    func(f flushing) { f.own.Close() },
			"Shutdown": func(f flushing) { go shutDown(t, f.loop) },
			"half close": func(f flushing) {
				tlstest.Must(t, f.client.CloseWrite())
				tlstest.Until(t, "close_notify has come", func() bool { return !elsewhere || !f.own.IsActive() })
			},
		} {
			t.Run(fmt.Sprintf("%s, elsewhere: %v", name, elsewhere), func(t *testing.T) {
				dial := strict
				if name == "half close" {
					dial = func(s *server) client { return s.dial(tls.VersionTLS13) }
				}
				f := flush(t, elsewhere, dial, func(s *server, _ *cssl.Config) { s.CloseTimeout = tlstest.Hang })
				end(f)
				got := tlstest.Value(io.ReadAll(f.client))(t)
				tlstest.Equal(t, "read", len(got), flushSize-1)
				var s tlstest.Stream
				s.Next(1)
				s.Check(got)
				tlstest.Must(t, s.Bad)
				tlstest.Must(t, tlstest.Receive(t, f.flushed, "the end of Flush"))
				f.client.Close()
				tlstest.Receive(t, f.freed, "the close of the socket")
				tlstest.Nothing(t, f.failed, "an error")
			})
		}
	}
}

// TestShutdownInFlush: Shutdown waits for a Flush that still encrypts.
func TestShutdownInFlush(t *testing.T) {
	flushed := make(chan error, 1)
	conns := make(chan *Conn, 1)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnConnect = func(ctx context.Context, c netpoll.Connection) context.Context {
			conns <- c.(*Conn)
			return ctx
		}
	})
	c := s.dialSSL(tls.VersionTLS13)
	own := tlstest.Receive(t, conns, "OnConnect")
	own.WriteBinary(make([]byte, 3*flushSize))
	go func() { flushed <- own.Flush() }()
	tlstest.Until(t, "Flush has begun", func() bool {
		own.mu.Lock()
		defer own.mu.Unlock()
		return own.flushing
	})
	down := tlstest.Later(func() bool { shutDown(t, s.loop); return true })
	n := tlstest.Value(io.Copy(io.Discard, c))(t)
	tlstest.Equal(t, "read", n, 3*flushSize)
	tlstest.Must(t, <-flushed)
	<-down
}

// TestFlushCut: no close_notify follows a part of what was written, when netpoll
// closes the connection between two sends.
func TestFlushCut(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnConnect = func(ctx context.Context, c netpoll.Connection) context.Context {
			conns <- c.(*Conn)
			return ctx
		}
	})
	c := s.dialSSL(tls.VersionTLS13)
	own := tlstest.Receive(t, conns, "OnConnect")
	own.mu.Lock()
	own.flushing = true
	own.mu.Unlock()
	shutDown(t, s.loop.(eventLoop).EventLoop)
	if n, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestWriteTimeout: it limits a Flush, not each part that a slow peer reads.
func TestWriteTimeout(t *testing.T) {
	f := flush(t, true, strict, func(s *server, _ *cssl.Config) {
		s.OnConnect = func(ctx context.Context, c netpoll.Connection) context.Context {
			c.SetWriteTimeout(time.Second / 2)
			return ctx
		}
	})
	buf := make([]byte, 16<<10)
	tlstest.Until(t, "the end of Flush", func() bool {
		f.client.Read(buf)
		return len(f.flushed) > 0
	})
	tlstest.IsError(t, "Flush", <-f.flushed, netpoll.ErrWriteTimeout)
}

// TestConcurrentWrite: nothing is sent of a Write that is refused.
func TestConcurrentWrite(t *testing.T) {
	f := flush(t, true, strict, nil)
	again := []byte("again")
	_, err := f.own.Write(again)
	tlstest.IsError(t, "Write", err, netpoll.ErrConcurrentAccess)
	tlstest.Value(io.ReadFull(f.client, make([]byte, flushSize-1)))(t)
	tlstest.Must(t, tlstest.Receive(t, f.flushed, "the end of Flush"))
	tlstest.Value(f.own.Write(again))(t)
	f.own.Close()
	tlstest.Equal(t, "what follows", string(tlstest.Value(io.ReadAll(f.client))(t)), string(again))
}

// deaf is a connection whose Read waits until done is closed.
type deaf struct {
	net.Conn
	done chan bool
}

func (d deaf) Read([]byte) (int, error) { <-d.done; return 0, io.EOF }

// TestHandshakeTimeout: it ends a handshake whose peer does not read.
func TestHandshakeTimeout(t *testing.T) {
	freed := make(chan bool, 1)
	s := serve(t, func(s *server, c *cssl.Config) {
		chain := filepath.Join(t.TempDir(), "chain.pem")
		long := append(testcerts.Read(t, "ecdsa.pem"), bytes.Repeat(testcerts.Read(t, "root.pem"), 200)...)
		tlstest.Must(t, os.WriteFile(chain, long, 0o600))
		c.Certificates[0].ChainFile = chain
		s.HandshakeTimeout = time.Second / 5
		s.OnPrepare = func(c netpoll.Connection) context.Context {
			unix.SetsockoptInt(c.(*Conn).fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
			c.AddCloseCallback(func(netpoll.Connection) error { freed <- true; return nil })
			return nil
		}
	})
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	}}
	client := deaf{tlstest.Value(d.Dial("tcp", s.address))(t), make(chan bool)}
	ended := tlstest.Later(tls.Client(client, goClient(tls.VersionTLS13)).Handshake)
	tlstest.Receive(t, freed, "the close of the socket")
	tlstest.IsError(t, "OnError", tlstest.Receive(t, s.failed, "OnError"), os.ErrDeadlineExceeded)
	client.Close()
	close(client.done)
	<-ended
}

// TestReadsAfterFlush: what a client sent before it closed the connection is
// read, though the replies to it fail.
func TestReadsAfterFlush(t *testing.T) {
	const size = 300_000
	conns, read := make(chan *Conn), make(chan int, 1)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
			conns <- c.(*Conn)
			<-conns
			n, failed := 0, 0
			for {
				if _, err := c.Reader().Next(1000); err != nil {
					tlstest.IsError(t, "the end", err, netpoll.ErrEOF)
					tlstest.Equal(t, "the replies that failed", failed, size/1000)
					read <- n
					return nil
				}
				n += 1000
				if _, err := c.Write([]byte("reply")); errors.Is(err, netpoll.ErrConnClosed) {
					failed++
				}
			}
		}
	})
	c := s.dial(tls.VersionTLS12) // without tickets, which it would not have read: that is a reset
	tlstest.Value(c.Write(make([]byte, size)))(t)
	own := tlstest.Receive(t, conns, "OnRequest")
	c.Close()
	tlstest.Until(t, "the end has come", func() bool { return !own.raw.IsActive() })
	conns <- own
	tlstest.Equal(t, "read", tlstest.Receive(t, read, "the end"), size)
}

// TestCloseUnread: what OnRequest leaves unread does not delay the end of a
// connection that it closes.
func TestCloseUnread(t *testing.T) {
	freed := make(chan bool, 1)
	s := serve(t, func(s *server, _ *cssl.Config) {
		s.CloseTimeout = tlstest.Hang
		s.OnRequest = func(_ context.Context, c netpoll.Connection) error {
			c.AddCloseCallback(func(netpoll.Connection) error { freed <- true; return nil })
			tlstest.Value(c.Reader().Peek(2 * window))(t)
			return c.Close()
		}
	})
	c := s.dial(tls.VersionTLS13)
	tlstest.Value(c.Write(make([]byte, 3*window)))(t)
	tlstest.Must(t, c.CloseWrite())
	tlstest.Receive(t, freed, "the close of the socket")
}
