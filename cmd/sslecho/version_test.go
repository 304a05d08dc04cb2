package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
)

// TestVersions: sslecho version tells which OpenSSL runs and which it was built with.
func TestVersions(t *testing.T) {
	_, out, _ := finish(t, exec.Command(binary, "version"))
	v := cssl.Version()
	for _, want := range []string{"\n" + v.Run.Text + "\n", "\nbuilt with " + v.Build.Text + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
}

// TestOtherOpenSSL: the daemon warns of an OpenSSL that it was not made for, and ends with an error instead of a crash.
func TestOtherOpenSSL(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	source, shim := filepath.Join(dir, "shim.c"), filepath.Join(dir, "shim.so")
	if err := os.WriteFile(source, []byte("unsigned long OpenSSL_version_num(void) { return 0x40000000; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command(cc, "-shared", "-fPIC", "-o", shim, source))
	cmd := exec.Command(binary, "--listen=127.0.0.1:0")
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+shim)
	status, _, stderr := finish(t, cmd)
	const what = "4.0.0 is linked: another major version"
	if status != 1 || !strings.Contains(stderr, "level=WARN msg=\"built with OpenSSL ") || strings.Count(stderr, what) != 2 ||
		strings.Contains(stderr, "goroutine") {
		t.Errorf("status %d:\n%s", status, stderr)
	}
}
