package reactor

import "golang.org/x/sys/unix"

// mostFiles is how many descriptors a Server makes room for. Each takes a
// little more than 8 bytes of kernel memory.
const mostFiles = 1 << 16

// growFiles grows the process's descriptor table to RLIMIT_NOFILE, but at most
// to mostFiles. In a process with several threads the kernel waits for an RCU
// grace period each time that the table doubles (expand_fdtable in fs/file.c):
// accept4 then blocks for 10 to 20 ms, and all connections of the loop with it.
// Errors are ignored: the table then grows as needed.
func growFiles(fd int) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return
	}
	if top, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, int(min(l.Cur, mostFiles))-1); err == nil {
		unix.Close(top)
	}
}
