package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// manager stands in for systemd: the socket that daemons talk to.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c := tlstest.Value(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(t)
	t.Cleanup(func() { c.Close() })
	return &manager{t, c, path}
}

// hears waits for a message that begins with what, and answers it.
func (m *manager) hears(what string) string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(tlstest.Hang))
	b := make([]byte, 4096)
	for {
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("systemd does not hear %s: %v", what, err)
		}
		if strings.HasPrefix(string(b[:n]), what) {
			return string(b[:n])
		}
	}
}

// TestSystemd: what systemd is told at each step of the daemon's life.
func TestSystemd(t *testing.T) {
	m := newManager(t)
	d := install(t, "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=300000", "SSLECHO_LOG_LEVEL=warn")
	contains(t, m.hears("READY=1"), fmt.Sprintf("MAINPID=%d", d.pid()))
	m.hears("WATCHDOG=1")
	d.signal(syscall.SIGHUP)
	m.hears("RELOADING=1")
	m.hears("READY=1")
	before := d.pid()
	d.signal(syscall.SIGUSR2)
	main := m.hears("MAINPID=") // while the one before cannot have ended
	if main == fmt.Sprintf("MAINPID=%d", before) {
		t.Errorf("at the upgrade: %q", main)
	}
	contains(t, m.hears("READY=1"), main+"\n")
	d.expect("stopped\n", 1)
	m.hears("WATCHDOG=1") // of the new process
	d.signal(syscall.SIGTERM)
	m.hears("STOPPING=1")
	d.expect("stopped\n", 2)
}

// TestFailedUpgrade: a process that cannot take over leaves the one before it the main one, and its pid file alone.
func TestFailedUpgrade(t *testing.T) {
	m := newManager(t)
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	tlstest.Must(t, os.Mkdir(pids, 0o700))
	pid := filepath.Join(pids, "pid")
	cmd := exec.Command(binary, "--listen=127.0.0.1:0", "--pid-file", pid)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path)
	r := start(t, cmd)
	main := fmt.Sprintf("MAINPID=%d", cmd.Process.Pid)
	m.hears("READY=1")
	tlstest.Must(t, os.Rename(pids, filepath.Join(dir, "gone")))
	r.signal(syscall.SIGUSR2)
	if s := m.hears("MAINPID="); s == main {
		t.Errorf("%q at first", s)
	}
	tlstest.Equal(t, "in the end", m.hears("MAINPID="), main)
	r.out.expect(t, "upgrade failed, this process goes on")
	r.out.expect(t, "sslecho: --pid-file "+pid)
	tlstest.Must(t, os.Rename(filepath.Join(dir, "gone"), pids))
	tlstest.Equal(t, "pid file", string(tlstest.Value(os.ReadFile(pid))(t)), strconv.Itoa(cmd.Process.Pid))
	r.stop()
	if _, err := os.Stat(pid); !os.IsNotExist(err) {
		t.Errorf("the pid file of a process that has ended: %v", err)
	}
}

// TestUpgradeAndEnd: an upgrade that a drain overtakes is no fault: the process has been told to end.
func TestUpgradeAndEnd(t *testing.T) {
	tickets := writeFile(t, "tickets", strings.Repeat("t", 48)) // the new process waits for its writer
	d := runDaemon(t, "--ticket-keys", tickets)
	os.Remove(tickets)
	fifo(t, tickets)
	d.signal(syscall.SIGUSR2)
	w := tlstest.Value(os.OpenFile(tickets, os.O_WRONLY, 0))(t) // it has begun to read
	defer w.Close()
	d.signal(syscall.SIGTERM)
	if s := d.status(); s != 0 || strings.Contains(d.err.String(), "level=ERROR") {
		t.Errorf("status %d: %s", s, d.err.String())
	}
}

// TestOneEpollForAListener: one epoll instance waits for the listening socket, that of the loop. Were it in that of
// Go's runtime too, each connection would wake one more thread.
func TestOneEpollForAListener(t *testing.T) {
	d := runDaemon(t, "--loops=1")
	proc := fmt.Sprintf("/proc/%d/", d.Process.Pid)
	tlstest.Until(t, "one socket is waited for", func() bool {
		sockets := 0
		infos, _ := filepath.Glob(proc + "fdinfo/*")
		for _, name := range infos {
			info, _ := os.ReadFile(name)
			for line := range strings.Lines(string(info)) {
				if f := strings.Fields(line); len(f) > 1 && f[0] == "tfd:" {
					if target, _ := os.Readlink(proc + "fd/" + f[1]); strings.HasPrefix(target, "socket:") {
						sockets++
					}
				}
			}
		}
		return sockets == 1
	})
}

// TestSocketActivation: sockets that systemd has opened take the place of --listen, also for the process that takes over.
func TestSocketActivation(t *testing.T) {
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	f := tlstest.Value(l.(*net.TCPListener).File())(t)
	defer f.Close()
	dir := t.TempDir()
	pid, other := filepath.Join(dir, "pid"), freePort(t)
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"`, binary,
		"--listen", other, "--pid-file", pid, "--log-level=warn", "--cert", testcerts.Path("ecdsa.pem"), "--key", testcerts.Path("ecdsa.key"))
	cmd.ExtraFiles = []*os.File{f} // number 3, as systemd has it
	out := &start(t, cmd).out
	pidOf := func() int {
		b, _ := os.ReadFile(pid)
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return n
	}
	serves := func() {
		t.Helper()
		served(t, l.Addr().String(), nil)
		if c, err := net.Dial("tcp", other); err == nil {
			c.Close()
			t.Errorf("it also listens on %s", other)
		}
	}
	out.expect(t, "listening on "+l.Addr().String())
	serves()
	tlstest.Until(t, "there is a pid", func() bool { return pidOf() != 0 })
	first := pidOf()
	tlstest.Must(t, syscall.Kill(first, syscall.SIGUSR2))
	out.expect(t, "stopped\n")
	second := pidOf()
	if second == first {
		t.Fatalf("nothing took over:\n%s", out.String())
	}
	serves()
	syscall.Kill(second, syscall.SIGTERM)
	tlstest.Until(t, "the second one stops", func() bool { return strings.Count(out.String(), "stopped\n") == 2 })
}

// TestUser: the daemon binds and reads its key as root, and serves as somebody else.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	chain, key := writeFile(t, "chain.pem", string(testcerts.Read(t, "ecdsa.pem"))), writeFile(t, "key.pem", string(testcerts.Read(t, "ecdsa.key")))
	d := runDaemon(t, "--cert", chain, "--key", key, "--user", "65534:65534", "--log-level=debug")
	status := string(tlstest.Value(os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Process.Pid)))(t))
	contains(t, status, "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t65534")
	served(t, d.addr(), nil)
	d.stop()
	_, _, stderr := refused(t, "--listen=127.0.0.1:0", "--user=no-such-user-here")
	contains(t, stderr, "no such user")
}
