package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is what a server is started for.
type Spec struct {
	Work    Work
	KeyType string // of the certificate: ecdsa, rsa or ed25519
	TLS12   bool   // TLS 1.2 is the highest version
	Core    int    // the core that it is pinned to
}

// Process is a running server. Its methods may be called by several goroutines.
type Process struct {
	Addr string // where it listens

	pid   int             // of the leader of its process group, also the id of the group
	pids  []int           // of the group, when it was ready
	out   string          // the file with its output
	stdin io.Closer       // held open for s_server, which would end without
	alive context.Context // until the leader has ended
	err   error           // how that was

	mu     sync.Mutex
	reaped bool // the id may be somebody else's
}

const (
	// startAttempts is how often a port is chosen: another process may take it
	// between our choice and the server's bind.
	startAttempts = 5
	startLimit    = time.Minute
	pollEvery     = 2 * time.Millisecond
)

// Start runs the server. It returns once a TLS handshake with it has succeeded
// and the server has closed that connection; ctx bounds the time until then and
// no more. The caller calls Stop.
func (e *Env) Start(ctx context.Context, k Kind, s Spec) (p *Process, err error) {
	path, err := e.path(k)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.dir, k.program)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for range startAttempts {
		if p, err = e.run(ctx, k, s, path, dir); err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%s: %w", k.Name, err)
}

// freePort is one that nobody listens on at present.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", loopback+":0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// run starts the process and waits until it serves.
func (e *Env) run(ctx context.Context, k Kind, s Spec, path, dir string) (*Process, error) {
	port, err := e.port()
	if err != nil {
		return nil, err
	}
	args, err := e.configure(k, s, dir, port)
	if err != nil {
		return nil, err
	}
	p := &Process{Addr: fmt.Sprintf("%s:%d", loopback, port)}
	if err := p.launch(append([]string{path}, args...), dir, s.Core); err != nil {
		return nil, err
	}
	// Its end ends a probe, which somebody else may have accepted.
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.alive, cancel)()
	for {
		err := probe(alive, p.Addr)
		if dead := p.death(); dead != nil {
			return nil, dead
		}
		if err == nil {
			p.pids = processes(p.pid)
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("not ready in time: %w%s", err, p.said()), p.Stop())
		case <-time.After(pollEvery):
		}
	}
}

// probe makes a connection as a client of the measurement would, and leaves in
// good order. When it returns, the server has closed too, so that nothing of this
// falls into the first measurement.
func probe(ctx context.Context, addr string) error {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	// Whether the certificate is good is not what is asked here.
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := errors.Join(c.CloseWrite(), raw.(*net.TCPConn).CloseWrite()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, raw) // how the server closes is its own affair
	return ctx.Err()
}

// each calls f for each process that counts. One that has ended since the start
// took its CPU time with it, so that is an error.
func (p *Process) each(f func(pid int) error) (err error) {
	for _, pid := range processes(p.pid) {
		err = errors.Join(err, f(pid))
	}
	pids := processes(p.pid)
	for _, pid := range p.pids {
		switch {
		case slices.Contains(pids, pid):
		case pid == p.pid:
			<-p.alive.Done() // it is a zombie, and about to be reaped
			return p.death()
		default:
			return fmt.Errorf("its process %d has ended%s", pid, p.said())
		}
	}
	return err
}

// CPU is the time that all its processes and threads have spent on a core so
// far, user and system, also those threads that have ended. Of a thread that is
// on a core right now, the time since the last tick may be missing. The error says that
// the server has ended, or a process of it.
func (p *Process) CPU() (sum time.Duration, err error) {
	err = p.each(func(pid int) error {
		// What clock_getcpuclockid(3) makes of a pid: ^pid << 3 | CPUCLOCK_SCHED.
		var ts unix.Timespec
		err := unix.ClockGettime(int32(^pid<<3|2), &ts)
		sum += time.Duration(ts.Nano())
		return err
	})
	return sum, err
}

// Memory is what all its processes have resident, in bytes: anonymous and shared memory,
// divided among those who share it (PSS), and pages of files in full, since their
// PSS depends on who else on the machine runs on the same libraries. What
// the kernel holds for sockets is not in it.
func (p *Process) Memory() (sum int64, err error) {
	var file int64
	err = p.each(func(pid int) error {
		own, err := kilobytes(pid, "smaps_rollup", "Pss_Anon", "Pss_Shmem")
		f, err2 := kilobytes(pid, "status", "RssFile")
		sum += own
		file = max(file, f) // the processes of a group run the same program
		return errors.Join(err, err2)
	})
	return sum + file, err
}

// patience is what a server gets to end after SIGTERM.
const patience = 5 * time.Second

// launch starts a process as the leader of a group, on one core; see the package
// comment.
func (p *Process) launch(argv []string, dir string, core int) error {
	p.out = filepath.Join(dir, "output")
	w, err := os.Create(p.out)
	if err != nil {
		return err
	}
	defer w.Close()
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(core)}, argv...)...)
	cmd.Dir, cmd.Stderr = dir, w // what s_server has on its standard output is payload
	// Not SIGKILL: the workers of nginx and hitch live on when their master is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	started := make(chan error)
	var ended context.CancelFunc
	p.alive, ended = context.WithCancel(context.Background())
	go func() {
		defer ended()
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		// While the leader is a zombie, no other group can have its id.
		for unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		p.signal(-p.pid, unix.SIGKILL) // the rest of its group
		p.mu.Lock()
		p.reaped = true
		p.mu.Unlock()
		p.err = cmd.Wait()
	}()
	return <-started
}

// signal sends a signal to the leader, or to the group if pid is negative.
func (p *Process) signal(pid int, s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(pid, s)
	}
}

// Stop ends all processes of the group: SIGTERM, and SIGKILL after a few
// seconds. When it returns, none is left. The error says that the leader had ended
// by itself, with the end of its output.
func (p *Process) Stop() error {
	err := p.death()
	if err == nil {
		p.signal(p.pid, unix.SIGTERM)
		select {
		case <-p.alive.Done():
		case <-time.After(patience):
			p.signal(-p.pid, unix.SIGKILL)
			<-p.alive.Done()
		}
	}
	p.stdin.Close()
	for limit := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		pids := processes(p.pid)
		if len(pids) == 0 {
			return err
		}
		if time.Now().After(limit) {
			return errors.Join(err, fmt.Errorf("processes %v are still there after SIGKILL", pids))
		}
	}
}

// death is the error of a server that has ended by itself, and nil while it
// lives.
func (p *Process) death() error {
	switch {
	case p.alive.Err() == nil:
		return nil
	case p.err == nil:
		return fmt.Errorf("it ended by itself%s", p.said())
	}
	return fmt.Errorf("it ended by itself (%w)%s", p.err, p.said())
}

// said is the end of its output, for the end of an error.
func (p *Process) said() string {
	b, _ := os.ReadFile(p.out)
	return quoted(string(b[max(0, len(b)-4<<10):]))
}

// quoted is a program's output at the end of an error.
func quoted(out string) string {
	if out = strings.TrimSpace(out); out == "" {
		return ""
	}
	return ":\n" + out
}

// processes has the processes of a group that have not ended. A zombie has
// ended: who is to reap it may be nobody of ours.
func processes(pgid int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, _ := os.ReadFile(path) // nothing, if it has just ended
		// The name, in parentheses, may contain anything; state, parent and group
		// come after it.
		f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
		if len(f) > 2 && f[0] != "Z" && f[0] != "X" && f[2] == strconv.Itoa(pgid) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// kilobytes adds up lines such as "RssFile:  5120 kB" of a process's file in /proc, in bytes.
func kilobytes(pid int, file string, names ...string) (sum int64, err error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	b, err := os.ReadFile(path)
	for _, name := range names {
		_, rest, _ := strings.Cut(string(b), "\n"+name+":")
		line, _, _ := strings.Cut(rest, "\n")
		kb, e := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
		if err == nil && e != nil {
			err = fmt.Errorf("%s has no %s: %w", path, name, e)
		}
		sum += kb << 10
	}
	return sum, err
}

// PinSelf keeps all threads of this process on one core, also those that are yet
// to be created.
func PinSelf(core int) error {
	// Twice: the first time a thread may have been created by one that was not
	// pinned yet.
	for range 2 {
		cmd := exec.Command("taskset", "-acp", strconv.Itoa(core), strconv.Itoa(os.Getpid()))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("taskset: %w%s", err, quoted(string(out)))
		}
	}
	return nil
}

// Cores are the cores that this process may use, in ascending order.
func Cores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var cores []int
	for i := range len(set) * strconv.IntSize {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

// raiseFileLimit lets this process and those that it starts have as many files
// open as the hard limit allows, and returns how many that are.
func raiseFileLimit() (int, error) {
	// Through package syscall: otherwise the runtime gives children the limit that
	// it found.
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	lim.Cur = lim.Max
	return int(lim.Cur), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
}
