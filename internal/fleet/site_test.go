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
	addr string // empty for the one that has the bridge
	ns   string // the namespace as a file of /proc, good as long as the thread lives
	id   string // what such a file of each process in it links to
	work chan func()
	http *http.Client // asks from in here
}

// newSite makes a namespace, and skips the test where that is not allowed.
func newSite(t *testing.T, addr string) *site {
	t.Helper()
	s := &site{addr: addr, work: make(chan func())}
	made := make(chan error)
	var gone sync.WaitGroup
	gone.Go(func() {
		runtime.LockOSThread()
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		s.ns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		if err == nil {
			s.id, err = os.Readlink(s.ns)
		}
		made <- err
		if err != nil {
			return
		}
		for f := range s.work {
			f()
		}
	})
	err := <-made
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dial := func(_ context.Context, _, addr string) (net.Conn, error) { return s.dial(addr) }
	s.http = &http.Client{Timeout: tlstest.Hang, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	t.Cleanup(func() { s.killAll(); close(s.work); gone.Wait() })
	return s
}

// killAll kills the processes in the namespace, those too that a process of ours has started.
func (s *site) killAll() {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if id, err := os.Readlink(dir + "/ns/net"); err == nil && id == s.id && pid != os.Getpid() {
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

// get asks over HTTP; the status is 0 where nobody answers.
func (s *site) get(url string) (status int, body string) {
	r, err := s.http.Get(url)
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
func (s *site) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var err error
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.in(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
}

// try runs a command in the namespace.
func (s *site) try(name string, args ...string) (err error) {
	s.in(func() {
		out, failed := command(name, args...).CombinedOutput()
		if failed != nil {
			err = fmt.Errorf("%s %v: %w\n%s", name, args, failed, out)
		}
	})
	return err
}

// run runs one that must not fail.
func (s *site) run(t *testing.T, name string, args ...string) {
	t.Helper()
	tlstest.Must(t, s.try(name, args...))
}

// network makes a site for each address, all on one bridge.
func network(t *testing.T, addrs ...string) []*site {
	t.Helper()
	middle := newSite(t, "")
	if err := middle.try("ip", "link", "add", "bridge", "type", "bridge"); err != nil {
		t.Skipf("needs CAP_NET_ADMIN and a kernel with bridges: %v", err)
	}
	middle.run(t, "ip", "link", "set", "bridge", "up")
	var all []*site
	for i, addr := range addrs {
		s := newSite(t, addr)
		port := fmt.Sprintf("port%d", i)
		middle.run(t, "ip", "link", "add", port, "master", "bridge", "type", "veth", "peer", "name", "eth0", "netns", s.ns)
		middle.run(t, "ip", "link", "set", port, "up")
		s.run(t, "ip", "link", "set", "lo", "up")
		s.run(t, "ip", "addr", "add", addr+"/24", "dev", "eth0")
		s.run(t, "ip", "link", "set", "eth0", "up")
		all = append(all, s)
	}
	return all
}
