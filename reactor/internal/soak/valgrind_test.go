//go:build valgrind

package soak

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestValgrind runs tests of cssl and of reactor under valgrind's memcheck, which must find no invalid access and no
// use of what was not initialised. What is left out takes minutes there, or counts on speed.
//
// With the tag valgrind (Go 1.25 and newer) Go tells valgrind of its stacks and objects. Preemption by signals,
// which writes below the stack pointer, is switched off, and so are collections, which make valgrind see blocks
// that overlap. Its leak check ends at once where it sees such, so leaks are left to the address sanitizer's (make
// asan).
func TestValgrind(t *testing.T) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		t.Fatal("valgrind is not installed: apt-get install valgrind libc6-dbg")
	}
	supp := tlstest.Value(filepath.Abs("testdata/valgrind.supp"))(t)
	began, passed := time.Now(), 0
	for _, p := range []struct {
		dir  string
		args []string
	}{
		{"cssl", []string{"-test.skip=^(TestEngineChunks|TestNothingIsLeft|TestContextsComeAndGo|TestVerify|TestDefaultGroups)$"}},
		{"reactor", []string{"-test.run=^(TestReplyNotReset|TestQueueFull|TestPauseResume|TestHalfClose|TestAbort|" +
			"TestDialResumes|TestKeyUpdateRequests|TestListenerLetGo|TestStats)$"}},
	} {
		dir := filepath.Join("../../..", p.dir)
		binary := filepath.Join(t.TempDir(), p.dir+".test")
		build := exec.Command("go", "test", "-tags", "valgrind", "-c", "-o", binary, ".")
		build.Dir = dir
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go test -c: %v\n%s", err, out)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		run := exec.CommandContext(ctx, "valgrind", append([]string{"--quiet", "--error-exitcode=99", "--suppressions=" + supp,
			"--leak-check=no", binary, "-test.v"}, p.args...)...)
		run.Dir, run.Env = dir, append(os.Environ(), "GOGC=off", "GODEBUG=asyncpreemptoff=1", "FIGURES=")
		out, err := run.CombinedOutput()
		cancel()
		n := bytes.Count(out, []byte("\n--- PASS"))
		if passed += n; n == 0 {
			t.Errorf("%s: no test passed, so this proves nothing", p.dir)
		}
		if err != nil {
			var e *exec.ExitError
			if errors.As(err, &e) && e.ExitCode() == 99 {
				err = errors.New("valgrind has found errors")
			}
			t.Errorf("%s: %v\n%s", p.dir, err, told(string(out)))
		}
	}
	figures.Record(t, "valgrind", "%d tests in %v, no error", passed, time.Since(began).Round(time.Second))
}

// told is what valgrind says, and which tests failed.
func told(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "==") || strings.Contains(line, "--- FAIL") || strings.Contains(line, "_test.go:") {
			b.WriteString(line)
		}
	}
	return b.String()
}
