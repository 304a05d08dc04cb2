package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestPackage: in a fresh Debian the package installs with what it depends on; the daemon starts as the unit says, with the
// settings that came with it, and answers a client outside. What the administrator has put beside the settings, and the user to
// whose group it may belong, outlive a purge; without that nothing is left after one.
func TestPackage(t *testing.T) {
	root := freshRoot(t)
	run := func(args ...string) string { t.Helper(); return mustRun(t, inside(root, false, args...)) }
	before, packages := snapshot(t, root), strings.Fields(run("dpkg-query", "-W", "-f", "${Package}\n"))
	install(t, root)

	tlstest.Equal(t, "the status", run("dpkg-query", "-W", "-f", "${Status}", "sslecho"), "install ok installed")
	version := run("sslecho", "version")
	for _, want := range []string{runtime.Version(), "OpenSSL 3."} {
		if !strings.Contains(version, want) {
			t.Errorf("sslecho version does not say %q:\n%s", want, version)
		}
	}
	if got := run("dpkg-query", "-W", "-f", "${Version}", "sslecho"); !strings.HasPrefix(got, debianVersion(strings.Fields(version)[1])) {
		t.Errorf("the package has version %s, the program says\n%s", got, version)
	}
	for _, file := range []string{"usr/share/man/man8/sslecho.8.gz", "usr/share/bash-completion/completions/sslecho",
		"usr/share/zsh/vendor-completions/_sslecho", "usr/share/fish/vendor_completions.d/sslecho.fish", "usr/share/doc/sslecho/copyright",
		"usr/share/doc/sslecho/changelog.gz", "usr/share/doc/sslecho/LICENSES.gz", "etc/sslecho/sslecho.yaml"} {
		if s, err := os.Stat(filepath.Join(root, file)); err != nil || s.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
	tlstest.Equal(t, "dpkg --verify", run("dpkg", "--verify", "sslecho"), "")
	if out := run("dpkg-query", "-W", "-f", "${Conffiles}", "sslecho"); !strings.Contains(out, "/etc/sslecho/sslecho.yaml ") {
		t.Errorf("settings are no conffile: %q", out)
	}

	user := unitOf(t, root, "User")
	as := func(option string) *exec.Cmd {
		args := []string{"setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"}
		return inside(root, true, append(args, strings.Fields(unitOf(t, root, option))...)...)
	}
	mustRun(t, as("ExecStartPre"))
	serves(t, as("ExecStart"))

	key := filepath.Join(root, "etc/sslecho/key.pem")
	tlstest.Must(t, os.WriteFile(key, []byte("a key\n"), 0o640))
	run("chgrp", "sslecho", "/etc/sslecho/key.pem")
	run("dpkg", "--purge", "sslecho")
	tlstest.Equal(t, "the key belongs to", run("stat", "-c", "%G", "/etc/sslecho/key.pem"), "sslecho\n")
	tlstest.Must(t, os.Remove(key))
	install(t, root)

	// And what came with it: apt itself keeps some of that.
	purge := []string{"apt-get", "-y", "purge"}
	for _, p := range strings.Fields(run("dpkg-query", "-W", "-f", "${Package}\n")) {
		if !slices.Contains(packages, p) {
			purge = append(purge, p)
		}
	}
	run(purge...)
	after := snapshot(t, root)
	for file := range after {
		if !before[file] {
			t.Errorf("left behind, or changed: %s", file)
		}
	}
	for file := range before {
		if !after[file] {
			t.Errorf("gone, or changed: %s", file)
		}
	}
}

// inModule is a command in the module's root, as make runs it.
func inModule(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "../.."
	return cmd
}

// scratch is a folder for the results.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "dist"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

var made struct {
	sync.Once
	well bool
}

// distribution runs the program of this package, once for all tests, and answers the folder with the results.
func distribution(t *testing.T) string {
	t.Helper()
	made.Do(func() {
		makeInto(t, scratch)
		made.well = true
	})
	if !made.well {
		t.Fatal("make dist has failed before")
	}
	return scratch
}

func makeInto(t *testing.T, dir string) {
	t.Helper()
	cmd := inModule("go", "run", "./internal/dist", "-out", dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000") // a worktree of git has no date for the go command
	mustRun(t, cmd)
}

// result is the one file of a folder that pattern matches.
func result(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

// copyPackage puts the package into a root file system.
func copyPackage(t *testing.T, root string) {
	t.Helper()
	mustRun(t, exec.Command("cp", result(t, distribution(t), "*.deb"), filepath.Join(root, "sslecho.deb")))
}

// install installs the package with apt, which has kept the files of other packages in the root file system.
func install(t *testing.T, root string) {
	t.Helper()
	copyPackage(t, root)
	mustRun(t, inside(root, false, "apt-get", "-y", "--no-install-recommends", "install", "/sslecho.deb"))
	tlstest.Must(t, os.Remove(filepath.Join(root, "sslecho.deb")))
}

// snapshot has what each file of a root file system is, but for those that apt and dpkg keep about their own work, those that end
// with the system, a cache, and the copies that are made before each change of /etc/passwd and the like.
func snapshot(t *testing.T, root string) map[string]bool {
	t.Helper()
	const script = `cd "$0"; find . \( -path ./var/log -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./tmp -o \
		-path ./run -o -path ./etc/ld.so.cache -o -path './etc/*-' \) -prune -o -printf '%M %p %l\n' -type f -exec sha256sum {} +`
	all := map[string]bool{}
	for line := range strings.Lines(mustRun(t, exec.Command("sh", "-ec", script, root))) {
		all[line] = true
	}
	return all
}

// unitOf is the value of an option in the installed unit.
func unitOf(t *testing.T, root, option string) string {
	t.Helper()
	b := tlstest.Value(os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/sslecho.service")))(t)
	m := regexp.MustCompile(`(?m)^` + option + `=(.*)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("the unit has no %s", option)
	}
	return string(m[1])
}

// serves starts the daemon with a command in a network of its own: a client outside gets an echo; SIGTERM ends it with status 0.
func serves(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out tlstest.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ended, err := start(cmd)
	tlstest.Must(t, err)
	defer cmd.Process.Kill()
	var address []string
	tlstest.Until(t, "it listens", func() bool {
		address = regexp.MustCompile(`(?m)^listening on (\S+)\n`).FindStringSubmatch(out.String())
		return address != nil || len(ended) > 0
	})
	if address == nil {
		t.Fatalf("it does not listen: %s", out.String())
	}
	tlstest.Must(t, echo(cmd.Process.Pid, address[1]))
	tlstest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := tlstest.Receive(t, ended, "the end after SIGTERM"); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, out.String())
	}
}

// echo sends bytes over TLS to an address in the network of a process, and wants them back.
func echo(pid int, address string) error {
	return <-tlstest.Later(func() error {
		// The thread is in another network afterwards: it ends with this goroutine.
		runtime.LockOSThread()
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		d := net.Dialer{Timeout: tlstest.Hang}
		c, err := tls.DialWithDialer(&d, "tcp", address, &tls.Config{InsecureSkipVerify: true}) // made in memory by the daemon
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(tlstest.Hang))
		sent, got := tlstest.Bytes(15_000, 1), make([]byte, 15_000)
		if _, err = c.Write(sent); err == nil {
			_, err = io.ReadFull(c, got)
		}
		if err == nil && !bytes.Equal(got, sent) {
			err = errors.New("other bytes came back")
		}
		return err
	})
}
