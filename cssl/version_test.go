package cssl

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVersion: what is linked has a number and a text that agree, and is no mismatch.
func TestVersion(t *testing.T) {
	v := Version()
	for _, l := range []Release{v.Build, v.Run} {
		if !strings.HasPrefix(l.Text, "OpenSSL "+l.String()) || l.series() < 0x300 {
			t.Errorf("%#x %q", l.Number, l.Text)
		}
	}
	if err := v.Mismatch(); err != nil || !strings.HasPrefix(v.String(), v.Run.Text) {
		t.Errorf("%v: %v", v, err)
	}
}

// TestMismatch: which differences matter.
func TestMismatch(t *testing.T) {
	lib := func(major, minor, patch uint32) Release {
		l := Release{Number: major<<28 | minor<<20 | patch<<4}
		l.Text = "OpenSSL " + l.String()
		return l
	}
	for _, tt := range []struct {
		build, run Release
		want       string // part of the error; empty: none
	}{
		{lib(3, 0, 19), lib(3, 0, 19), ""},
		{lib(3, 0, 19), lib(3, 0, 2), ""},
		{lib(3, 0, 19), lib(3, 5, 9), ""},
		{lib(3, 5, 9), lib(3, 0, 19), "built with OpenSSL 3.5.9, but 3.0.19 is linked, which lacks what came later; install OpenSSL 3.5 or newer"},
		{lib(3, 5, 0), lib(4, 0, 0), "another major version"},
		{lib(4, 0, 0), lib(3, 5, 0), "another major version"},
	} {
		v := Versions{tt.build, tt.run}
		if err := v.Mismatch(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v", v, err)
		}
		if other := tt.build != tt.run; strings.Contains(v.String(), "built with") != other {
			t.Error(v)
		}
	}
}

// TestOtherLibraryAtRunTime runs this test's program with a libcrypto that says it is another version. A Context is refused
// with both versions, and nothing crashes.
func TestOtherLibraryAtRunTime(t *testing.T) {
	const is = "CSSL_OTHER_LIBRARY"
	if os.Getenv(is) != "" {
		_, err := NewServerContext(serverConfig("ecdsa"))
		var c *ConfigError
		if !errors.As(err, &c) || c.Setting != "OpenSSL" || LiveContexts() != 0 {
			t.Fatalf("%v", err)
		}
		t.Log(err)
		return
	}
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	for version, want := range map[string]string{"0x20f00000": "2.15.0 is linked", "0x40000000": "4.0.0 is linked"} {
		dir := t.TempDir()
		source, shim := filepath.Join(dir, "shim.c"), filepath.Join(dir, "shim.so")
		if err := os.WriteFile(source, []byte("unsigned long OpenSSL_version_num(void) { return "+version+"; }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(cc, "-shared", "-fPIC", "-o", shim, source).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		self := exec.Command(os.Args[0], "-test.run=^TestOtherLibraryAtRunTime$", "-test.v")
		self.Env = append(os.Environ(), is+"=1", "LD_PRELOAD="+shim, "ASAN_OPTIONS=verify_asan_link_order=0")
		out, err := self.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "tls config: OpenSSL: built with OpenSSL "+linked.Build.String()) ||
			!strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", version, err, out)
		}
	}
}
