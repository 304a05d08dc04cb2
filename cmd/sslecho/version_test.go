package main

import (
	"encoding/json"
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
	openssl := cssl.OpenSSLVersion()
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
			{"Go", v.Go, runtime.Version()}, {"OpenSSL", v.OpenSSL.Run, openssl}, {"OS", v.OS, runtime.GOOS}, {"architecture", v.Arch, runtime.GOARCH},
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
