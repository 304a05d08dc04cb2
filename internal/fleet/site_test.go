package fleet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testnet"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// site is a host: a network namespace with an address.
type site struct {
	*testnet.Namespace
	t    *testing.T
	addr string       // empty for the one that has the bridge
	http *http.Client // asks from in here
}

func newSite(t *testing.T, addr string) *site {
	t.Helper()
	s := &site{Namespace: testnet.New(t, false), t: t, addr: addr}
	t.Cleanup(s.killAll)
	dial := func(_ context.Context, _, addr string) (net.Conn, error) { return s.dial(addr) }
	s.http = &http.Client{Timeout: tlstest.Hang, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	return s
}

// killAll kills the processes in the namespace, those too that a process of ours has started.
func (s *site) killAll() {
	own := tlstest.Value(os.Readlink(s.File))(s.t)
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil && ns == own && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// dial connects from the namespace. addr has no name, so that no other goroutine makes the socket.
func (s *site) dial(addr string) (c net.Conn, err error) {
	s.In(func() { c, err = net.DialTimeout("tcp4", addr, tlstest.Hang) })
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
	s.In(func() { err = cmd.Start() })
	tlstest.Must(s.t, err)
}

// ip runs ip(8) in the namespace.
func (s *site) ip(args ...string) {
	s.t.Helper()
	var out []byte
	var err error
	s.In(func() { out, err = exec.Command("ip", args...).CombinedOutput() })
	if err != nil {
		s.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// network makes a site for each address, all on one bridge.
func network(t *testing.T, addrs ...string) (all []*site) {
	t.Helper()
	middle := newSite(t, "")
	var err error
	middle.In(func() { err = exec.Command("ip", "link", "add", "bridge", "type", "bridge").Run() })
	if err != nil {
		t.Skipf("needs CAP_NET_ADMIN and a kernel with bridges: %v", err)
	}
	middle.ip("link", "set", "bridge", "up")
	for i, addr := range addrs {
		s := newSite(t, addr)
		port := fmt.Sprintf("port%d", i)
		middle.ip("link", "add", port, "master", "bridge", "type", "veth", "peer", "name", "eth0", "netns", s.File)
		middle.ip("link", "set", port, "up")
		s.ip("link", "set", "lo", "up")
		s.ip("addr", "add", addr+"/24", "dev", "eth0")
		s.ip("link", "set", "eth0", "up")
		all = append(all, s)
	}
	return all
}
