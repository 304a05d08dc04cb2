package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
)

// command runs a program and answers its output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestVersion: a program that is built as make builds it tells what it was made of, in both forms; one that is built without
// the version tells the rest.
func TestVersion(t *testing.T) {
	const scripts = "../../scripts/version"
	tree := strings.Split(command(t, scripts), "\n")
	if len(tree) != 3 || slices.Contains(tree, "") {
		t.Fatalf("scripts/version prints %q", tree)
	}
	stamped := filepath.Join(t.TempDir(), "sslecho")
	command(t, "go", "build", "-ldflags", command(t, scripts, "ldflags"), "-o", stamped, ".")
	openssl := cssl.Version()
	for _, x := range []struct {
		binary                string
		version, commit, date string // "" is any
	}{{stamped, tree[0], tree[1], tree[2]}, {binary, "", "", ""}} {
		var v versions
		if err := json.Unmarshal([]byte(command(t, x.binary, "version", "--json")), &v); err != nil {
			t.Fatal(err)
		}
		for _, f := range []struct{ name, got, want string }{
			{"version", v.Version, x.version}, {"commit", v.Commit, x.commit}, {"date", v.Date, x.date},
			{"Go", v.Go, runtime.Version()}, {"OpenSSL", v.OpenSSL.Run, openssl.Run.Text}, {"OpenSSL's headers", v.OpenSSL.Build, openssl.Build.Text}, {"OS", v.OS, runtime.GOOS}, {"architecture", v.Arch, runtime.GOARCH},
		} {
			if f.got == "" || f.want != "" && f.got != f.want {
				t.Errorf("%s is %q, want %q", f.name, f.got, f.want)
			}
		}
		if text := command(t, x.binary, "version"); text != v.String() {
			t.Errorf("as text %q, as JSON %+v", text, v)
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
	other := cssl.Release{Number: (cssl.Version().Build.Number>>28 + 1) << 28} // the next major version
	text := fmt.Sprintf("unsigned long OpenSSL_version_num(void) { return %#x; }\n", other.Number)
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command(cc, "-shared", "-fPIC", "-o", shim, source))
	cmd := exec.Command(binary, "--listen=127.0.0.1:0")
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+shim)
	status, _, stderr := finish(t, cmd)
	what := other.String() + " is linked: major versions have different ABIs"
	if status != 1 || !strings.Contains(stderr, "level=WARN msg=\"built with OpenSSL ") || strings.Count(stderr, what) != 2 ||
		strings.Contains(stderr, "goroutine") {
		t.Errorf("status %d:\n%s", status, stderr)
	}
}
