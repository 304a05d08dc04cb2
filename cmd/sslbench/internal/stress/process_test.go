package stress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

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
	return launch(t, exec.Command(sslechoPath(t), "--listen=127.0.0.1:0",
		"--cert="+testcerts.Path("ecdsa.pem"), "--key="+testcerts.Path("ecdsa.key"))).listening()
}

// childEnv makes the test binary one of the other processes, and settingsEnv has what it is told.
const (
	childEnv    = "STRESS_CHILD"
	settingsEnv = "STRESS_SETTINGS"
)

// child starts this test binary as what says; settings is for it to read.
func child(t testing.TB, what string, settings any) *process {
	t.Helper()
	b := tlstest.Value(json.Marshal(settings))(t)
	cmd := exec.Command(tlstest.Value(os.Executable())(t))
	cmd.Env = append(os.Environ(), childEnv+"="+what, settingsEnv+"="+string(b))
	return launch(t, cmd)
}

func readSettings(to any) error { return json.Unmarshal([]byte(os.Getenv(settingsEnv)), to) }

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
