package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
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

// pattern is what streams are made of, over and over. Its length is prime, so that nothing that is lost or doubled
// on the way fits in again.
var pattern = tlstest.Bytes(65521, 0)

// send writes n bytes of the stream, keeps count of them, and ends the direction.
func send(c closeWriter, n int64, count *atomic.Int64) error {
	for sent := count.Load(); sent < n; sent = count.Load() {
		p := pattern[sent%int64(len(pattern)):]
		m, err := c.Write(p[:min(int64(len(p)), n-sent)])
		count.Add(int64(m))
		if err != nil {
			return fmt.Errorf("write after %d bytes: %w", sent, err)
		}
	}
	return c.CloseWrite()
}

// receive reads to the end and answers how much it was, if it was the stream.
func receive(r io.Reader) (int64, error) {
	var got int64
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			want := pattern[got%int64(len(pattern)):]
			want = want[:min(len(want), len(p))]
			if !bytes.Equal(p[:len(want)], want) {
				return got, fmt.Errorf("other bytes than were sent, behind byte %d", got)
			}
			got += int64(len(want))
			p = p[len(want):]
		}
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, fmt.Errorf("read after %d bytes: %w", got, err)
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

// reset closes a TCP connection, or the one below TLS, with a reset.
func reset(c net.Conn) {
	if b, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = b.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// TestBothWays: 50 MB (less under a sanitizer) each way at once arrive as they were sent, and both ends are passed on.
func TestBothWays(t *testing.T) {
	client, backend, _ := pair(t)
	const size = 50 << 20 / scale
	var all sync.WaitGroup
	for _, c := range []closeWriter{client, backend} {
		all.Go(func() {
			if err := send(c, size, new(atomic.Int64)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() { expectStream(t, "the client", client, size) })
	all.Go(func() { expectStream(t, "the backend", backend, size) })
	all.Wait()
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
			tlstest.Must(t, send(a, question, new(atomic.Int64)))
			expectStream(t, "the other side", b, question)
			go func() {
				if err := send(b, answer, new(atomic.Int64)); err != nil {
					t.Error(err)
				}
			}()
			expectStream(t, "the "+first, a, answer)
		})
	}
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
			client.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
			client.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).SetWriteBuffer(64 << 10)
			backend.SetReadBuffer(64 << 10)
			backend.SetWriteBuffer(64 << 10)
			tlstest.Must(t, send(reader, 1<<10, new(atomic.Int64)))
			expectStream(t, "the writer", writer, 1<<10)
			// The proxy itself keeps 192 KiB at most.
			most := kernelMost(t, "tcp_rmem") + kernelMost(t, "tcp_wmem") + 1<<20
			var sent atomic.Int64
			done := make(chan error, 1)
			go func() { done <- send(writer, 2*most, &sent) }()
			// It is at rest when nothing has gone for a while. To look too early makes the test weaker, no more.
			for before := int64(-1); before != sent.Load(); time.Sleep(100 * time.Millisecond) {
				before = sent.Load()
			}
			if n := sent.Load(); n > most {
				t.Errorf("%d bytes were taken while the %s did not read, want at most %d", n, slow, most)
			}
			expectStream(t, "the "+slow, reader, 2*most)
			if err := <-done; err != nil {
				t.Error(err)
			}
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
	for _, tt := range []struct {
		name string
		end  func(client, backend net.Conn)
		who  string // hears of it
	}{
		{"backend resets", func(_, b net.Conn) { reset(b) }, "the client"},
		{"client resets", func(c, _ net.Conn) { reset(c) }, "the backend"},
		{"client ends without close_notify", func(c, _ net.Conn) {
			c.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).CloseWrite()
		}, "the backend"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, backend, _ := pair(t)
			// Something has been said both ways.
			for _, c := range [][2]net.Conn{{client, backend}, {backend, client}} {
				tlstest.Value(c[0].Write([]byte("x")))(t)
				tlstest.Value(io.ReadFull(c[1], make([]byte, 1)))(t)
			}
			tt.end(client, backend)
			if tt.who == "the client" {
				expectReset(t, tt.who, client)
			} else {
				expectReset(t, tt.who, backend)
			}
		})
	}
}

// TestBackendLeaves: a backend that answers and goes leaves the whole answer to the client. What the client goes on sending
// is refused, and the connection does not stay half open for ever.
func TestBackendLeaves(t *testing.T) {
	client, backend, _ := pair(t)
	const answer = 1 << 20
	go func() {
		if err := send(backend, answer, new(atomic.Int64)); err != nil {
			t.Error(err)
		}
		backend.Close()
	}()
	expectStream(t, "the client", client, answer)
	err := send(client, 1<<40, new(atomic.Int64))
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the client ends with %v, want a reset", err)
	}
}

// TestIdle: a connection over which nothing goes is closed with close_notify, and its backend reset.
func TestIdle(t *testing.T) {
	client, backend, _ := pair(t, "-idle=1s")
	if n, err := io.Copy(io.Discard, client); n != 0 || err != nil {
		t.Errorf("the client got %d bytes, %v, want the end", n, err)
	}
	client.Close()
	expectReset(t, "the backend", backend)
}

// TestStop: a signal closes connections with close_notify behind what the backend said, and resets the backend.
func TestStop(t *testing.T) {
	client, backend, stop := pair(t)
	tlstest.Value(backend.Write([]byte("x")))(t)
	tlstest.Value(io.ReadFull(client, make([]byte, 1)))(t)
	done := make(chan struct{})
	go func() { defer close(done); stop() }()
	if n, err := io.Copy(io.Discard, client); n != 0 || err != nil {
		t.Errorf("the client got %d bytes, %v, want the end", n, err)
	}
	client.Close()
	<-done
	expectReset(t, "the backend", backend)
}
