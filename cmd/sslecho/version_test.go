package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestVersion: the program tells what it was made of and runs with, in both forms.
func TestVersion(t *testing.T) {
	var v versions
	_, asJSON, _ := refused(t, "version", "--json")
	tlstest.Must(t, json.Unmarshal([]byte(asJSON), &v))
	openssl := cssl.Version()
	want := versions{Version: v.Version, Commit: v.Commit, Date: v.Date, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	want.OpenSSL.Run, want.OpenSSL.Build = openssl.Run.Text, openssl.Build.Text
	if v != want {
		t.Errorf("it says %+v, want %+v", v, want)
	}
	wantText := fmt.Sprintf("sslecho %s\ncommit %s\ndate %s\n%s %s/%s\n%s\nbuilt with %s", v.Version, v.Commit, v.Date, v.Go, v.OS, v.Arch,
		openssl.Run.Text, openssl.Build.Text)
	for _, arg := range []string{"version", "--version"} {
		if status, text, _ := refused(t, arg); status != 0 || text != wantText+"\n" {
			t.Errorf("%s: %q, want %q", arg, text, wantText)
		}
	}
}

func TestTree(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.time", Value: "2026-11-29T18:00:00Z"}}
	for _, x := range []struct {
		name                  string
		info                  *debug.BuildInfo
		version, commit, date string
	}{
		{"no information", nil, "unknown", "unknown", "unknown"},
		{"no repository", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "unknown", "unknown", "unknown"},
		{"go install", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "1.2.3", "unknown", "unknown"},
		{"a repository", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.4-0.20261129180000-0123abc+dirty"}, Settings: vcs},
			"1.2.4-0.20261129180000-0123abc+dirty", "0123abc", "2026-11-29T18:00:00Z"},
	} {
		if v := build(x.info); v.Version != x.version || v.Commit != x.commit || v.Date != x.date {
			t.Errorf("%s: %+v", x.name, v)
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
	tlstest.Must(t, os.WriteFile(source, []byte(text), 0o600))
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
