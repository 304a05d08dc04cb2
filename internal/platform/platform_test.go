package platform

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestUnsupported: a build without cgo or for another system fails with one
// error, which says what is needed.
func TestUnsupported(t *testing.T) {
	const want = "internal/platform/unsupported.go:5:9: undefined: needs_Linux_cgo_and_OpenSSL_3"
	for _, env := range []string{"CGO_ENABLED=0", "GOOS=darwin"} {
		for _, pkg := range []string{"cssl", "reactor", "sslnet", "sslnet/sslhttp"} {
			cmd := exec.Command("go", "build", "./"+pkg)
			cmd.Dir = "../.."
			cmd.Env = append(os.Environ(), "GOFLAGS=", env)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("%s go build ./%s succeeds", env, pkg)
			}
			var lines []string
			for line := range strings.Lines(string(out)) {
				if !strings.HasPrefix(line, "# ") { // the name of the package whose errors follow
					lines = append(lines, strings.TrimSpace(line))
				}
			}
			if len(lines) != 1 || lines[0] != want {
				t.Errorf("%s go build ./%s:\n%swant one error:\n%s", env, pkg, out, want)
			}
		}
	}
}
