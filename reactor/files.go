package reactor

import "golang.org/x/sys/unix"

// mostFiles is how many descriptors a Server makes room for. It takes 8 bytes of kernel memory for each, and a bit or two.
const mostFiles = 1 << 16

// growFiles makes the process's table of descriptors as large as it may become, up to mostFiles. In a process with several threads the
// kernel waits for a grace period of RCU each time that the table doubles (expand_fdtable in fs/file.c): accept4
// blocks for 10 to 20 ms then, and all connections of the loop with it. Where it fails, that is how it stays.
func growFiles(fd int) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return
	}
	if top, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, int(min(l.Cur, mostFiles))-1); err == nil {
		unix.Close(top)
	}
}
