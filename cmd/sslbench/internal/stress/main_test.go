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
// server's own counters are asked, this test binary with a reactor.Server. All else is in the test's own process, but for
// the clients of TestIdle: a process may not have more files than its limit says.
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

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// hang bounds everything that a test waits for. A test that needs it has failed.
const hang = 2 * time.Minute

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
	children := map[string]func() error{"server": serverMain, "idle": idleMain}
	code := 0
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	} else {
		code = m.Run()
		os.RemoveAll(built.dir)
	}
	// Two collections let the sanitizer's leak check see all, as package testmain explains.
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
		if out, err := exec.Command("go", "build", "-o", built.dir, "../../../sslecho").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	tlstest.Must(t, built.err)
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

// record keeps the figure of a full form.
func record(t *testing.T, name, format string, args ...any) {
	t.Helper()
	if full {
		figures.Record(t, name, format, args...)
	} else {
		t.Logf(format, args...)
	}
}

// size is a number of bytes that prints itself in MB.
type size int64

func (n size) String() string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// growth is how much more memory a server may have after a load than after the same load before. What
// malloc keeps in pieces after the first time is none of that.
func growth(first size) size {
	if tlstest.Sanitized {
		return 1 << 30 // the sanitizers keep what was freed
	}
	return first/4 + 32<<20
}

// show is a latency or a cost with three figures.
func show(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
