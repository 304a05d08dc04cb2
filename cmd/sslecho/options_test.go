package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestUsageErrors: bad usage is status 2, with one line that says what is wrong and one
// that says where help is.
func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown flag", []string{"--nonsense"}, "--nonsense"},
		{"argument", []string{"8443"}, `"8443"`},
		{"loops is no number", []string{"--loops", "many"}, "--loops"},
		{"key alone", []string{"--key", "x.key"}, "--cert"},
		{"service", []string{"--service", "daytime"}, `"daytime": use echo, discard, chargen or reverse`},
		{"missing value", []string{"--cert"}, "--cert"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := refused(t, c.args...)
			if status != 2 {
				t.Errorf("status %d, want 2", status)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "sslecho: ") || !strings.Contains(stderr, "--help") {
				t.Errorf("standard error has %q, want one line that also says where help is", stderr)
			}
			if !strings.Contains(stderr, c.want) {
				t.Errorf("%q does not name %s", stderr, c.want)
			}
			if stdout != "" {
				t.Errorf("standard output has %q", stdout)
			}
		})
	}
}

// TestFailures: what cannot be done is status 1, with one line that names the setting.
func TestFailures(t *testing.T) {
	busy := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer busy.Close()
	stale := writeFile(t, "stale", "")
	other := runDaemon(t, "--loops=2")
	ecdsa, key := testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"busy port", []string{"--listen", busy.Addr().String()}, []string{busy.Addr().String(), "in use", "use another address"}},
		{"busy port, many loops", []string{"--listen", busy.Addr().String(), "--loops=4"}, []string{"in use"}},
		{"port of another sslecho", []string{"--listen", other.addr(), "--loops=2"}, []string{"in use"}},
		{"second address busy", []string{"--listen", "127.0.0.1:0", "--listen", busy.Addr().String()}, []string{"in use"}},
		{"unix socket that nobody has", []string{"--listen", "unix:" + stale}, []string{stale, "in use", "remove"}},
		{"no such unix directory", []string{"--listen", "unix:/nonexistent/socket"}, []string{"/nonexistent/socket"}},
		{"missing certificate", []string{"--cert", "/nonexistent.pem"}, []string{"--cert", "/nonexistent.pem"}},
		{"no key in the file", []string{"--cert", ecdsa}, []string{"--cert"}},
		{"mismatched key", []string{"--cert", ecdsa, "--key", testcerts.Path("rsa.key")}, []string{"--cert", "mismatch"}},
		{"key is a directory", []string{"--cert", ecdsa, "--key", t.TempDir()}, []string{"--key", "directory"}},
		{"certificate is none", []string{"--cert", key}, []string{"--cert"}},
		{"ciphers", []string{"--ciphers", "nonsense"}, []string{"--ciphers", "nonsense"}},
		{"security level", []string{"--cert", testcerts.Path("rsa.pem"), "--key", testcerts.Path("rsa.key"),
			"--ciphers", "DEFAULT@SECLEVEL=5"}, []string{"key too small"}},
		{"ALPN", []string{"--alpn", "a,,b"}, []string{"--alpn"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			if !strings.HasPrefix(strings.Join(args, " "), "--listen") {
				args = append([]string{"--listen=127.0.0.1:0"}, args...)
			}
			checkFailure(t, exec.Command(binary, args...), c.want)
		})
	}
}

// checkFailure wants status 1 and one line with all of want in it.
func checkFailure(t *testing.T, cmd *exec.Cmd, want []string) {
	t.Helper()
	status, stdout, stderr := finish(t, cmd)
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "sslecho: ") {
		t.Errorf("standard error has %q, want one line", stderr)
	}
	for _, w := range want {
		if !strings.Contains(stderr, w) {
			t.Errorf("%q does not name %s", stderr, w)
		}
	}
	if stdout != "" {
		t.Errorf("standard output has %q", stdout)
	}
}

// TestCheckSurroundings: --check tells all at once what is not there around the daemon, and makes nothing.
func TestCheckSurroundings(t *testing.T) {
	dir := t.TempDir()
	status, _, stderr := refused(t, "--check", "--user=no-such-user-here", "--pid-file=/nonexistent/pid", "--keylog=/nonexistent/keylog",
		"--listen=unix:/nonexistent/socket", "--admin=unix:/nonexistent/admin")
	for _, want := range []string{"no such user", "--pid-file /nonexistent/pid", "--keylog /nonexistent/keylog", "--listen /nonexistent/socket",
		"--admin /nonexistent/admin"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q does not name %s", stderr, want)
		}
	}
	if status != 1 {
		t.Errorf("status %d", status)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if status, _, stderr := refused(t, "--check", "--user=0:0", "--pid-file", in("pid"), "--keylog", in("keylog"), "--listen=unix:"+in("socket"),
		"--admin=unix:"+in("admin")); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("%v was made, %v", made, err)
	}
}

// TestUnreadableKey runs as a user without rights where the test itself is root, who may read everything.
func TestUnreadableKey(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "secret.key")
	for name, mode := range map[string]os.FileMode{cert: 0o644, key: 0} {
		from := map[string]string{cert: "ecdsa.pem", key: "ecdsa.key"}[name]
		tlstest.Must(t, os.WriteFile(name, testcerts.Read(t, from), mode))
	}
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(binary)} {
		tlstest.Must(t, os.Chmod(d, 0o755))
	}
	cmd := exec.Command(binary, "--listen=127.0.0.1:0", "--cert", cert, "--key", key)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	checkFailure(t, cmd, []string{"--key", "permission denied"})
}

// TestHelp: help is no error, and goes to standard output.
func TestHelp(t *testing.T) {
	for _, flag := range []string{"--help", "-h"} {
		if status, stdout, stderr := refused(t, flag); status != 0 || stderr != "" || !strings.Contains(stdout, "--listen") {
			t.Errorf("%s: status %d, %q, standard error %q", flag, status, stdout, stderr)
		}
	}
}
