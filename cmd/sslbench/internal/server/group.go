package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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
