package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// site is a network namespace. What runs in it runs on a thread of its own, which is never given back and ends with the test.
type site struct {
	t    *testing.T
	addr string // empty for the one that has the bridge
	ns   string // the namespace as a file of /proc, good as long as the thread lives
	work chan func()
	http *http.Client // asks from in here
}

// newSite makes a namespace, and skips the test where that is not allowed.
func newSite(t *testing.T, addr string) *site {
	t.Helper()
	s := &site{t: t, addr: addr, work: make(chan func())}
	made := make(chan error)
	var gone sync.WaitGroup
	gone.Go(func() {
		runtime.LockOSThread()
		s.ns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		for f := range s.work {
			f()
		}
	})
	err := <-made
	t.Cleanup(func() { close(s.work); gone.Wait() })
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	}
	tlstest.Must(t, err)
	t.Cleanup(s.killAll)
	dial := func(_ context.Context, _, addr string) (net.Conn, error) { return s.dial(addr) }
	s.http = &http.Client{Timeout: tlstest.Hang, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	return s
}

// killAll kills the processes in the namespace, those too that a process of ours has started.
func (s *site) killAll() {
	own := tlstest.Value(os.Readlink(s.ns))(s.t)
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil && ns == own && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// in runs f in the namespace. A socket stays in the one that it was made in, and so does a process.
func (s *site) in(f func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

// dial connects from the namespace. addr has no name, so that no other goroutine makes the socket.
func (s *site) dial(addr string) (c net.Conn, err error) {
	s.in(func() { c, err = net.DialTimeout("tcp4", addr, tlstest.Hang) })
	return c, err
}

// get asks a port of an address over HTTP; the status is 0 where nobody answers.
func (s *site) get(addr, port, path string) (status int, body string) {
	r, err := s.http.Get("http://" + net.JoinHostPort(addr, port) + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(b)
}

// start starts a process in the namespace. It ends with the thread, whatever happens to the test.
func (s *site) start(cmd *exec.Cmd) {
	s.t.Helper()
	var err error
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.in(func() { err = cmd.Start() })
	tlstest.Must(s.t, err)
}

// ip runs ip(8) in the namespace.
func (s *site) ip(args ...string) {
	s.t.Helper()
	var out []byte
	var err error
	s.in(func() { out, err = exec.Command("ip", args...).CombinedOutput() })
	if err != nil {
		s.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// network makes a site for each address, all on one bridge.
func network(t *testing.T, addrs ...string) (all []*site) {
	t.Helper()
	middle := newSite(t, "")
	var err error
	middle.in(func() { err = exec.Command("ip", "link", "add", "bridge", "type", "bridge").Run() })
	if err != nil {
		t.Skipf("needs CAP_NET_ADMIN and a kernel with bridges: %v", err)
	}
	middle.ip("link", "set", "bridge", "up")
	for i, addr := range addrs {
		s := newSite(t, addr)
		port := fmt.Sprintf("port%d", i)
		middle.ip("link", "add", port, "master", "bridge", "type", "veth", "peer", "name", "eth0", "netns", s.ns)
		middle.ip("link", "set", port, "up")
		s.ip("link", "set", "lo", "up")
		s.ip("addr", "add", addr+"/24", "dev", "eth0")
		s.ip("link", "set", "eth0", "up")
		all = append(all, s)
	}
	return all
}
