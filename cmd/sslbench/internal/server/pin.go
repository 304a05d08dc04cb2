package server

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pinThread keeps the calling thread on one core; the goroutine must be locked to it.
func pinThread(core int) error {
	var one unix.CPUSet
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pinning to core %d: %w", core, err)
	}
	return nil
}

// PinSelf keeps all threads of this process on one core, also those that are yet to be created.
// The number of Ps (GOMAXPROCS) stays.
func PinSelf(core int) error {
	var one unix.CPUSet
	one.Set(core)
	for pinned := map[int]bool{}; ; {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		news := 0
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || pinned[tid] {
				continue
			}
			if err := unix.SchedSetaffinity(tid, &one); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pinning to core %d: %w", core, err)
			}
			pinned[tid] = true
			news++
		}
		// A thread that was created meanwhile by one that was not pinned yet is in the next list.
		if news == 0 {
			return nil
		}
	}
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

// wantedFiles is enough for the connections of any measurement, and for a proxy's to its backend.
const wantedFiles = 200_000

// RaiseFileLimit lets this process and those that it starts from now on have as many files open as may
// be, and answers how many that are. Without CAP_SYS_RESOURCE, which root may lack in a container, that is the hard
// limit that this process was started with. Start calls it.
func RaiseFileLimit() (int, error) { return raiseFileLimit() }

var raiseFileLimit = sync.OnceValues(func() (int, error) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	// Through package syscall: otherwise the runtime gives children the limit that it found.
	want := lim
	want.Cur = max(lim.Cur, wantedFiles)
	want.Max = max(lim.Max, want.Cur)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
		return int(want.Cur), nil
	}
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	return int(lim.Cur), nil
})
