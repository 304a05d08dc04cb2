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
	addr string
	group
	pids []int // that were there when it was ready
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
	p := &Process{addr: fmt.Sprintf("%s:%d", loopback, port)}
	if err := p.launch(k, append([]string{path}, args...), dir, s.Core); err != nil {
		return nil, err
	}
	// Its end ends a probe, which somebody else may have accepted.
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.alive, cancel)()
	for {
		err := probe(alive, p.addr)
		if dead := p.death(); dead != nil {
			return nil, dead
		}
		if err == nil {
			if p.pids, err = processes(p.pid); err == nil {
				return p, nil
			}
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

// Addr is where it listens.
func (p *Process) Addr() string { return p.addr }

// each calls f for each process that counts. One that has ended since the start
// took its CPU time with it, so that is an error.
func (p *Process) each(f func(pid int) error) (err error) {
	pids, err := processes(p.pid)
	for _, pid := range pids {
		err = errors.Join(err, f(pid))
	}
	pids, now := processes(p.pid)
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
	return errors.Join(err, now)
}

// CPU is the time that all its processes and threads have spent on a core so
// far, user and system, also those threads that have ended. The error says that
// the server has ended, or a process of it.
func (p *Process) CPU() (sum time.Duration, err error) {
	err = p.each(func(pid int) error {
		t, err := cpuTime(pid)
		sum += t
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

// group is a process group that one process of ours leads.
type group struct {
	pid   int             // of the leader, also the id of the group
	out   string          // the file with its output
	stdin io.Closer       // held open for a server that would end without
	alive context.Context // until the leader has ended
	err   error           // how that was

	mu     sync.Mutex
	reaped bool // the id may be somebody else's
}

// launch starts a process as the leader of a group, on one core; see the package
// comment.
func (g *group) launch(k Kind, argv []string, dir string, core int) error {
	g.out = filepath.Join(dir, "output")
	w, err := os.Create(g.out)
	if err != nil {
		return err
	}
	defer w.Close()
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(core)}, argv...)...)
	cmd.Dir, cmd.Stderr = dir, w
	if !k.payload {
		cmd.Stdout = w
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if k.gentle {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if k.stdin {
		if g.stdin, err = cmd.StdinPipe(); err != nil {
			return err
		}
	}
	started := make(chan error)
	var ended context.CancelFunc
	g.alive, ended = context.WithCancel(context.Background())
	go func() {
		defer ended()
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		g.pid = cmd.Process.Pid
		started <- nil
		g.await(cmd)
	}()
	return <-started
}

// await returns when the leader has ended. By then, the rest of its group is
// killed.
func (g *group) await(cmd *exec.Cmd) {
	// While the leader is a zombie, no other group can have its id.
	for unix.Waitid(unix.P_PID, g.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	g.signal(-g.pid, unix.SIGKILL)
	g.mu.Lock()
	g.reaped = true
	g.mu.Unlock()
	g.err = cmd.Wait()
}

// signal sends a signal to the leader, or to the group if pid is negative.
func (g *group) signal(pid int, s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.reaped {
		_ = unix.Kill(pid, s)
	}
}

// Stop ends all processes of the group: SIGTERM, and SIGKILL after a few
// seconds. When it returns, none is left. The error says that the leader had ended
// by itself, with the end of its output.
func (g *group) Stop() error {
	err := g.death()
	if err == nil {
		g.signal(g.pid, unix.SIGTERM)
		select {
		case <-g.alive.Done():
		case <-time.After(patience):
			g.signal(-g.pid, unix.SIGKILL)
			<-g.alive.Done()
		}
	}
	if g.stdin != nil {
		g.stdin.Close()
	}
	for limit := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		pids, perr := processes(g.pid)
		if perr != nil || len(pids) == 0 {
			return errors.Join(err, perr)
		}
		if time.Now().After(limit) {
			return errors.Join(err, fmt.Errorf("processes %v are still there after SIGKILL", pids))
		}
	}
}

// death is the error of a server that has ended by itself, and nil while it
// lives.
func (g *group) death() error {
	switch {
	case g.alive.Err() == nil:
		return nil
	case g.err == nil:
		return fmt.Errorf("it ended by itself%s", g.said())
	}
	return fmt.Errorf("it ended by itself (%w)%s", g.err, g.said())
}

// said is the end of its output, for the end of an error.
func (g *group) said() string {
	b, _ := os.ReadFile(g.out)
	return quoted(string(b[max(0, len(b)-4<<10):]))
}

// quoted is a program's output at the end of an error.
func quoted(out string) string {
	if out = strings.TrimSpace(out); out == "" {
		return ""
	}
	return ":\n" + out
}
