package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

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
	cmd.Env = append([]string{"container=chroot"}, environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
			syscall.CLONE_NEWCGROUP,
		Pdeathsig: syscall.SIGKILL,
	}
	var out tlstest.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ended, err := start(cmd)
	if err != nil {
		t.Skipf("namespaces for a system of its own: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	s := &system{t, cmd.Process.Pid}
	tlstest.Until(t, "systemd is up", func() bool {
		if len(ended) > 0 {
			t.Skipf("systemd cannot run here: %s", out.String())
		}
		state, _ := s.command("systemctl", "is-system-running", "--wait").CombinedOutput()
		return slices.Contains([]string{"running", "degraded"}, strings.TrimSpace(string(state)))
	})
	return s
}

// command is a command in the system.
func (s *system) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(s.pid), "--all", "--root", "--wd", "--"}, args...)...)
	cmd.Env = environment
	return cmd
}

func (s *system) must(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(mustRun(s.t, s.command(args...)))
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
	if _, err := exec.LookPath("nsenter"); err != nil {
		t.Skip("nsenter is missing (package util-linux)")
	}
	root := freshRoot(t)
	mustRun(t, inside(root, false, "apt-get", "-y", "--no-install-recommends", "install", "systemd"))
	copyPackage(t, root)
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
	if s.serves() == first {
		t.Error("after an upgrade the old program runs")
	}
	s.must("systemctl", "stop", "sslecho.service")
	s.must("systemctl", "start", "sslecho.socket")
	tlstest.Must(t, echo(s.pid, "127.0.0.1:8443"))
	s.serves()

	s.must("dpkg", "--purge", "sslecho")
	if echo(s.pid, "127.0.0.1:8443") == nil {
		t.Error("it serves after the purge")
	}
	tlstest.Equal(t, "the units after the purge",
		s.must("systemctl", "show", "--value", "--property", "LoadState", "sslecho.service", "sslecho.socket"), "not-found\n\nnot-found")
	for _, name := range []string{"/run/sslecho", "/etc/systemd/system/multi-user.target.wants/sslecho.service"} {
		if _, err := os.Lstat(filepath.Join(fmt.Sprintf("/proc/%d/root", s.pid), name)); err == nil {
			t.Errorf("left behind: %s", name)
		}
	}
}
