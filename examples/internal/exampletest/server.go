// Package exampletest is what the tests of the echo servers among the examples share: it runs one in this process, is
// its client, and looks whether it leaves anything behind.
package exampletest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// Run is a program: it serves until ctx is done and says first what it listens on, as "listening on ADDRESS".
type Run func(ctx context.Context, args []string, stdout io.Writer) error

// Server is a program that runs.
type Server struct {
	// Addr is where it listens.
	Addr string
	// Stop asks the program to end and waits until it has.
	Stop func()

	output tlstest.Buffer
}

// Start runs a program with the ECDSA certificate of testdata/certs until the end of the test. By then it must have closed all its
// sockets and connections, and its goroutines must have ended; so the test closes its own before, and no other test may run at the
// same time.
func Start(t *testing.T, run Run, args ...string) *Server {
	t.Helper()
	sockets, conns, goroutines := openSockets(t), live.Conns(), runtime.NumGoroutine()
	s := &Server{}
	ctx, cancel := context.WithCancel(context.Background())
	args = append([]string{"-listen=127.0.0.1:0", "-cert=" + testcerts.Path("ecdsa.pem"), "-key=" + testcerts.Path("ecdsa.key")}, args...)
	done := tlstest.Later(func() error { return run(ctx, args, &s.output) })
	s.Stop = sync.OnceFunc(func() {
		cancel()
		select { // any goroutine may call Stop, so no Fatal
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(tlstest.Hang):
			t.Errorf("the program does not end\n%s", tlstest.Stacks())
		}
	})
	t.Cleanup(func() {
		s.Stop()
		// Fewer: one that the test had opened before. One that is closed while it is read from ends a moment later.
		tlstest.Until(t, "the end of the program's sockets", func() bool { return openSockets(t) <= sockets })
		if n := live.Conns(); n != conns {
			t.Errorf("%d TLS connections are left open", n-conns)
		}
		tlstest.Until(t, "the end of the program's goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
		if t.Failed() {
			t.Logf("the program's output:\n%s", s.output.String())
		}
	})
	s.Addr = strings.Fields(s.Expect(t, "listening on "))[2]
	return s
}

// Expect waits for a line with text in the program's output, and answers the line.
func (s *Server) Expect(t *testing.T, text string) (line string) {
	t.Helper()
	tlstest.Until(t, "a line with "+text, func() bool {
		lines := strings.SplitAfter(s.output.String(), "\n")
		for _, line = range lines {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return true
			}
		}
		return false
	})
	return line
}

// Connect connects without TLS, until the end of the test.
func (s *Server) Connect(t *testing.T) *net.TCPConn {
	t.Helper()
	c := tlstest.Value(net.DialTimeout("tcp", s.Addr, tlstest.Hang))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c.(*net.TCPConn)
}

// TryDial connects with TLS, until the end of the test.
func (s *Server) TryDial(t *testing.T, version uint16) (*tls.Conn, error) {
	t.Helper()
	c := tls.Client(s.Connect(t), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	t.Cleanup(func() { c.Close() })
	return c, c.Handshake()
}

// Dial is TryDial that must succeed.
func (s *Server) Dial(t *testing.T, version uint16) *tls.Conn {
	t.Helper()
	return tlstest.Value(s.TryDial(t, version))(t)
}

// openSockets counts this process's.
func openSockets(t *testing.T) (n int) {
	t.Helper()
	for _, fd := range tlstest.Value(os.ReadDir("/proc/self/fd"))(t) {
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(name, "socket:") {
			n++
		}
	}
	return n
}

// Dial connects to a program until the end of the test, over TLS.
func Dial(t *testing.T, addr string) *tls.Conn {
	t.Helper()
	return (&Server{Addr: addr}).Dial(t, 0)
}
