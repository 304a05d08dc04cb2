package server

import (
	"context"
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

const (
	// patience is what a server gets to end after SIGTERM.
	patience = 5 * time.Second
	// pollEvery is how often we look whether something has happened that nothing announces.
	pollEvery = 2 * time.Millisecond
)

// child is a process group that one process of ours leads.
type child struct {
	pid   int // also the id of the group
	out   *tail
	stdin *os.File // held open for a server that would end without, else nil
	ended chan struct{}
	err   error // how it ended, once ended is closed

	mu     sync.Mutex
	reaped bool // its id may be somebody else's
}

// launch starts a process as the leader of a group, on one core. The goroutine that starts it is
// locked to a thread for as long as it runs, see the package comment.
func launch(p plan, dir string, core int) (*child, error) {
	if _, err := RaiseFileLimit(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &child{out: newTail(r), ended: make(chan struct{})}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir = dir
	cmd.Stderr = w
	if !p.discard {
		cmd.Stdout = w
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.gentle {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if p.stdin {
		in, hold, err := os.Pipe()
		if err != nil {
			r.Close()
			w.Close()
			return nil, err
		}
		defer in.Close()
		cmd.Stdin, c.stdin = in, hold
	}
	started := make(chan error)
	go func() {
		// No unlock: the thread is pinned, so it must not serve others afterwards. It ends with the goroutine.
		runtime.LockOSThread()
		err := pinThread(core)
		if err == nil {
			err = cmd.Start()
		}
		w.Close()
		if err != nil {
			started <- err
			return
		}
		c.pid = cmd.Process.Pid
		started <- nil
		c.await(cmd)
	}()
	if err := <-started; err != nil {
		c.out.wait()
		c.closeStdin()
		return nil, err
	}
	return c, nil
}

// await returns when the leader has ended, and has killed what it left of its group by then.
func (c *child) await(cmd *exec.Cmd) {
	// While the leader is a zombie, no other group can have its id.
	for {
		err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	c.mu.Lock()
	_ = unix.Kill(-c.pid, unix.SIGKILL)
	c.reaped = true
	c.mu.Unlock()
	c.err = cmd.Wait()
	close(c.ended)
}

// killGroup kills all processes of the group.
func (c *child) killGroup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = unix.Kill(-c.pid, unix.SIGKILL)
	}
}

// terminate sends the leader SIGTERM.
func (c *child) terminate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = unix.Kill(c.pid, unix.SIGTERM)
	}
}

// stop ends the group and returns when nothing is left of it. An error says that it
// had ended before, and how, or that a process cannot be killed.
func (c *child) stop() error {
	var err error
	select {
	case <-c.ended:
		err = c.death()
	default:
		c.terminate()
		select {
		case <-c.ended:
		case <-time.After(patience):
			c.killGroup()
			<-c.ended
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if gone := poll(ctx, func() (bool, error) {
		pids, err := group(c.pid)
		return len(pids) == 0, err
	}); gone != nil {
		return errors.Join(err, fmt.Errorf("process group %d is still there after SIGKILL: %w", c.pid, gone))
	}
	c.closeStdin()
	c.out.wait()
	return err
}

func (c *child) closeStdin() {
	if c.stdin != nil {
		c.stdin.Close()
	}
}

// death is the error of a server that has ended by itself, and nil while it lives.
func (c *child) death() error {
	select {
	case <-c.ended:
	default:
		return nil
	}
	c.out.wait() // the group is killed, so nobody holds the other end
	how := "exit status 0"
	if c.err != nil {
		how = c.err.Error()
	}
	return fmt.Errorf("it ended by itself (%s)%s", how, quoted(c.out.String()))
}

// poll asks until the answer is yes, or ctx ends.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// tailSize is how much of a server's output is kept, in bytes.
const tailSize = 4 << 10

// tail reads a pipe to its end and keeps what came last.
type tail struct {
	done chan struct{}
	mu   sync.Mutex
	last []byte
	cut  bool
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

// wait returns when all who could write have closed the pipe. After the end of a group that is at
// once, unless one of its processes has left the group.
func (t *tail) wait() {
	select {
	case <-t.done:
	case <-time.After(patience):
	}
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if n := len(t.last) - tailSize; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return "…" + string(t.last)
	}
	return string(t.last)
}
