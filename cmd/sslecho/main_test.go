package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/testtoken"
)

// limit is how long a step may take. It is far more than it needs.
const limit = 60 * time.Second

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

// daemon is a running sslecho.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	mu     sync.Mutex
	out    bytes.Buffer
	err    safeBuffer
	ended  chan struct{}
	listen []string // the addresses that it printed
}

// addr is the first address that it listens on.
func (d *daemon) addr() string { return d.listen[0] }

// text is all that it has printed so far on standard output.
func (d *daemon) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// run starts the daemon with args; a port is chosen by the system if there is no --listen.
// It waits until it has printed an address for each --listen and is killed at the end of the test.
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
	d := &daemon{t: t, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	d.cmd.Stderr = &d.err
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout = w
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer close(lines)
		s := bufio.NewReader(r)
		for {
			line, err := s.ReadString('\n')
			d.mu.Lock()
			d.out.WriteString(line)
			d.mu.Unlock()
			if a, ok := listening(line); ok {
				lines <- a
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		d.cmd.Wait()
		<-drained
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.ended
		r.Close()
		if t.Failed() {
			t.Logf("sslecho %s\n%s%s", strings.Join(args, " "), d.text(), d.err.String())
		}
	})
	for len(d.listen) < n {
		select {
		case a, ok := <-lines:
			if !ok {
				<-d.ended
				t.Fatalf("sslecho ended: %s", d.err.String())
			}
			d.listen = append(d.listen, a)
		case <-time.After(limit):
			t.Fatal("sslecho prints no address")
		}
	}
	return d
}

// listening is the address in a notice, as text or as JSON.
func listening(line string) (address string, ok bool) {
	var notice struct{ Msg string }
	if json.Unmarshal([]byte(line), &notice) == nil {
		line = notice.Msg
	}
	address, ok = strings.CutPrefix(line, "listening on ")
	return strings.TrimSpace(address), ok
}

// expect waits until the daemon has printed s.
func (d *daemon) expect(s string) {
	d.t.Helper()
	for deadline := time.Now().Add(limit); !strings.Contains(d.text(), s); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("%q is not in the output", s)
		}
	}
}

// signal sends sig.
func (d *daemon) signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// status waits for the end and answers the exit status.
func (d *daemon) status() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(limit):
		d.t.Fatal("sslecho does not end")
	}
	return d.cmd.ProcessState.ExitCode()
}

// refused runs the daemon with args that make it end at once, and answers what it printed.
func refused(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return finish(t, exec.Command(binary, args...))
}

// finish runs a command that should soon end by itself.
func finish(t *testing.T, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Start(); e != nil {
		t.Fatal(e)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%v goes on", cmd.Args)
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// openssl runs the openssl command with input on its standard input, and answers both outputs.
func openssl(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = strings.NewReader(input)
	return output(t, cmd)
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	cmd.Wait() // its status says little: s_client's is 1 after a refused handshake
	if !timer.Stop() {
		t.Fatalf("%v does not end:\n%s", cmd.Args, b.String())
	}
	return b.String()
}
