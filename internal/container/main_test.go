package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const root = "../.."

// scratch is a folder for the whole run, with the programs in bin.
var scratch string

// cleanup is run after all tests.
var cleanup = func() {}

func TestMain(m *testing.M) {
	scratch, _ = os.MkdirTemp("", "container") // go build says what is wrong
	code := m.Run()
	cleanup()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// output runs a command in the module's root and answers what it prints on standard output.
func output(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// must is output without a failure.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	return tlstest.Value(output(nil, name, args...))(t)
}

// compiled builds both programs into scratch/bin with the command that the Dockerfile has for it.
var compiled = sync.OnceValue(func() error {
	file, err := os.ReadFile(root + "/docker/Dockerfile")
	if err != nil {
		return err
	}
	line := regexp.MustCompile(`(?m)^RUN (go build .*-o )/out/( .*)$`).FindSubmatch(file)
	if line == nil {
		return fmt.Errorf("docker/Dockerfile has no line RUN go build … -o /out/ …")
	}
	build := exec.Command("sh", "-c", fmt.Sprintf("%s'%s/bin/'%s", line[1], scratch, line[2])) // which may take longer than tlstest.Hang
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

// program is the path of one of them.
func program(t *testing.T, name string) string {
	t.Helper()
	tlstest.Must(t, compiled())
	return filepath.Join(scratch, "bin", name)
}

// read answers the text of a file of the module.
func read(t *testing.T, name string) string {
	t.Helper()
	return string(tlstest.Value(os.ReadFile(filepath.Join(root, name)))(t))
}
