package main

import (
	"bytes"
	"fmt"
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

// limit is for what compiles, downloads or installs.
const limit = 15 * time.Minute

// whole says that what the caches lack may be made: DIST=full.
func whole() bool { return os.Getenv("DIST") == "full" }

// needsWhole skips a test that compiles, unless that is asked for.
func needsWhole(t *testing.T) {
	t.Helper()
	if !whole() || tlstest.Sanitized {
		t.Skip("it compiles for a minute or more: make dist-test (DIST=full) runs it")
	}
}

// suite is the release of Debian that is installed to: DIST_SUITE, else this machine's, since what it builds asks for its C
// library at the least.
func suite(t *testing.T) string {
	return strings.TrimSpace(mustRun(t, exec.Command("sh", "-c",
		`. /etc/os-release; [ "$ID" = debian ] || VERSION_CODENAME=; echo "${DIST_SUITE:-${VERSION_CODENAME:-bookworm}}"`)))
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
func mustRun(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
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
	stop := time.AfterFunc(limit, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop.Stop()
	if err := <-ended; err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out.String()[max(0, out.Len()-4000):])
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

// environment of all that runs in a root file system.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
	"LC_ALL=C.UTF-8", "HOME=/root"}

// inside is a command in the root file system root, with processes of its own that end with it. With network, it also has a
// network of its own, which is a loopback device alone.
func inside(root string, network bool, args ...string) *exec.Cmd {
	const script = `mount --make-rprivate /
		mount -t proc proc "$0/proc"
		[ "$1" = false ] || ip link set lo up
		root=$0; shift
		exec chroot "$root" "$@"`
	cmd := exec.Command("sh", append([]string{"-ec", script, root, fmt.Sprint(network)}, args...)...)
	cmd.Env = environment
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID)
	if network {
		flags |= syscall.CLONE_NEWNET
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// needsNamespaces skips a test that cannot have a root file system of its own.
func needsNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a root file system needs root (mounts, namespaces and chroot)")
	}
	if err := inside("/", true, "true").Run(); err != nil {
		t.Skipf("this root may not make namespaces, as in most containers: %v", err)
	}
}

// freshRoot answers a root file system of nothing but Debian's smallest set of packages, which is this test's own. The one that
// it is a copy of is made once, when DIST=full allows it.
func freshRoot(t *testing.T) string {
	t.Helper()
	if tlstest.Sanitized {
		t.Skip("the program under test is not this one; the ordinary run has it")
	}
	for _, p := range []string{"debootstrap", "ip", "chroot", "apt-get"} {
		if _, err := exec.LookPath(p); err != nil && whole() {
			t.Fatalf("%s is missing; install it", p)
		} else if err != nil {
			t.Skipf("%s is missing", p)
		}
	}
	needsNamespaces(t)
	dir := cache(t)
	base := filepath.Join(dir, "rootfs-"+suite(t))
	if _, err := os.Stat(base); err != nil && !whole() {
		t.Skipf("there is no %s yet: make dist-test makes it (two minutes and a few hundred MB)", base)
	}
	tlstest.Must(t, os.MkdirAll(dir, 0o755))
	lock := tlstest.Value(os.OpenFile(base+".lock", os.O_CREATE|os.O_RDWR, 0o644))(t)
	defer lock.Close()
	tlstest.Must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	if _, err := os.Stat(base); err != nil {
		t.Logf("making %s", base)
		making := tlstest.Value(os.MkdirTemp(dir, "dist-making"))(t)
		defer os.RemoveAll(making)
		root := filepath.Join(making, "root")
		mustRun(t, exec.Command("sh", "-euc", makeBase, root, suite(t)))
		mustRun(t, inside(root, false, "sh", "-ec", fillBase))
		tlstest.Must(t, os.Rename(root, base))
	}
	copied := tlstest.Value(os.MkdirTemp(dir, "dist-test"))(t)
	t.Cleanup(func() { tlstest.Must(t, os.RemoveAll(copied)) })
	root := filepath.Join(copied, "root")
	mustRun(t, exec.Command("cp", "-a", "--reflink=auto", base, root))
	return root
}

// makeBase makes the root file system $0 of the release $1, from the mirror that this machine's apt has.
const makeBase = `
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror() { # of the part of Debian whose code name ends in $1
		apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
			awk -v end="$1" '$1 == "Debian" && (end == "" ? $2 !~ /-/ : $2 ~ end "$") { print $3; exit }'
	}
	main=${MIRROR_DEBIAN:-$(mirror '')}
	if [ -z "$main" ]; then # the lists may be empty, as in many images
		apt-get -qq update
		main=$(mirror '')
	fi
	[ -n "$main" ] || { echo "apt has no Debian mirror among this machine's sources; name one in MIRROR_DEBIAN"; exit 1; }
	include=
	case $main in # and then OpenSSL, which the package had better bring itself
	https:*) include=--include=ca-certificates ;;
	esac
	debootstrap --variant=minbase --keyring="$keys" $include "$1" "$0" "$main"
	echo "deb [signed-by=$keys] $main $1 main" >"$0/etc/apt/sources.list"
	for part in -updates -security; do
		from=$(mirror $part)
		[ -z "$from" ] || echo "deb [signed-by=$keys] $from $1$part main" >>"$0/etc/apt/sources.list"
	done
	printf '%s\n' 'APT::Keep-Downloaded-Packages "true";' 'Dpkg::Use-Pty "false";' >"$0/etc/apt/apt.conf.d/90keep"
	cp /etc/resolv.conf /etc/hosts "$0/etc/"
	# What this machine trusts beyond Debian's roots, such as a proxy's certificate.
	[ -z "$include" ] || cp /usr/local/share/ca-certificates/*.crt "$0/usr/local/share/ca-certificates/" || true`

// fillBase is run inside. It keeps the packages that tests install, so that they need no network.
const fillBase = `if type update-ca-certificates; then update-ca-certificates; fi
	apt-get update; apt-get -y upgrade; apt-get clean
	apt-get -y --no-install-recommends --download-only install adduser libssl3 procps systemd`
