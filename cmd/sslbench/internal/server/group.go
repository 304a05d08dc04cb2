package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is what a server gets to end after SIGTERM.
const patience = 5 * time.Second

// group is a process group that one process of ours leads.
type group struct {
	pid   int // of the leader, also the id of the group
	out   *tail
	stdin io.Closer // held open for a server that would end without
	ended chan struct{}
	err   error // how the leader ended, once ended is closed

	mu     sync.Mutex
	reaped bool // the id may be somebody else's
}

// launch starts a process as the leader of a group, on one core; see the package
// comment.
func (g *group) launch(k Kind, argv []string, dir string, core int) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	g.out, g.ended = newTail(r), make(chan struct{})
	cmd := exec.Command(argv[0], argv[1:]...)
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
			w.Close()
			return err
		}
	}
	started := make(chan error)
	go func() {
		// No unlock: the thread is pinned, so it must not serve others afterwards.
		// It ends with the goroutine.
		runtime.LockOSThread()
		err := pinThread(core)
		if err == nil {
			err = cmd.Start()
		}
		w.Close()
		if err == nil {
			g.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			g.await(cmd)
		}
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
	close(g.ended)
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
		case <-g.ended:
		case <-time.After(patience):
			g.signal(-g.pid, unix.SIGKILL)
			<-g.ended
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
	select {
	case <-g.ended:
	default:
		return nil
	}
	select {
	case <-g.out.done: // the group is killed, so nobody holds the other end
	case <-time.After(patience): // unless a process has left the group
	}
	how := "exit status 0"
	if g.err != nil {
		how = g.err.Error()
	}
	return fmt.Errorf("it ended by itself (%s)%s", how, quoted(g.out.String()))
}

// tailSize is how much of a server's output is kept, in bytes.
const tailSize = 4 << 10

// tail reads a pipe to its end and keeps what came last.
type tail struct {
	done chan struct{}
	mu   sync.Mutex
	last []byte
}

// newTail reads r in a goroutine of its own, and closes it.
func newTail(r *os.File) *tail {
	t := &tail{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer r.Close()
		_, _ = io.Copy(t, r)
	}()
	return t
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
