package httpbench

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spf13/pflag"
)

// hang is how long a test waits for what must come.
const hang = 60 * time.Second

// TestMain: the test binary is also sslbench's hidden command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ServeCommand {
		if err := serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serve(args []string) error {
	f := pflag.NewFlagSet(ServeCommand, pflag.ContinueOnError)
	var s Server
	s.Flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	return s.Run(os.Stdout)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tiny are options for a run that is only to work. It leaves this process on all cores.
var tiny = Options{Rounds: 1, Duration: 20 * time.Millisecond, Conns: 2, IdleConns: 10, IdleRounds: 1, GoClient: true, cores: allCores()}

func allCores() *[2]int {
	cores, err := server.Cores()
	if err != nil {
		panic(err)
	}
	return &[2]int{cores[0], cores[len(cores)-1]}
}

// newTestRunner prepares a run without any program for load.
func newTestRunner(t *testing.T, o Options) *runner {
	t.Helper()
	r, err := newRunner(o)
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(r.dir) })
	return r
}

// limited is a context for what must not hang.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

// started starts the server of a stack, which ends with the test.
func started(t *testing.T, r *runner, stack string) *contender {
	t.Helper()
	for _, k := range r.kinds {
		if k.Name == stack {
			c, err := r.launch(limited(t), k)
			must(t, err)
			t.Cleanup(func() { c.stop() })
			return c
		}
	}
	t.Fatalf("no stack %q", stack)
	return nil
}

// noPrograms are options under which no program is found.
func noPrograms(t *testing.T) server.Options { return server.Options{Path: t.TempDir()} }
