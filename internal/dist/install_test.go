package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
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
// settings that came with it, and answers a client outside; after a purge nothing of it is left.
func TestPackage(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the program under test is not this one; the ordinary run has it")
	}
	root := freshRoot(t)
	files := distribution(t)
	before := snapshot(t, root)
	packages := func() []string {
		return strings.Fields(mustRun(t, tlstest.Hang, inside(root, false, "dpkg-query", "-W", "-f", "${Package}\n")))
	}
	there := packages()
	installed := install(t, root, files, "")

	version := mustRun(t, tlstest.Hang, inside(root, false, "sslecho", "version"))
	for _, want := range []string{runtime.Version(), "OpenSSL 3."} {
		if !strings.Contains(version, want) {
			t.Errorf("sslecho version does not say %q:\n%s", want, version)
		}
	}
	if got := field(t, installed, "Version"); !strings.HasPrefix(got, debianVersion(strings.Fields(version)[1])) {
		t.Errorf("the package has version %s, the program says\n%s", got, version)
	}
	for _, file := range []string{"usr/share/man/man8/sslecho.8.gz", "usr/share/bash-completion/completions/sslecho",
		"usr/share/zsh/vendor-completions/_sslecho", "usr/share/fish/vendor_completions.d/sslecho.fish", "usr/share/doc/sslecho/copyright",
		"usr/share/doc/sslecho/changelog.gz", "usr/share/doc/sslecho/LICENSES.gz", "etc/sslecho/sslecho.yaml"} {
		if s, err := os.Stat(filepath.Join(root, file)); err != nil || s.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
	tlstest.Equal(t, "dpkg --verify", mustRun(t, tlstest.Hang, inside(root, false, "dpkg", "--verify", "sslecho")), "")
	if out := mustRun(t, tlstest.Hang, inside(root, false, "dpkg-query", "-W", "-f", "${Conffiles}", "sslecho")); !strings.Contains(out, "/etc/sslecho/sslecho.yaml ") {
		t.Errorf("settings are no conffile: %q", out)
	}

	serveAsUnit(t, root)

	// And what came with it: apt itself keeps some of that.
	args := []string{"apt-get", "-y", "purge"}
	for _, p := range packages() {
		if !slices.Contains(there, p) {
			args = append(args, p)
		}
	}
	mustRun(t, longLimit, inside(root, false, args...))
	after := snapshot(t, root)
	for name, is := range after {
		if was, there := before[name]; !there {
			t.Errorf("left behind: %s", name)
		} else if was != is {
			t.Errorf("changed: %s from %s to %s", name, was, is)
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			t.Errorf("gone: %s", name)
		}
	}
}

// TestPurgeKeepsKeys: what the administrator has put beside the settings, and the user to whose group it may belong, outlive
// a purge.
func TestPurgeKeepsKeys(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the program under test is not this one; the ordinary run has it")
	}
	root := freshRoot(t)
	install(t, root, distribution(t), "")
	key := filepath.Join(root, "etc/sslecho/key.pem")
	tlstest.Must(t, os.WriteFile(key, []byte("a key\n"), 0o640))
	mustRun(t, tlstest.Hang, inside(root, false, "chgrp", "sslecho", "/etc/sslecho/key.pem"))
	mustRun(t, longLimit, inside(root, false, "dpkg", "--purge", "sslecho"))
	if _, err := os.Stat(key); err != nil {
		t.Error(err)
	}
	if out := mustRun(t, tlstest.Hang, inside(root, false, "stat", "-c", "%G", "/etc/sslecho/key.pem")); out != "sslecho\n" {
		t.Errorf("the key belongs to %s", out)
	}
}

func inModule(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = moduleRoot
	return cmd
}

// distribution runs the program of this package, once for all tests, and answers the folder with the results.
func distribution(t *testing.T) string {
	t.Helper()
	made.Do(func() { makeInto(t, scratch) })
	if made.failed {
		t.Fatal("make dist has failed before")
	}
	return scratch
}

// scratch is a folder for the results.
var scratch string

var made struct {
	sync.Once
	failed bool
}

func makeInto(t *testing.T, dir string) {
	t.Helper()
	made.failed = true
	cmd := inModule("go", "run", "./internal/dist", "-out", dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000") // a worktree of git has no date for the go command
	mustRun(t, longLimit, cmd)
	made.failed = false
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "dist"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// install installs the package, and other packages, with apt, which has kept their files in the root
// file system, and answers what dpkg says of it.
func install(t *testing.T, root, files, others string) string {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(files, "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatal(debs, err)
	}
	copyFile(t, debs[0], filepath.Join(root, "sslecho.deb"))
	args := append([]string{"apt-get", "-y", "--no-install-recommends", "install", "/sslecho.deb"}, strings.Fields(others)...)
	mustRun(t, longLimit, inside(root, false, args...))
	tlstest.Must(t, os.Remove(filepath.Join(root, "sslecho.deb")))
	status := mustRun(t, tlstest.Hang, inside(root, false, "dpkg", "--status", "sslecho"))
	if s := field(t, status, "Status"); s != "install ok installed" {
		t.Fatalf("dpkg says %s", s)
	}
	return status
}

// field is a field of what dpkg says.
func field(t *testing.T, status, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `: (.*)$`).FindStringSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in\n%s", name, status)
	}
	return m[1]
}

// snapshot has what each file of a root file system is, but for those that apt and dpkg keep about their own work
// and those that end with the system.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		for _, own := range []string{"/var/log", "/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/tmp", "/run"} {
			if name == own {
				return fs.SkipDir
			}
		}
		// The copy that is made before each change of /etc/passwd and the like, and a cache.
		if strings.HasPrefix(name, "/etc/") && strings.HasSuffix(name, "-") || name == "/etc/ld.so.cache" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[name] = info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			all[name] += " to " + to
			return err
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			all[name] += fmt.Sprintf(" %x", sha256.Sum256(content))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
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

// serveAsUnit checks the settings and starts the daemon with the commands of the unit, as its user.
func serveAsUnit(t *testing.T, root string) {
	t.Helper()
	user := unitOf(t, root, "User")
	as := func(option string) []string {
		return append([]string{"setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"}, strings.Fields(unitOf(t, root, option))...)
	}
	mustRun(t, tlstest.Hang, inside(root, true, as("ExecStartPre")...))

	serves(t, inside(root, true, as("ExecStart")...))
}

// serves starts the daemon with a command in a network of its own: a client outside gets an echo; SIGTERM ends it with status 0.
func serves(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var failures strings.Builder
	cmd.Stdout, cmd.Stderr = in, &failures
	ended, err := start(cmd)
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	running := true
	defer func() {
		if running {
			cmd.Process.Kill()
			<-ended
		}
	}()
	kill := time.AfterFunc(tlstest.Hang, func() { cmd.Process.Kill() })
	defer kill.Stop()
	var lines []string
	address := ""
	for s := bufio.NewScanner(out); address == "" && s.Scan(); {
		lines = append(lines, s.Text())
		if a, ok := strings.CutPrefix(s.Text(), "listening on "); ok {
			address = a
		}
	}
	if address == "" {
		cmd.Process.Kill()
		<-ended
		running = false
		t.Fatalf("it does not listen: %q\n%s", lines, failures.String())
	}
	go io.Copy(io.Discard, out)
	tlstest.Must(t, echo(cmd.Process.Pid, address))
	tlstest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	err = <-ended
	running = false
	if err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, failures.String())
	}
}

// echo sends bytes over TLS to an address in the network of a process, and wants them back.
func echo(pid int, address string) error {
	result := make(chan error, 1)
	go func() {
		// The thread is in another network afterwards: it ends with this goroutine.
		runtime.LockOSThread()
		result <- func() error {
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
			sent := slices.Repeat([]byte("hello, package\n"), 1000)
			if _, err := c.Write(sent); err != nil {
				return err
			}
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil {
				return err
			}
			if string(got) != string(sent) {
				return fmt.Errorf("other bytes came back")
			}
			return nil
		}()
	}()
	return <-result
}
