package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// peer is the other side: a program, by its standard input and output, or crypto/tls.
type peer struct {
	in  io.Writer
	out io.Reader
	// high: only bytes with the top bit count. The others are text.
	high bool
	text tlstest.Buffer
	// more: the output does not end with the connection.
	more bool
	// pause, if set, is called between two writes of exchange, after each so many.
	pause func() error
	every int
	gave  int64 // for pause
	got   atomic.Int64
}

// outcome is what an exchange with a peer led to.
type outcome struct{ sent, received <-chan error }

// exchange streams n bytes through the peer's input and checks n bytes of its output, both at the same time.
func (p *peer) exchange(send, receive, n int) *outcome { return p.exchangeUneven(send, receive, n, n) }

// exchangeUneven is exchange with another number of bytes to come than to send.
func (p *peer) exchangeUneven(send, receive, n, back int) *outcome {
	return &outcome{tlstest.Later(func() error { return p.feed(send, n) }), tlstest.Later(func() error { return p.receive(receive, back) })}
}

// feed gives a stream to the peer's input.
func (p *peer) feed(start, n int) error {
	out := newSender(start, p.high, n)
	for b := out.next(); b != nil; b = out.next() {
		if _, err := p.in.Write(b); err != nil {
			return err
		}
		p.gave = out.pos
		if p.pause != nil && out.turn%p.every == 0 {
			if err := p.pause(); err != nil {
				return err
			}
		}
	}
	return nil
}

// receive checks the peer's output: n bytes, and then its end unless there is more.
func (p *peer) receive(start, n int) error {
	in, buf := newStream(start, p.high), make([]byte, 20011)
	for !p.more || in.pos < int64(n) {
		k, err := p.out.Read(buf)
		data := buf[:k]
		if p.high {
			if data = onlyHigh(bytes.Clone(data)); len(data) == 0 {
				p.text.Write(buf[:k])
			}
		}
		if err := in.check(data); err != nil {
			return err
		}
		p.got.Store(in.pos)
		switch {
		case err == io.EOF && in.pos == int64(n):
			return nil
		case err != nil || in.pos > int64(n):
			return fmt.Errorf("after %d of %d bytes: %w", in.pos, n, err)
		}
	}
	return nil
}

// wait waits for the outcome of both directions.
func (o *outcome) wait(t *testing.T) {
	t.Helper()
	for _, err := range []error{tlstest.Receive(t, o.received, "what the peer sends"), tlstest.Receive(t, o.sent, "the peer to read")} {
		if err != nil {
			t.Errorf("the peer: %v", err)
		}
	}
}

// and waits for our side too.
func (o *outcome) and(t *testing.T, p *party) {
	t.Helper()
	o.wait(t)
	p.wait(t)
}

// eventually is tlstest.Until for goroutines that are not the test's.
func eventually(what string, f func() bool) error {
	if !tlstest.Soon(f) {
		return errors.New("not in time: " + what)
	}
	return nil
}

// program is a peer that runs, and passes its input and output on.
type program struct {
	peer
	t      *testing.T
	cmd    *exec.Cmd
	stdin  *os.File // our end
	ended  chan struct{}
	status error
}

// start runs openssl with args.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	return startProgram(t, exec.Command("openssl", args...))
}

// startProgram starts cmd. It is killed at the end of the test, if it still runs.
func startProgram(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	c := &program{t: t, cmd: cmd, ended: make(chan struct{})}
	// Pipes of our own: those of exec would be closed by Wait before all was read.
	inR, inW, err := os.Pipe()
	tlstest.Must(t, err)
	outR, outW, err := os.Pipe()
	tlstest.Must(t, err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, &c.text
	c.in, c.stdin, c.out, c.high = inW, inW, outR, true
	t.Cleanup(func() {
		inW.Close()
		outR.Close()
	})
	// It dies with the thread that has started it, so that none outlives a test binary that panics or is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.status = cmd.Wait()
			close(c.ended)
		}
	}()
	err = <-started
	inR.Close()
	outW.Close()
	tlstest.Must(t, err)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.ended
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), c.text.String())
		}
	})
	return c
}

// end waits until the process is over.
func (c *program) end() {
	c.t.Helper()
	tlstest.Receive(c.t, c.ended, "the end of "+c.cmd.Args[0])
}

// need skips the test where a program is not there: scripts/deps installs it where it can, and no build needs it. On
// a build machine that is a failure.
func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("there is no %s (Debian's package %s)", program, pkg)
	}
	t.Skipf("there is no %s: install Debian's package %s", program, pkg)
}

// freePort is for a server that must be told its port. Nobody else gets it before the end of the test: a socket has it that
// does not listen, beside which one with SO_REUSEADDR may, as servers have it.
func freePort(t *testing.T) int {
	t.Helper()
	fd := tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() { unix.Close(fd) })
	tlstest.Must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	tlstest.Must(t, unix.Bind(fd, &unix.SockaddrInet4{}))
	return tlstest.Value(unix.Getsockname(fd))(t).(*unix.SockaddrInet4).Port
}

// listens waits until the program listens on a port, and answers the address. The program need not tell, and is not
// disturbed by attempts to connect.
func (c *program) listens(port int) string {
	c.t.Helper()
	const listening = "0A"
	line := regexp.MustCompile(fmt.Sprintf(`:%04X [0-9A-F]+:0000 %s `, port, listening))
	tlstest.Until(c.t, c.cmd.Args[0]+" listens", func() bool {
		select {
		case <-c.ended:
			c.t.Fatalf("%s has ended", c.cmd.Args[0])
		default:
		}
		six, _ := os.ReadFile("/proc/net/tcp6") // not everywhere
		return line.Match(append(tlstest.Value(os.ReadFile("/proc/net/tcp"))(c.t), six...))
	})
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
}
