package cssl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
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
		{lib(3, 5, 9), lib(3, 0, 19), "built with OpenSSL 3.5.9, but 3.0.19 is linked, which is older; install OpenSSL 3.5 or newer"},
		{lib(3, 5, 0), lib(4, 0, 0), "major versions have different ABIs"},
		{lib(4, 0, 3), lib(4, 0, 0), ""},
		{lib(4, 0, 3), lib(4, 1, 0), ""},
		{lib(4, 1, 0), lib(4, 0, 3), "install OpenSSL 4.1 or newer"},
		{lib(4, 0, 0), lib(3, 5, 0), "major versions have different ABIs"},
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
		if !errors.As(err, &c) || c.Setting != "OpenSSL" || live.Contexts() != 0 {
			t.Fatalf("%v", err)
		}
		t.Log(err)
		return
	}
	b := linked.Build.Number
	others := []Release{{Number: b&^0xfffffff - 1<<28 | 15<<20}, {Number: b&^0xfffffff + 1<<28}} // the major versions before and after
	if b>>20&0xff > 0 {
		others = append(others, Release{Number: b&^0xfffff - 1<<20}) // an older minor one
	}
	for _, other := range others {
		shim := sharedObject(t, "shim.so", fmt.Sprintf("unsigned long OpenSSL_version_num(void) { return %#x; }\n", other.Number))
		out, err := runPreloaded(t, shim, is+"=1")
		if err != nil || !strings.Contains(out, "tls config: OpenSSL: built with OpenSSL "+linked.Build.String()) ||
			!strings.Contains(out, other.String()+" is linked") {
			t.Errorf("%v: %v\n%s", other, err, out)
		}
	}
}

// sharedObject compiles C and returns the file.
func sharedObject(t *testing.T, name, source string) string {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "source.c"), filepath.Join(dir, name)
	tlstest.Must(t, os.WriteFile(from, []byte(source), 0o600))
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", to, from).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return to
}

// runPreloaded runs this test alone, with a shared object before all others, and returns what it says.
func runPreloaded(t *testing.T, object, env string) (string, error) {
	t.Helper()
	self := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	self.Env = append(os.Environ(), env, "LD_PRELOAD="+object, "ASAN_OPTIONS=verify_asan_link_order=0")
	out, err := self.CombinedOutput()
	return string(out), err
}
