package server

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group has the processes of a process group that have not ended, in ascending order. A zombie has ended: who
// is to reap it may be nobody of ours.
func group(pgid int) ([]int, error) {
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
		// The name, in parentheses, may contain anything; state, parent and group come after it.
		f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
		if len(f) > 2 && f[0] != "Z" && f[0] != "X" && f[2] == strconv.Itoa(pgid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// cpuTime is the time that all threads of a process have spent on a core, user and system, also
// those threads that have ended: its CPU-time clock, in nanoseconds. Of a thread that
// is on a core right now, the time since the last tick may be missing.
func cpuTime(pid int) (time.Duration, error) {
	// What clock_getcpuclockid(3) makes of a pid: ^pid << 3 | CPUCLOCK_SCHED.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("CPU-time clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// usage is what a process has resident, in bytes.
type usage struct {
	own  int64 // anonymous and shared memory, divided among those who share it (PSS)
	file int64 // pages of programs, libraries and other files, in full
	peak int64 // the most of both that there was, nothing divided, since the start or a reset
}

// memory reads it. PSS of file pages would depend on who else on the machine runs on the same libraries.
func memory(pid int) (u usage, err error) {
	status, rollup := fmt.Sprintf("/proc/%d/status", pid), fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	var anon, shared int64
	for _, f := range []struct {
		to         *int64
		path, name string
	}{
		{&anon, rollup, "Pss_Anon:"}, {&shared, rollup, "Pss_Shmem:"},
		{&u.file, status, "RssFile:"}, {&u.peak, status, "VmHWM:"},
	} {
		if *f.to, err = kilobytes(f.path, f.name); err != nil {
			return usage{}, err
		}
	}
	u.own = anon + shared
	return u, nil
}

// kilobytes reads a line such as "VmHWM:  5120 kB" of a file in /proc, in bytes.
func kilobytes(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	kb, err := strconv.ParseInt(strings.TrimSuffix(after(string(b), name), " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s has no %s: %w", path, name, err)
	}
	return kb << 10, nil
}

// resetPeak lets the peak begin at what is resident now (see clear_refs in proc(5)).
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// listening answers the address of the one TCP socket on IPv4 that any of the processes listens on.
func listening(pids []int) (netip.AddrPort, bool, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return netip.AddrPort{}, false, err
	}
	defer f.Close()
	sockets := map[string]netip.AddrPort{}
	lines := bufio.NewScanner(f)
	lines.Scan() // the headings
	for lines.Scan() {
		// sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != "0A" {
			break // the kernel lists all that listen first, and there may be many of the others
		}
		if a, err := parseAddr(f[1]); err == nil {
			sockets["socket:["+f[9]+"]"] = a
		}
	}
	if err := lines.Err(); err != nil {
		return netip.AddrPort{}, false, err
	}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has just ended
		}
		if err != nil {
			return netip.AddrPort{}, false, err
		}
		for _, e := range entries {
			if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && sockets[to].IsValid() {
				return sockets[to], true, nil
			}
		}
	}
	return netip.AddrPort{}, false, nil
}

// parseAddr reads an address of /proc/net/tcp: the four bytes as this machine's integer, a colon, the port.
func parseAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil || len(b) != 4 {
		return netip.AddrPort{}, fmt.Errorf("not an IPv4 address: %q", s)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("bad port: %q", s)
	}
	var ip [4]byte
	binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(b))
	return netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(p)), nil
}
