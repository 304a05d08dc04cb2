package interop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// command is a running openssl, or another program that passes its input and output on.
type command struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     *os.File // our end of its standard input
	out    io.Reader
	ended  chan struct{}
	status error
	text   tlstest.Buffer // its standard error, and what else is worth showing
	// pause, if set, is called between two writes of exchange, after each so many.
	pause func() error
	every int
}

// start runs openssl with args.
func start(t *testing.T, args ...string) *command {
	t.Helper()
	return startProgram(t, exec.Command("openssl", args...))
}

// startProgram starts cmd. It is killed at the end of the test, if it still runs.
func startProgram(t *testing.T, cmd *exec.Cmd) *command {
	t.Helper()
	c := &command{t: t, cmd: cmd, ended: make(chan struct{})}
	// Pipes of our own: those of exec would be closed by Wait before all was read.
	inR, inW, err := os.Pipe()
	tlstest.Must(t, err)
	outR, outW, err := os.Pipe()
	tlstest.Must(t, err)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = inR, outW, &c.text
	c.in, c.out = inW, outR
	// It dies with the thread that has started it, so that none outlives a test binary that panics or is killed.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.status = c.cmd.Wait()
			close(c.ended)
		}
	}()
	err = <-started
	inR.Close()
	outW.Close()
	if err != nil {
		inW.Close()
		outR.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-c.ended:
		default:
			_ = c.cmd.Process.Kill()
			<-c.ended
		}
		inW.Close()
		outR.Close()
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), c.text.String())
		}
	})
	return c
}

// end waits until the process is over.
func (c *command) end() {
	c.t.Helper()
	await(c.t, c.ended, func() string { return "the end of " + c.cmd.Args[0] })
}

// outcome is what the exchange with an openssl process led to.
type outcome struct {
	sent, received <-chan error
	got            atomic.Int64
}

// exchange streams n bytes through the process's input and checks n bytes of its
// output, both at the same time. Only bytes with the top bit count.
func (c *command) exchange(send, receive uint64, n int) *outcome {
	return c.exchangeUneven(send, receive, n, n)
}

// exchangeUneven is exchange with another number of bytes to come than to send.
func (c *command) exchangeUneven(send, receive uint64, n, back int) *outcome {
	o := &outcome{sent: tlstest.Later(func() error { return c.feed(newSender(send, true, n)) })}
	o.received = tlstest.Later(func() error { return c.receive(receive, back, &o.got) })
	return o
}

// feed gives a stream to the process's input.
func (c *command) feed(out *sender) error {
	for b := out.next(); b != nil; b = out.next() {
		if _, err := c.in.Write(b); err != nil {
			return err
		}
		if c.pause == nil || out.turn%c.every != 0 {
			continue
		}
		if err := c.pause(); err != nil {
			return err
		}
	}
	return nil
}

// receive checks the process's output up to n bytes, and goes on reading so that
// the process never waits for us.
func (c *command) receive(seed uint64, n int, got *atomic.Int64) error {
	in, buf := newStream(seed, true), make([]byte, 1<<16)
	for {
		k, err := c.out.Read(buf)
		if in.pos < int64(n) || k > 0 {
			data := onlyHigh(append([]byte(nil), buf[:k]...))
			if err := in.check(data); err != nil {
				_, _ = io.Copy(io.Discard, c.out)
				return err
			}
			got.Store(in.pos)
			if len(data) == 0 {
				c.text.Write(buf[:k])
			}
		}
		switch {
		case err == nil:
		case in.pos == int64(n):
			return nil
		default:
			return fmt.Errorf("after %d of %d bytes: %w", in.pos, n, err)
		}
	}
}

// wait waits for the outcome of both directions.
func (o *outcome) wait(t *testing.T) {
	t.Helper()
	for name, ch := range map[string]<-chan error{"sending": o.sent, "receiving": o.received} {
		if err := await(t, ch, func() string { return fmt.Sprintf("%s; %d bytes came", name, o.got.Load()) }); err != nil {
			t.Errorf("the peer, %s: %v", name, err)
		}
	}
}

func versionFlag(v cssl.TLSVersion) string {
	return map[cssl.TLSVersion]string{cssl.TLS10: "-tls1", cssl.TLS11: "-tls1_1", cssl.TLS12: "-tls1_2", cssl.TLS13: "-tls1_3"}[v]
}

// certFlags are those of s_client and s_server for one of testdata/certs.
func certFlags(name string) []string {
	return []string{"-cert", testcerts.Path(name + ".pem"), "-key", testcerts.Path(name + ".key"),
		"-cert_chain", testcerts.Path(name + ".pem")}
}

// clientFlags are for an s_client of a row.
func (c combo) clientFlags(addr string) []string {
	args := []string{"s_client", "-connect", addr, versionFlag(c.version), "-CAfile", testcerts.Path("root.pem"),
		"-verify_return_error", "-servername", c.serverName(), "-verify_hostname", c.serverName()}
	if c.ciphers != "" {
		args = append(args, "-cipher", c.ciphers)
	}
	if c.mtls {
		args = append(args, certFlags("client")...)
	}
	if c.alpn {
		args = append(args, "-alpn", alpnSecond+","+alpnFirst)
	}
	return args
}

// TestSClient: openssl s_client with our server.
func TestSClient(t *testing.T) { eachCombo(t, sClient) }

func sClient(t *testing.T, c combo) {
	srv := newServer(t, c.serverConfig(t), 0, 0)
	saved := filepath.Join(t.TempDir(), "session")
	rounds := c.connections()
	for i, n := range rounds {
		s := srv.expect(newParty(false, true, n).set(false, true))
		args := append(c.clientFlags(srv.addr), "-quiet")
		switch {
		case c.resume && i == 0:
			args = append(args, "-sess_out", saved)
		case c.resume:
			args = append(args, "-sess_in", saved)
		}
		o := start(t, args...)
		o.exchange(upSeed, downSeed, n).wait(t)
		s.wait(t)
		o.end()
		c.check(t, s, i == len(rounds)-1)
	}
}

// startServer runs s_server on a port that the system chooses, and answers its address.
func startServer(t *testing.T, args ...string) (*command, string) {
	t.Helper()
	c := start(t, append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	r := bufio.NewReader(c.out)
	found := tlstest.Later(func() string {
		for {
			line, err := r.ReadString('\n')
			if addr, ok := strings.CutPrefix(line, "ACCEPT "); ok || err != nil {
				return strings.TrimSpace(addr)
			}
		}
	})
	addr := await(t, found, func() string { return "the address of s_server" })
	if addr == "" {
		t.Fatal("s_server did not start")
	}
	c.out = r
	return c, addr
}

// serverFlags are for an s_server of a row.
func (c combo) serverFlags() []string {
	args := []string{versionFlag(c.version), "-naccept", fmt.Sprint(len(c.connections()))}
	if c.sni {
		// The certificate for all other names would not be accepted.
		args = append(args, certFlags("wrongname")...)
		args = append(args, "-servername", sniName, "-cert2", testcerts.Path(c.cert+".pem"), "-key2", testcerts.Path(c.cert+".key"),
			"-CAfile", testcerts.Path("intermediate.pem")) // of -cert2 it loads the leaf alone
	} else {
		args = append(args, certFlags(c.cert)...)
	}
	if c.ciphers != "" {
		args = append(args, "-cipher", c.ciphers)
	}
	if c.mtls {
		args = append(args, "-Verify", "2", "-verify_return_error", "-CAfile", testcerts.Path("root.pem"))
	}
	if c.alpn {
		args = append(args, "-alpn", alpnFirst+","+alpnSecond)
	}
	return args
}

// TestSServer: our client with openssl s_server, which passes on what goes through its
// standard input and output, so both directions have a stream of their own.
func TestSServer(t *testing.T) { eachCombo(t, sServer) }

func sServer(t *testing.T, c combo) {
	o, addr := startServer(t, c.serverFlags()...)
	c.clients(t, addr, func(n int) *party { return newParty(true, true, n).set(false, true) }, func(p *party, n int) {
		p.opened(t)
		(&outcome{
			sent:     tlstest.Later(func() error { return o.feed(newSender(downSeed, true, n)) }),
			received: tlstest.Later(func() error { return receiveHigh(o.out, newStream(upSeed, true), n) }),
		}).wait(t)
	})
}

// receiveHigh checks n bytes with the top bit.
func receiveHigh(r io.Reader, in *stream, n int) error {
	buf := make([]byte, 1<<16)
	for in.pos < int64(n) {
		k, err := r.Read(buf)
		if cerr := in.check(onlyHigh(buf[:k])); cerr != nil {
			return cerr
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", in.pos, n, err)
		}
	}
	return nil
}

// queuedInPipe is the number of bytes that the process has not read yet.
func (c *command) queuedInPipe() int {
	rc := tlstest.Value(c.in.SyscallConn())(c.t)
	n := 0
	if err := rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		return 0
	}
	return n
}

// command gives the process one of its command letters: alone, since it looks only
// at the beginning of what one read brings, and drops the rest.
func (c *command) command(letter string) error {
	for _, p := range []string{"", letter + "\n"} {
		if _, err := io.WriteString(c.in, p); err != nil {
			return err
		}
		for deadline := time.Now().Add(limit); c.queuedInPipe() > 0; time.Sleep(200 * time.Microsecond) {
			if time.Now().After(deadline) {
				return errors.New("openssl does not read its input")
			}
		}
	}
	return nil
}

// liner is our client of s_server -rev: it sends lines of odd lengths and checks that each
// comes back reversed.
type liner struct {
	reactor.BaseHandler
	out, back []byte // what is still to be sent, and to come
	done      chan error
}

// newLiner has lines of n bytes in all, each below the 16 KiB that s_server takes for one.
func newLiner(n int) *liner {
	l, s := &liner{done: make(chan error, 1)}, newStream(upSeed, true)
	for turn := 0; len(l.out) < n; turn++ {
		line := make([]byte, [...]int{1, 16001, 77, 1400, 8191, 3, 12345}[turn%7])
		s.fill(line) // no byte of it is a newline
		l.out = append(append(l.out, line...), '\n')
		slices.Reverse(line)
		l.back = append(append(l.back, line...), '\n')
	}
	return l
}

// OnOpen implements reactor.Handler.
func (l *liner) OnOpen(c *reactor.Conn) { l.more(c) }

// more keeps some lines under way. s_server writes before it reads on, so we must always
// read; what we have queued stays below the watermark.
func (l *liner) more(c *reactor.Conn) {
	for len(l.out) > 0 && len(l.back)-len(l.out) < 64<<10 {
		n := 1 + bytes.IndexByte(l.out, '\n')
		if _, err := c.Write(l.out[:n]); err != nil {
			c.Abort(err)
			return
		}
		l.out = l.out[n:]
	}
	if len(l.back) == 0 {
		c.Close()
	}
}

// OnData implements reactor.Handler.
func (l *liner) OnData(c *reactor.Conn, p []byte) {
	if !bytes.HasPrefix(l.back, p) {
		c.Abort(errors.New("other bytes came back than were sent"))
		return
	}
	l.back = l.back[len(p):]
	l.more(c)
}

// OnClose implements reactor.Handler.
func (l *liner) OnClose(_ *reactor.Conn, err error) {
	if err == nil && len(l.back) > 0 {
		err = fmt.Errorf("clean close with %d bytes to come", len(l.back))
	}
	l.done <- err
}

// TestSServerReversed: our client with openssl s_server -rev, which sends each line back reversed.
func TestSServerReversed(t *testing.T) {
	for _, v := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
		t.Run(v.String(), func(t *testing.T) {
			_, addr := startServer(t, append(certFlags("rsa"), versionFlag(v), "-naccept", "1", "-rev")...)
			x := clientContext(t, combo{features[0], v}.clientConfig())
			l := newLiner(volume)
			attach(t, newLoop(t, nil), addr, x, cssl.ConnConfig{ServerName: "localhost"}, 0, 0, l)
			done(t, l.done, "the lines")
			count(t, 1, 2*int64(volume))
		})
	}
}
