package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// pair starts the proxy, with more args, in front of a backend of the test's own, and answers a client's connection and what
// the backend accepted for it.
func pair(t *testing.T, args ...string) (client closeWriter, backend *net.TCPConn, stop func()) {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	s := exampletest.Start(t, run, append(args, "-loops=2", "-backend="+l.Addr().String())...)
	c := exampletest.Dial(t, s.Addr)
	l.(*net.TCPListener).SetDeadline(time.Now().Add(tlstest.Hang))
	b := tlstest.Value(l.Accept())(t)
	t.Cleanup(func() { b.Close() })
	b.SetDeadline(time.Now().Add(tlstest.Hang))
	return c, b.(*net.TCPConn), s.Stop
}

// closeWriter is a *tls.Conn or a *net.TCPConn.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// send writes n bytes of the stream, and ends the direction.
func send(c closeWriter, n int64) error {
	var s tlstest.Stream
	for int64(s.N) < n {
		if _, err := c.Write(s.Next(int(min(65521, n-int64(s.N))))); err != nil {
			return fmt.Errorf("write after %d bytes: %w", s.N, err)
		}
	}
	return c.CloseWrite()
}

// sending sends in the background.
func sending(t *testing.T, c closeWriter, n int64) <-chan error {
	return tlstest.Later(func() error {
		err := send(c, n)
		if err != nil {
			t.Error(err)
		}
		return err
	})
}

// receive reads to the end and answers how much it was, if it was the stream.
func receive(r io.Reader) (int64, error) {
	var s tlstest.Stream
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if s.Check(buf[:n]); s.Bad != nil {
			return int64(s.N), s.Bad
		}
		if err == io.EOF {
			return int64(s.N), nil
		}
		if err != nil {
			return int64(s.N), fmt.Errorf("read after %d bytes: %w", s.N, err)
		}
	}
}

// expectStream receives, and wants n bytes.
func expectStream(t *testing.T, who string, r io.Reader, n int64) {
	t.Helper()
	if got, err := receive(r); err != nil || got != n {
		t.Errorf("%s got %d bytes, %v, want %d", who, got, err, n)
	}
}

// expectReset reads until the connection ends, which must be by a reset.
func expectReset(t *testing.T, who string, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s got the end %v, want a reset", who, err)
	}
}

// socket is a TCP connection, or the one below TLS.
func socket(c net.Conn) *net.TCPConn {
	if b, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = b.NetConn()
	}
	return c.(*net.TCPConn)
}

// reset closes a TCP connection, or the one below TLS, with a reset.
func reset(c net.Conn) {
	socket(c).SetLinger(0)
	socket(c).Close()
}

// TestBothWays: 50 MB (less under a sanitizer) each way at once arrive as they were sent, and both ends are passed on.
func TestBothWays(t *testing.T) {
	client, backend, _ := pair(t)
	const size = 50 << 20 / tlstest.Scale
	up, down := sending(t, client, size), sending(t, backend, size)
	received := tlstest.Later(func() bool { expectStream(t, "the backend", backend, size); return true })
	expectStream(t, "the client", client, size)
	<-received
	<-up
	<-down
}

// TestHalfClose: when one side has ended its direction, and the other has seen it, the other direction still works.
func TestHalfClose(t *testing.T) {
	for _, first := range []string{"client", "backend"} {
		t.Run(first, func(t *testing.T) {
			client, backend, _ := pair(t)
			var a, b closeWriter = client, backend
			if first == "backend" {
				a, b = b, a
			}
			const question, answer = 100, 1 << 20
			tlstest.Must(t, send(a, question))
			expectStream(t, "the other side", b, question)
			sent := sending(t, b, answer)
			expectStream(t, "the "+first, a, answer)
			<-sent
		})
	}
}

// counting counts what is written.
type counting struct {
	closeWriter
	n atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.closeWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// kernelMost is the most that the kernel keeps of one direction of a connection between the proxy and a test's own
// end with small buffers, in bytes.
func kernelMost(t *testing.T, setting string) int64 {
	t.Helper()
	b := tlstest.Value(os.ReadFile("/proc/sys/net/ipv4/" + setting))(t)
	fields := strings.Fields(string(b))
	n := tlstest.Value(strconv.ParseInt(fields[len(fields)-1], 10, 64))(t)
	return n + 1<<20
}

// TestSlowReader: a side that does not read stops the other one, before the proxy keeps more than it says. When
// it reads at last it gets everything. The other direction works all the time, and then has ended.
func TestSlowReader(t *testing.T) {
	for _, slow := range []string{"client", "backend"} {
		t.Run(slow, func(t *testing.T) {
			client, backend, _ := pair(t)
			var reader, writer closeWriter = client, backend
			if slow == "backend" {
				reader, writer = writer, reader
			}
			for _, c := range []*net.TCPConn{socket(client), backend} {
				c.SetReadBuffer(64 << 10)
				c.SetWriteBuffer(64 << 10)
			}
			tlstest.Must(t, send(reader, 1<<10))
			expectStream(t, "the writer", writer, 1<<10)
			// The proxy itself keeps 192 KiB at most.
			most := kernelMost(t, "tcp_rmem") + kernelMost(t, "tcp_wmem") + 1<<20
			count := &counting{closeWriter: writer}
			sent := sending(t, count, 2*most)
			// It is at rest when nothing has gone for a while. To look too early makes the test weaker, no more.
			for before := int64(-1); before != count.n.Load(); time.Sleep(100 * time.Millisecond) {
				before = count.n.Load()
			}
			if n := count.n.Load(); n > most {
				t.Errorf("%d bytes were taken while the %s did not read, want at most %d", n, slow, most)
			}
			expectStream(t, "the "+slow, reader, 2*most)
			<-sent
		})
	}
}

// TestBackendRefuses: a client whose backend cannot be reached is reset, and others are served on.
func TestBackendRefuses(t *testing.T) {
	// A port that is taken and does not listen.
	fd := tlstest.Value(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))(t)
	defer syscall.Close(fd)
	tlstest.Must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa := tlstest.Value(syscall.Getsockname(fd))(t)
	addr := exampletest.Start(t, run, fmt.Sprintf("-backend=127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)).Addr
	for range 2 {
		expectReset(t, "the client", exampletest.Dial(t, addr))
	}
}

// TestUncleanEnd: an end that is not clean is a reset for the other side, so that what it has got does not look whole.
func TestUncleanEnd(t *testing.T) {
	for name, end := range map[string]func(client, backend net.Conn) (hears net.Conn){
		"backend resets":                   func(c, b net.Conn) net.Conn { reset(b); return c },
		"client resets":                    func(c, b net.Conn) net.Conn { reset(c); return b },
		"client ends without close_notify": func(c, b net.Conn) net.Conn { socket(c).CloseWrite(); return b },
	} {
		t.Run(name, func(t *testing.T) {
			client, backend, _ := pair(t)
			// Something has been said both ways.
			for _, c := range [][2]net.Conn{{client, backend}, {backend, client}} {
				tlstest.Value(c[0].Write([]byte("x")))(t)
				tlstest.Value(io.ReadFull(c[1], make([]byte, 1)))(t)
			}
			expectReset(t, "the other side", end(client, backend))
		})
	}
}

// TestBackendLeaves: a backend that answers and goes leaves the whole answer to the client. What the client goes on sending
// is refused, and the connection does not stay half open for ever.
func TestBackendLeaves(t *testing.T) {
	client, backend, _ := pair(t)
	const answer = 1 << 20
	sent := sending(t, backend, answer)
	expectStream(t, "the client", client, answer)
	<-sent
	backend.Close()
	err := send(client, 1<<40)
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the client ends with %v, want a reset", err)
	}
}

// TestEnds: a connection over which nothing goes, and each one at a signal, is closed with close_notify behind what the backend said,
// and its backend reset.
func TestEnds(t *testing.T) {
	for name, args := range map[string][]string{"idle": {"-idle=1s"}, "signal": nil} {
		t.Run(name, func(t *testing.T) {
			client, backend, stop := pair(t, args...)
			tlstest.Value(backend.Write([]byte("x")))(t)
			tlstest.Value(io.ReadFull(client, make([]byte, 1)))(t)
			stopped := tlstest.Later(func() bool {
				if name == "signal" {
					stop()
				}
				return true
			})
			if n, err := io.Copy(io.Discard, client); n != 0 || err != nil {
				t.Errorf("the client got %d bytes, %v, want the end", n, err)
			}
			client.Close()
			<-stopped
			expectReset(t, "the backend", backend)
		})
	}
}
