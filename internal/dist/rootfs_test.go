package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const (
	// moduleRoot is where the test begins, as make does.
	moduleRoot = "../.."
	// longLimit is for what compiles, downloads or installs.
	longLimit = 15 * time.Minute
	keyring   = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// whole says that what the caches lack may be made: DIST=full.
func whole() bool { return os.Getenv("DIST") == "full" }

// suite is the release of Debian that is installed to: DIST_SUITE, else this machine's, since what it builds asks for its C
// library at the least.
func suite() string {
	if s := os.Getenv("DIST_SUITE"); s != "" {
		return s
	}
	b, _ := os.ReadFile("/etc/os-release")
	values := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.Trim(value, `"`)
	}
	if values["ID"] == "debian" && values["VERSION_CODENAME"] != "" {
		return values["VERSION_CODENAME"]
	}
	return "bookworm"
}

// cache is the folder outside the tree in which root file systems are kept.
func cache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("GO_OPENSSL_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no place to keep a root file system in: %v", err)
	}
	return filepath.Join(dir, "go-openssl")
}

// mustRun runs a command to its end and answers what it printed.
func mustRun(t *testing.T, within time.Duration, cmd *exec.Cmd) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = 10 * time.Second
	ended, err := start(cmd)
	if err != nil {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	if err := <-ended; err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, tail(out.String()))
	}
	return out.String()
}

// start starts a command, whose end comes through the channel. It has a thread for its whole life: the kernel takes the end of the
// thread that started a process with Pdeathsig for its parent's, and threads that have been to another network end (see echo).
func start(cmd *exec.Cmd) (<-chan error, error) {
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return ended, <-started
}

// tail is the end of a long text.
func tail(s string) string { return s[max(0, len(s)-4000):] }

// inside is a command in the root file system root, with processes of its own that end with it. With network, it also has a
// network of its own, which is a loopback device alone.
func inside(root string, network bool, args ...string) *exec.Cmd {
	const script = `mount --make-rprivate /
		mount -t proc proc "$0/proc"
		[ "$1" = false ] || ip link set lo up
		root=$0; shift
		exec chroot "$root" "$@"`
	cmd := exec.Command("sh", append([]string{"-ec", script, root, fmt.Sprint(network)}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"}
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID)
	if network {
		flags |= syscall.CLONE_NEWNET
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// freshRoot answers a root file system of nothing but Debian's smallest set of packages, which is this test's own. The one that
// it is a copy of is made once, when DIST=full allows it.
func freshRoot(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a root file system needs root (mounts, namespaces and chroot)")
	}
	for _, p := range []string{"debootstrap", "ip", "chroot", "apt-get"} {
		if _, err := exec.LookPath(p); err != nil && whole() {
			t.Fatalf("%s is missing; install it", p)
		} else if err != nil {
			t.Skipf("%s is missing", p)
		}
	}
	if err := inside("/", true, "true").Run(); err != nil {
		t.Skipf("this root may not make namespaces, as in most containers: %v", err)
	}
	dir, base := cache(t), filepath.Join(cache(t), "rootfs-"+suite())
	if _, err := os.Stat(base); err != nil && !whole() {
		t.Skipf("there is no %s yet: make dist-test makes it (two minutes and a few hundred MB)", base)
	}
	tlstest.Must(t, os.MkdirAll(dir, 0o755))
	lock := tlstest.Value(os.OpenFile(base+".lock", os.O_CREATE|os.O_RDWR, 0o644))(t)
	defer lock.Close()
	tlstest.Must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	if _, err := os.Stat(base); err != nil {
		makeBase(t, dir, base)
	}
	copied := tlstest.Value(os.MkdirTemp(dir, "dist-test"))(t)
	t.Cleanup(func() {
		if err := os.RemoveAll(copied); err != nil {
			t.Error(err)
		}
	})
	root := filepath.Join(copied, "root")
	mustRun(t, longLimit, exec.Command("cp", "-a", "--reflink=auto", base, root))
	return root
}

// makeBase makes the root file system base, beside its place at first. It keeps the packages that tests install, so that
// they need no network.
func makeBase(t *testing.T, dir, base string) {
	t.Helper()
	main := mirror("")
	if main == "" { // apt's lists may be empty, as in many images
		mustRun(t, longLimit, exec.Command("apt-get", "-qq", "update"))
		main = mirror("")
	}
	if main == "" {
		t.Fatal("apt has no Debian mirror among this machine's sources; name one in MIRROR_DEBIAN")
	}
	making := tlstest.Value(os.MkdirTemp(dir, "dist-making"))(t)
	defer os.RemoveAll(making)
	root := filepath.Join(making, "root")
	t.Logf("making %s", base)
	args := []string{"--variant=minbase", "--keyring=" + keyring}
	if strings.HasPrefix(main, "https:") { // and then OpenSSL, which the package had better bring itself
		args = append(args, "--include=ca-certificates")
	}
	mustRun(t, longLimit, exec.Command("debootstrap", append(args, suite(), root, main)...))
	sources := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, main, suite())
	for _, part := range []string{"-updates", "-security"} {
		if m := mirror(part); m != "" {
			sources += fmt.Sprintf("deb [signed-by=%s] %s %s%s main\n", keyring, m, suite(), part)
		}
	}
	const conf = "APT::Keep-Downloaded-Packages \"true\";\nDpkg::Use-Pty \"false\";\n"
	for name, text := range map[string]string{"etc/apt/sources.list": sources, "etc/apt/apt.conf.d/90keep": conf} {
		tlstest.Must(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		copyFile(t, name, filepath.Join(root, name))
	}
	// What this machine trusts beyond Debian's roots, such as a proxy's certificate.
	own, _ := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	for _, name := range own {
		if strings.HasPrefix(main, "https:") {
			copyFile(t, name, filepath.Join(root, name))
		}
	}
	mustRun(t, longLimit, inside(root, false, "sh", "-ec", `if type update-ca-certificates; then update-ca-certificates; fi
		apt-get update; apt-get -y upgrade; apt-get clean
		apt-get -y --no-install-recommends --download-only install adduser libssl3 procps systemd`))
	tlstest.Must(t, os.Rename(root, base))
}

// mirror is the address that this machine's apt has for the part of Debian whose code name ends in part, or "".
func mirror(part string) string {
	if m := os.Getenv("MIRROR_DEBIAN"); m != "" && part == "" {
		return m
	}
	out, _ := exec.Command("apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages").Output()
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "Debian" && (part != "" && strings.HasSuffix(f[1], part) || part == "" && !strings.Contains(f[1], "-")) {
			return f[2]
		}
	}
	return ""
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		return // not every system has it
	}
	defer src.Close()
	dst := tlstest.Value(os.Create(to))(t)
	defer dst.Close()
	tlstest.Value(io.Copy(dst, src))(t)
}
