package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server that was started for a measurement.
type process struct {
	name string
	cmd  *exec.Cmd
	addr netip.AddrPort
}

// startProcess runs a server pinned to one core and waits for its line "listening on ADDRESS".
func startProcess(name string, core int, argv ...string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive us, however we end
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := pinned(core, cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if a, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			if p.addr, err = netip.ParseAddrPort(a); err != nil {
				p.stop()
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			go io.Copy(io.Discard, out)
			return p, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("%s: ended without a line 'listening on'", name)
}

// pinned calls start on a thread that may run on one core only; the child inherits that.
func pinned(core int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("core %d: %w", core, err)
	}
	defer unix.SchedSetaffinity(0, &before)
	return start()
}

// pinSelf keeps all threads of this process on one core.
func pinSelf(core int) error {
	var one unix.CPUSet
	one.Set(core)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			if err := unix.SchedSetaffinity(tid, &one); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-done
	}
}

// cpuTime is the time that all threads of a process have spent on a core.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no schedstat of process %d", pid)
	}
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has just ended
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// memory is the resident set of a process in bytes, and how many descriptors it has open.
func memory(pid int) (rss int64, fds int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return pages * int64(os.Getpagesize()), len(list), err
}
