package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// system is a root file system that systemd runs, with processes, a network and a host name of its own.
type system struct {
	t   *testing.T
	pid int // of its process 1, as seen from here
}

// bootScript mounts what systemd wants to find and becomes its process 1. It lets nobody log in at this machine's terminals.
const bootScript = `mount --make-rprivate /
	ip link set lo up
	mount --bind "$0" "$0"
	mount -t proc proc "$0/proc"
	mount -t sysfs -o ro sysfs "$0/sys"
	mount -t tmpfs -o mode=755 tmpfs "$0/run"
	mkdir -p "$0/etc/systemd/system-generators"
	ln -s /dev/null "$0/etc/systemd/system/getty.target"
	ln -s /dev/null "$0/etc/systemd/system-generators/systemd-getty-generator"
	if [ -d /sys/fs/cgroup/systemd ]; then # version 1 of cgroups, where systemd needs a hierarchy of its own alone
		mount -t tmpfs -o mode=755 tmpfs "$0/sys/fs/cgroup"
		mkdir "$0/sys/fs/cgroup/systemd"
		mount -t cgroup -o none,name=systemd cgroup "$0/sys/fs/cgroup/systemd"
	else
		mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
	fi
	cd "$0"
	exec chroot "$0" /lib/systemd/systemd --log-target=null --show-status=no --unit=multi-user.target`

// boot starts systemd in root and waits until it is up. It ends with the test.
func boot(t *testing.T, root string) *system {
	t.Helper()
	cmd := exec.Command("sh", "-ec", bootScript, root)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=chroot"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	wait, err := start(cmd)
	if err != nil {
		t.Skipf("namespaces for a system of its own: %v", err)
	}
	ended := make(chan struct{})
	go func() { <-wait; close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	s := &system{t, cmd.Process.Pid}
	var answer []byte
	for deadline := time.Now().Add(tlstest.Hang); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			t.Skipf("systemd cannot run here: %s", out.String())
		default:
		}
		answer, _ = s.command("systemctl", "is-system-running", "--wait").CombinedOutput()
		if state := strings.TrimSpace(string(answer)); state == "running" || state == "degraded" {
			return s
		}
	}
	t.Fatalf("systemd does not come up: %s\n%s", answer, out.String())
	return nil
}

// command is a command in the system.
func (s *system) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(s.pid), "--all", "--root", "--wd", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"}
	return cmd
}

func (s *system) must(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(mustRun(s.t, longLimit, s.command(args...)))
}

// serves wants the daemon to run, by itself and for a client, and answers its process id in the system.
func (s *system) serves() string {
	s.t.Helper()
	if out, err := s.command("systemctl", "is-active", "sslecho.service").CombinedOutput(); err != nil {
		status, _ := s.command("systemctl", "status", "--no-pager", "--full", "sslecho.service").CombinedOutput()
		s.t.Fatalf("%v: %s\n%s", err, out, status)
	}
	tlstest.Must(s.t, echo(s.pid, "127.0.0.1:8443"))
	return s.must("systemctl", "show", "--value", "--property", "MainPID", "sslecho.service")
}

// TestSystemd: under systemd, the package's installation starts the daemon, with all of the unit's restrictions; reload and
// upgrade do what they should; a socket unit may listen in its place; a purge stops it.
func TestSystemd(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the program under test is not this one; the ordinary run has it")
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		t.Skip("nsenter is missing (package util-linux)")
	}
	root := freshRoot(t)
	mustRun(t, longLimit, inside(root, false, "apt-get", "-y", "--no-install-recommends", "install", "systemd"))
	debs, err := filepath.Glob(filepath.Join(distribution(t), "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatal(debs, err)
	}
	copyFile(t, debs[0], filepath.Join(root, "sslecho.deb"))
	s := boot(t, root)

	s.must("apt-get", "-y", "--no-install-recommends", "install", "/sslecho.deb")
	first := s.serves()
	tlstest.Equal(t, "the service", s.must("systemctl", "is-enabled", "sslecho.service"), "enabled")
	if state, _ := s.command("systemctl", "is-enabled", "sslecho.socket").Output(); strings.TrimSpace(string(state)) != "disabled" {
		t.Errorf("the socket unit is %s", state)
	}
	s.must("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/sslecho.service", "/usr/lib/systemd/system/sslecho.socket")
	tlstest.Equal(t, "its user", s.must("stat", "-c", "%U", "/proc/"+first), "sslecho")

	s.must("systemctl", "reload", "sslecho.service")
	tlstest.Equal(t, "the process after a reload", s.serves(), first)
	s.must("apt-get", "-y", "install", "--reinstall", "/sslecho.deb")
	if pid := s.serves(); pid == first {
		t.Error("after an upgrade the old program runs")
	}
	s.must("systemctl", "stop", "sslecho.service")
	s.must("systemctl", "start", "sslecho.socket")
	tlstest.Must(t, echo(s.pid, "127.0.0.1:8443"))
	s.serves()

	s.must("dpkg", "--purge", "sslecho")
	if err := echo(s.pid, "127.0.0.1:8443"); err == nil {
		t.Error("it serves after the purge")
	}
	if state := s.must("systemctl", "show", "--value", "--property", "LoadState", "sslecho.service", "sslecho.socket"); state != "not-found\n\nnot-found" {
		t.Errorf("after the purge systemd says of the units: %q", state)
	}
	for _, name := range []string{"/run/sslecho", "/etc/systemd/system/multi-user.target.wants/sslecho.service"} {
		if _, err := os.Lstat(filepath.Join(fmt.Sprintf("/proc/%d/root", s.pid), name)); err == nil {
			t.Errorf("left behind: %s", name)
		}
	}
}
