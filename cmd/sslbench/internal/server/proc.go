package server

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processes has the processes of a group that have not ended. A zombie has
// ended: who is to reap it may be nobody of ours.
func processes(pgid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has just ended
		}
		// The name, in parentheses, may contain anything; state, parent and group
		// come after it.
		f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
		if len(f) > 2 && f[0] != "Z" && f[0] != "X" && f[2] == strconv.Itoa(pgid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// cpuTime is the time that all threads of a process have spent on a core, user
// and system, also those that have ended: its CPU-time clock. Of a thread that is
// on a core right now, the time since the last tick may be missing.
func cpuTime(pid int) (time.Duration, error) {
	// What clock_getcpuclockid(3) makes of a pid: ^pid << 3 | CPUCLOCK_SCHED.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("CPU-time clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
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
