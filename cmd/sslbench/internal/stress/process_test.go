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
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string // of its standard output
	errs   bytes.Buffer
	ended  chan struct{}
	addr   string // of a server
	killed bool
}

func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, lines: make(chan string, 16), ended: make(chan struct{})}
	cmd.Stderr = &p.errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// It dies with the thread that has started it, so that none outlives a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-p.ended
		}
	}()
	tlstest.Must(t, <-started)
	go func() {
		s := bufio.NewScanner(out)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			p.lines <- s.Text()
		}
		close(p.lines)
		cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		if !p.killed {
			p.kill()
		}
		if t.Failed() && p.errs.Len() > 0 {
			t.Logf("%s\n%s", cmd.Path, p.errs.String())
		}
	})
	return p
}

func (p *process) kill() {
	p.killed = true
	p.cmd.Process.Kill()
	for range p.lines {
	}
	<-p.ended
}

// line is the next one that it prints.
func (p *process) line() string {
	p.t.Helper()
	select {
	case s, ok := <-p.lines:
		if !ok {
			<-p.ended
			p.t.Fatalf("%s has ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.errs.String())
		}
		return s
	case <-time.After(hang + 2*runTime):
		p.t.Fatalf("%s says nothing", p.cmd.Path)
	}
	return ""
}

// listening waits until it has printed where it listens.
func (p *process) listening() *process {
	p.t.Helper()
	for p.addr == "" {
		p.addr, _ = strings.CutPrefix(p.line(), "listening on ")
		if strings.Contains(p.addr, " ") {
			p.addr = ""
		}
	}
	return p
}

// sslecho starts the daemon.
func sslecho(t *testing.T, args ...string) *process {
	t.Helper()
	args = append([]string{"--listen=127.0.0.1:0", "--cert=" + testcerts.Path("ecdsa.pem"), "--key=" + testcerts.Path("ecdsa.key")}, args...)
	return launch(t, exec.Command(sslechoPath(t), args...)).listening()
}

// child starts this test binary as what says; settings is for it to read.
func child(t testing.TB, what string, settings any) *process {
	t.Helper()
	self := tlstest.Value(os.Executable())(t)
	b := tlstest.Value(json.Marshal(settings))(t)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+what, settingsEnv+"="+string(b))
	return launch(t, cmd)
}

const settingsEnv = "STRESS_SETTINGS"

func readSettings(to any) error { return json.Unmarshal([]byte(os.Getenv(settingsEnv)), to) }

// commands answers each line of standard input with f's answer, as JSON, until it ends.
func commands(f func(command, argument string) any) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		command, argument, _ := strings.Cut(in.Text(), " ")
		if err := json.NewEncoder(os.Stdout).Encode(f(command, argument)); err != nil {
			return err
		}
	}
	return in.Err()
}

// tell sends a command. Its answer is to be read before the next one.
func (p *process) tell(command string, argument any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, "%s %v\n", command, argument); err != nil {
		p.t.Fatalf("%v\n%s", err, p.errs.String())
	}
}

// answer reads the answer to a command.
func answer[T any](p *process) (v T) {
	p.t.Helper()
	s := p.line()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		p.t.Fatalf("%q: %v", s, err)
	}
	return v
}

// ask sends a command and reads its answer.
func ask[T any](p *process, command string, argument any) T {
	p.t.Helper()
	p.tell(command, argument)
	return answer[T](p)
}

// stop sends SIGTERM and wants a clean end.
func (p *process) stop() {
	p.t.Helper()
	select {
	case <-p.ended:
		p.t.Fatalf("%s has ended by itself: %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.errs.String())
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	go func() {
		for range p.lines {
		}
	}()
	select {
	case <-p.ended:
	case <-time.After(hang):
		p.t.Fatalf("%s goes on after SIGTERM", p.cmd.Path)
	}
	p.killed = true
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ends with %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.errs.String())
	}
}

// finish ends clients.
func (p *process) finish() {
	p.t.Helper()
	p.in.Close()
	select {
	case <-p.ended:
	case <-time.After(hang):
		p.t.Fatalf("%s goes on", p.cmd.Path)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("clients end with %v\n%s", p.cmd.ProcessState, p.errs.String())
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

// rss is how much memory is resident, in bytes, and the most that was.
func (p *process) rss() (now, peak int64) {
	p.t.Helper()
	b := tlstest.Value(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))(p.t)
	for s := range strings.Lines(string(b)) {
		f := strings.Fields(s)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			peak = kb << 10
		}
	}
	return now, peak
}

// resident is how much memory is resident now.
func (p *process) resident() int64 { n, _ := p.rss(); return n }

// files is how many it has open.
func (p *process) files() int {
	p.t.Helper()
	return len(tlstest.Value(os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)))(p.t))
}
