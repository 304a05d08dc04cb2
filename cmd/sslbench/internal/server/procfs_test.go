package server

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCPUOfEndedThreads: what a thread has used stays in the sum after its end.
func TestCPUOfEndedThreads(t *testing.T) {
	const work = 30 * time.Millisecond
	type result struct {
		tid  int
		used time.Duration
	}
	var before time.Duration
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		var err error
		if before, err = cpuTime(os.Getpid()); err != nil {
			t.Error(err)
		}
		first := threadTime(t)
		used := time.Duration(0)
		for used < work && !t.Failed() {
			used = threadTime(t) - first
		}
		done <- result{unix.Gettid(), used}
	}()
	r := <-done
	task := "/proc/self/task/" + strconv.Itoa(r.tid)
	until(t, "the thread does not end", func() bool { _, err := os.Stat(task); return os.IsNotExist(err) })
	after, err := cpuTime(os.Getpid())
	if err != nil || after-before < r.used {
		t.Errorf("%v more, %v; the thread alone has used %v", after-before, err, r.used)
	}
}

func threadTime(t *testing.T) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Error(err)
	}
	return time.Duration(ts.Nano())
}

// nobody is above the kernel's greatest process id.
const nobody = 1<<22 + 1

// TestCPUOfNobody: there is no clock of a process that is not there.
func TestCPUOfNobody(t *testing.T) {
	_, err := cpuTime(nobody)
	contains(t, err, fmt.Sprintf("CPU-time clock of process %d", nobody))
}

// TestResetPeak: the peak falls only when it is reset.
func TestResetPeak(t *testing.T) {
	const big = 64 << 20
	b, err := unix.Mmap(-1, 0, big, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	before, err := memory(os.Getpid())
	if err != nil || before.own < big || before.peak < before.own || before.file <= 0 {
		t.Fatalf("%+v, %v; want more than %d", before, err, big)
	}
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	// The kernel adds up its counters now and then only, so the peak may move a little.
	if now, err := memory(os.Getpid()); err != nil || now.peak < before.peak-big/2 || now.own > before.own-big/2 {
		t.Errorf("%+v has become %+v by munmap, %v", before, now, err)
	}
	if err := resetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if now, err := memory(os.Getpid()); err != nil || now.peak > before.peak-big/2 {
		t.Errorf("%+v has become %+v by the reset, %v", before, now, err)
	}
}

// TestMemoryOfMany: pages that a parent and its children share count once.
func TestMemoryOfMany(t *testing.T) {
	p := start(t, kind(t, Nginx), spec(t, Handshakes))
	resident, peak, err := p.Memory()
	if err != nil || resident >= peak {
		t.Errorf("%d resident, peaks of %d, %v: nothing is shared", resident, peak, err)
	}
}

// TestListening finds our own socket, and none after it is closed.
func TestListening(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	want := l.Addr().(*net.TCPAddr).AddrPort()
	if got, ok, err := listening([]int{os.Getpid()}); got != want || !ok || err != nil {
		t.Errorf("%v, %v, %v; want %v", got, ok, err, want)
	}
	l.Close()
	if got, ok, err := listening([]int{os.Getpid(), nobody}); ok || err != nil {
		t.Errorf("%v, %v, %v; want none", got, ok, err)
	}
}

func TestParseAddr(t *testing.T) {
	if runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" {
		if got, err := parseAddr("0100007F:1F90"); got != netip.MustParseAddrPort("127.0.0.1:8080") || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	for _, bad := range []string{"", "0100007F", "0100007F:", "0100007F:10000", "xyz:1", "00:1"} {
		if got, err := parseAddr(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

// TestTail: only the end of a long output is kept.
func TestTail(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out := newTail(r)
	for range 100 {
		if _, err := w.WriteString(strings.Repeat("x", 999) + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	w.WriteString("the end")
	w.Close()
	out.wait()
	if s := out.String(); len(s) > tailSize+10 || !strings.HasPrefix(s, "…") || !strings.HasSuffix(s, "\nthe end") {
		t.Errorf("%d bytes: %.20q … %q", len(s), s, s[len(s)-20:])
	}
}

func TestFileLimit(t *testing.T) {
	n, err := RaiseFileLimit()
	if err != nil || n < 1024 {
		t.Fatalf("%d, %v", n, err)
	}
	// Those that we start have the same.
	p := start(t, kind(t, SServer), spec(t, Reverse))
	var lim unix.Rlimit
	if err := unix.Prlimit(p.server.pid, unix.RLIMIT_NOFILE, nil, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur != uint64(n) {
		t.Errorf("a server may open %d files, we may open %d", lim.Cur, n)
	}
}

// TestPinSelf pins, and lets go again for the other tests.
func TestPinSelf(t *testing.T) {
	cores, err := Cores()
	if err != nil || len(cores) == 0 {
		t.Fatalf("%v, %v", cores, err)
	}
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	defer func() {
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			if tid, err := strconv.Atoi(task.Name()); err == nil {
				_ = unix.SchedSetaffinity(tid, &before)
			}
		}
	}()
	last := cores[len(cores)-1]
	if err := PinSelf(last); err != nil {
		t.Fatal(err)
	}
	checkPinned(t, []int{os.Getpid()}, last)
	contains(t, PinSelf(1000), "pinning to core 1000")
}
