// Package stress holds tests of a server under more load than it should get, and of peers that mean it ill.
//
//	TestManyConnections    as many connections as a process may have, each saying something now and then
//	TestIdle               100,000 connections that say nothing, over several servers
//	TestHandshakeStorm     50,000 handshakes, then silence
//	TestSlowloris          5,000 peers that take their time, beside 500 honest ones and newcomers
//	TestFloods             a peer that sends KeyUpdates, alerts, empty records and the like without end
//	TestRenegotiations     the same of TLS 1.2 handshakes, where they are allowed
//	TestTickets            the same of tickets, by resuming without end
//
// The servers are processes of their own: sslecho as it is built, or, for settings that it has no flag for and where the
// server's own counters are asked, this test binary with a reactor.Server. All else is in the test's own process, but for
// the clients of TestIdle: a process may not have more files than its limit says.
//
// All honest clients compare each byte that comes back, and none may fail whatever the others do. How fast anything was is
// reported and never asserted. The ordinary form is small; STRESS=full (make stress) is what the names say, and
// writes its figures to docs/design/results.txt. STRESS_TIME=3m shortens the ten minutes of TestManyConnections.
package stress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// hang bounds everything that a test waits for. A test that needs it has failed.
const hang = 2 * time.Minute

// full is the form that make stress runs.
var full = os.Getenv("STRESS") == "full"

// scaled is the full form's number or the short one's.
func scaled[T any](long, short T) T {
	if full {
		return long
	}
	return short
}

// alone gives a test of the full form the machine for itself. The short ones share it.
func alone(t *testing.T) {
	if !full {
		t.Parallel()
	}
}

// childEnv makes the test binary one of the other processes: its name, and its settings.
const childEnv = "STRESS_CHILD"

// daemon is sslecho.
var daemon string

func TestMain(m *testing.M) {
	code := 0
	name, settings, _ := strings.Cut(os.Getenv(childEnv), " ")
	if child := map[string]func([]byte){"server": serverMain, "idle": idleMain}[name]; child != nil {
		child([]byte(settings))
	} else {
		dir := must(os.MkdirTemp("", "stress"))
		daemon = filepath.Join(dir, "sslecho")
		if out, err := exec.Command("go", "build", "-o", daemon, "../../../sslecho").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go build: %v\n%s", err, out))
		}
		code = m.Run()
		os.RemoveAll(dir)
	}
	// Two collections let the sanitizer's leak check see all, as package testmain explains.
	runtime.GC()
	runtime.GC()
	os.Exit(code)
}

// waitFor waits until ok.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// record keeps the figure of a full form.
func record(t *testing.T, name, format string, args ...any) {
	t.Helper()
	if full {
		figures.Record(t, name, format, args...)
	} else {
		t.Logf(format, args...)
	}
}

// size is a number of bytes that prints itself in MB.
type size int64

func (n size) String() string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// growth is how much more memory a server may have after a load than after the same load before. What
// malloc keeps in pieces after the first time is none of that.
func growth(first size) size {
	if tlstest.Sanitized {
		return 1 << 30 // the sanitizers keep what was freed
	}
	return first/4 + 32<<20
}

// show is a latency or a cost with three figures.
func show(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// process is another process: a server or clients.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.Writer
	out   *bufio.Scanner
	errs  bytes.Buffer
	ended chan struct{}
	addr  string // of a server
}

func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = &p.errs
	p.out = bufio.NewScanner(tlstest.Value(cmd.StdoutPipe())(t))
	p.in = tlstest.Value(cmd.StdinPipe())(t)
	// It dies with the thread that has started it, so that none outlives a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState tells
		}
	}()
	tlstest.Must(t, <-started)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() && p.errs.Len() > 0 {
			t.Logf("%s\n%s", cmd.Path, &p.errs)
		}
	})
	return p
}

// line is the next one that it prints.
func (p *process) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		<-p.ended
		p.t.Fatalf("%s has ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, &p.errs)
	}
	return p.out.Text()
}

// listening waits until it has printed where it listens.
func (p *process) listening() *process {
	p.t.Helper()
	for said := false; !said; {
		p.addr, said = strings.CutPrefix(p.line(), "listening on ")
		said = said && !strings.Contains(p.addr, " ")
	}
	return p
}

// sslecho starts the daemon.
func sslecho(t *testing.T) *process {
	t.Helper()
	return launch(t, exec.Command(daemon, "--listen=127.0.0.1:0",
		"--cert="+testcerts.Path("ecdsa.pem"), "--key="+testcerts.Path("ecdsa.key"))).listening()
}

// child starts this test binary as what says; settings is for it to read.
func child(t testing.TB, what string, settings any) *process {
	t.Helper()
	cmd := exec.Command(tlstest.Value(os.Executable())(t))
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s", childEnv, what, tlstest.Value(json.Marshal(settings))(t)))
	return launch(t, cmd)
}

// noError and must are for children, whose panic the test tells, and for what cannot fail.
func noError(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](v T, err error) T {
	noError(err)
	return v
}

// stop sends SIGTERM and wants a clean end.
func (p *process) stop() {
	p.t.Helper()
	tlstest.Nothing(p.t, p.ended, p.cmd.Path+" has ended by itself")
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(hang):
		p.t.Fatalf("%s goes on after SIGTERM", p.cmd.Path)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ends with %v\n%s", p.cmd.Path, p.cmd.ProcessState, &p.errs)
	}
}

// cpu is the time that all threads have spent on a core.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	var ts unix.Timespec
	// What clock_getcpuclockid(3) makes of a pid.
	tlstest.Must(p.t, unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &ts))
	return time.Duration(ts.Nano())
}

// resident is how much memory is resident now, and peak the most that was.
func (p *process) resident() size { p.t.Helper(); return p.memory("VmRSS:") }
func (p *process) peak() size     { p.t.Helper(); return p.memory("VmHWM:") }

func (p *process) memory(name string) size {
	p.t.Helper()
	return inProc(p.t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), name)
}

// inProc reads a line such as "Slab:  5120 kB" of a file in /proc.
func inProc(t testing.TB, path, name string) size {
	t.Helper()
	for line := range strings.Lines(string(tlstest.Value(os.ReadFile(path))(t))) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return size(tlstest.Value(strconv.ParseInt(f[1], 10, 64))(t) << 10)
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}

// files is how many it has open.
func (p *process) files() int {
	p.t.Helper()
	return len(tlstest.Value(os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)))(p.t))
}

// without waits until few connections are left.
func (p *process) without(conns int) {
	p.t.Helper()
	waitFor(p.t, "the connections to go", func() bool { return p.files() < conns+50 })
}
