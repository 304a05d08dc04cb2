package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const root = "../.."

// scratch is a folder for the whole run, with the program in it.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "fleet"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

var compiled = sync.OnceValue(func() error {
	out, err := command("go", "build", "-o", filepath.Join(scratch, "sslecho"), root+"/cmd/sslecho").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// sslecho is the path of the program.
func sslecho(t *testing.T) string {
	t.Helper()
	tlstest.Must(t, compiled())
	return filepath.Join(scratch, "sslecho")
}

// command is one that is killed when it takes too long.
func command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	time.AfterFunc(tlstest.Hang, cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

// must runs a command and answers what it prints.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
