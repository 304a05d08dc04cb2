package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// binary is the daemon, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	if testmain.Direct() {
		os.Setenv("SSLECHO_RECORDS", "direct") // of all daemons whose test does not say otherwise
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sslecho")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		defer testtoken.RemoveSoftHSM()
		binary = filepath.Join(dir, "sslecho")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// safeBuffer may be written by a process and read at the same time.
type safeBuffer struct{ tlstest.Buffer }

// expect waits until one of the texts is there.
func (b *safeBuffer) expect(t *testing.T, any ...string) {
	t.Helper()
	tlstest.Until(t, fmt.Sprintf("one of %q is in the output", any), func() bool {
		s := b.String()
		return slices.ContainsFunc(any, func(want string) bool { return strings.Contains(s, want) })
	})
}

// running is a program. What it prints is in out, and in err unless that is the same.
type running struct {
	*exec.Cmd
	t        *testing.T
	out, err safeBuffer
	ended    chan struct{}
}

// start starts a program whose outputs, unless they are set, go to out together. It is killed at the end of the test.
func start(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{Cmd: cmd, t: t, ended: make(chan struct{})}
	if cmd.Stdout == nil && cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = &r.out, &r.out
	}
	r.start()
	return r
}

// startApart starts a program whose outputs go to out and err.
func startApart(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{Cmd: cmd, t: t, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &r.out, &r.err
	r.start()
	return r
}

func (r *running) start() {
	r.t.Helper()
	tlstest.Must(r.t, r.Cmd.Start())
	go func() { r.Wait(); close(r.ended) }()
	r.t.Cleanup(func() {
		r.Process.Kill()
		<-r.ended
		if r.t.Failed() {
			r.t.Logf("%q\n%s%s", r.Args, r.out.String(), r.err.String())
		}
	})
}

// signal sends sig.
func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	tlstest.Must(r.t, r.Process.Signal(sig))
}

// status waits for the end and returns the exit status.
func (r *running) status() int {
	r.t.Helper()
	tlstest.Receive(r.t, r.ended, fmt.Sprintf("the end of %v", r.Args))
	return r.ProcessState.ExitCode()
}

// ends waits for the end, and wants exit status 0.
func (r *running) ends() {
	r.t.Helper()
	tlstest.Equal(r.t, "status", r.status(), 0)
}

// stop sends SIGTERM, and wants a clean end.
func (r *running) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	r.ends()
}

// daemon is a sslecho that listens.
type daemon struct {
	*running
	listen []string // the addresses that it printed
}

// addr is the first address that it listens on.
func (d *daemon) addr() string { return d.listen[0] }

// stopped waits for the end, of which the last line tells.
func (d *daemon) stopped() {
	d.t.Helper()
	d.ends()
	if !strings.HasSuffix(d.text(), "\nstopped\n") {
		d.t.Errorf("the last line is not: stopped\n%s", d.text())
	}
}

// text is all that it has printed so far on standard output.
func (d *daemon) text() string { return d.out.String() }

// expect waits until the daemon has printed s on standard output.
func (d *daemon) expect(s string) {
	d.t.Helper()
	d.out.expect(d.t, s)
}

var listening = regexp.MustCompile(`(?m)(?:^|"msg":")listening on (\S+?)(?:"|$)`)

// runDaemon starts the daemon with args; a port is chosen by the system if there is no --listen.
// It waits until it has printed an address for each --listen.
func runDaemon(t *testing.T, args ...string) *daemon {
	t.Helper()
	n := 0
	for _, a := range args {
		if strings.HasPrefix(a, "--listen") {
			n++
		}
	}
	if n == 0 {
		args, n = append([]string{"--listen=127.0.0.1:0"}, args...), 1
	}
	d := &daemon{running: startApart(t, exec.Command(binary, args...))}
	tlstest.Until(t, "it has printed its addresses", func() bool {
		select {
		case <-d.ended:
			t.Fatal("sslecho ended")
		default:
		}
		d.listen = nil
		for _, m := range listening.FindAllStringSubmatch(d.text(), -1) {
			d.listen = append(d.listen, m[1])
		}
		return len(d.listen) >= n
	})
	return d
}

// refused runs the daemon with args that make it end at once, and answers what it printed.
func refused(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return finish(t, exec.Command(binary, args...))
}

// finish runs a command that should soon end by itself.
func finish(t *testing.T, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	r := startApart(t, cmd)
	status = r.status()
	return status, r.out.String(), r.err.String()
}

// output runs a command, and answers both outputs.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	r := start(t, cmd)
	r.status() // says little: s_client's is 1 after a refused handshake
	return r.out.String()
}

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	return l.Addr().String()
}

// writeFile makes a file in a directory of its own, and returns its name.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	tlstest.Must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// dialTLS connects with Go's crypto/tls; it checks no certificate unless cfg says so.
func dialTLS(t *testing.T, network, addr string, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c := tlstest.Value(tryTLS(network, addr, cfg))(t)
	t.Cleanup(func() { c.Close() })
	return c
}

func tryTLS(network, addr string, cfg *tls.Config) (*tls.Conn, error) {
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg.InsecureSkipVerify = true
	raw, err := net.DialTimeout(network, addr, tlstest.Hang)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, cfg)
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	if err := c.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// replaceFile replaces a file as an operator does, at once, and returns its name.
func replaceFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	tlstest.Must(t, os.WriteFile(path+".new", []byte(content), 0o600))
	tlstest.Must(t, os.Rename(path+".new", path))
	return path
}

// keyAndChain is the content of one file with both of a certificate of the test
// PKI.
func keyAndChain(t *testing.T, certificate string) string {
	t.Helper()
	return string(testcerts.Read(t, certificate+".key")) + string(testcerts.Read(t, certificate+".pem"))
}

// exchange sends p and wants it back.
func exchange(c net.Conn, p []byte) error {
	if _, err := c.Write(p); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	got := make([]byte, len(p))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, p) {
		return fmt.Errorf("%d bytes came back changed", len(p))
	}
	return nil
}

func roundTrip(t *testing.T, c net.Conn, p []byte) { t.Helper(); tlstest.Must(t, exchange(c, p)) }

// pair are the flags for a certificate.
func pair(name string) []string {
	return []string{"--cert", testcerts.Path(name + ".pem"), "--key", testcerts.Path(name + ".key")}
}

func clientCertificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	c := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path(name+".pem"), testcerts.Path(name+".key")))(t)
	return &c
}

// contains wants all of these in a text.
func contains(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// unserved wants a handshake to fail.
func unserved(t *testing.T, addr string, cfg *tls.Config, fault string) {
	t.Helper()
	if c, err := tryTLS("tcp", addr, cfg); err == nil {
		c.Close()
		t.Error(fault)
	}
}

// get asks an admin listener. Without an answer the status is 0.
func get(admin, path string) (status int, body string) {
	c := http.Client{Timeout: tlstest.Hang, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// cleanEnd waits for close_notify, before which nothing comes.
func cleanEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v, want a clean EOF", n, err)
	}
	c.Close()
}

// served is the state of a new connection over which an echo went.
func served(t *testing.T, addr string, cfg *tls.Config) tls.ConnectionState {
	t.Helper()
	c := dialTLS(t, "tcp", addr, cfg)
	defer c.Close()
	roundTrip(t, c, []byte("hello"))
	return c.ConnectionState()
}
