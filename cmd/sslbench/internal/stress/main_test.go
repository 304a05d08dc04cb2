// Package stress holds tests of a server under more load than it should get, and of peers that mean it ill.
//
//	TestManyConnections    as many connections as a process may have, each saying something now and then
//	TestIdle               100,000 connections that say nothing, over several servers
//	TestHandshakeStorm     50,000 handshakes, then silence
//	TestSlowloris          5,000 peers that take their time, beside 500 honest ones and newcomers
//	TestFloods             a peer that sends KeyUpdates, alerts, empty records and the like without end
//	TestRenegotiations     the same of TLS 1.2 handshakes, where they are allowed
//	TestTickets            the same of tickets, by resuming without end
//
// The servers are processes of their own: sslecho as it is built, or, for settings that it has no flag for and where the
// server's own counters are asked, this test binary with a reactor.Server. So are clients in
// large numbers, since a process may not have more files than its limit says.
//
//	test ──┬── server: sslecho, or this binary   ◄── SIGTERM, and its exit status
//	       ├── clients: this binary, a Load      ◄── a command and an answer a line
//	       └── in the test itself: the flooder and a few honest clients
//
// All honest clients compare each byte that comes back, and none may fail whatever the others do. How fast anything was is
// reported and never asserted. The ordinary form is small; STRESS=full (make stress) is what the names say, and
// writes its figures to docs/design/results.txt. STRESS_TIME=3m shortens the ten minutes of TestManyConnections.
package stress

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
)

const (
	// hang bounds everything that a test waits for. A test that needs it has failed.
	hang = 2 * time.Minute
	// childEnv makes the test binary one of the other processes.
	childEnv = "STRESS_CHILD"
)

// full is the form that make stress runs.
var full = os.Getenv("STRESS") == "full"

// scaled is the full form's number or the short one's.
func scaled[T any](long, short T) T {
	if full {
		return long
	}
	return short
}

// alone gives a test of the full form the machine for itself. The short ones share it.
func alone(t *testing.T) {
	if !full {
		t.Parallel()
	}
}

func TestMain(m *testing.M) {
	children := map[string]func() error{"server": serverMain, "load": loadMain, "slow": slowMain}
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		exit(0)
	}
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	exit(code)
}

// exit ends the process. Two collections let the sanitizer's leak check see all, as package testmain explains.
func exit(code int) {
	runtime.GC()
	runtime.GC()
	os.Exit(code)
}

// built is sslecho, which the first test that needs it builds.
var built struct {
	dir  string
	once sync.Once
	err  error
}

func sslechoPath(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "stress"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "sslecho"), "../../../sslecho").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "sslecho")
}

// waitFor waits until ok.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// noFailures wants nothing to have gone wrong with an honest client. That the machine is too slow for a rate is none of that.
func noFailures(t testing.TB, who string, failures map[load.Failure]uint64, examples map[load.Failure]string) {
	t.Helper()
	for what, n := range failures {
		if what != load.TooSlow {
			t.Errorf("%s: %d × %s: %s", who, n, what, examples[what])
		}
	}
}

func mb(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// show is a latency or a cost with three figures.
func show(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3g µs", float64(d)/1e3)
}
