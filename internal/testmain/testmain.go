// Package testmain begins and ends a test binary: with the kind of records that RECORDS names (openssl, direct, kernel), and in
// such a way that a leak check sees everything.
package testmain

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/recordmode"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// Run runs the tests, calls then, which may be nil, if they passed, and exits. LeakSanitizer takes memory of C for reachable as
// long as a Go object that was not yet collected points to it; two
// collections make it see what is lost (the second frees what finalizers and pools held).
func Run(m *testing.M, then func() error) {
	// The numbers are cssl's: its own tests import this package.
	recordmode.Default = map[string]uint8{"direct": 1, "kernel": 2}[os.Getenv("RECORDS")]
	code := m.Run()
	if code == 0 && then != nil {
		if err := then(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	runtime.GC()
	runtime.GC()
	os.Exit(code)
}

// Freed is for Run: it fails when a test has left an SSL behind. It waits, since
// what the end of a Context closes is freed on a goroutine of its own.
func Freed() error {
	if !tlstest.Soon(func() bool { return live.Conns() == 0 }) {
		return fmt.Errorf("%d SSLs were not freed", live.Conns())
	}
	return nil
}

// Direct reports whether servers have direct records unless their test says otherwise.
func Direct() bool { return recordmode.Default != 0 }

// NeedsSSL skips a test of what only an SSL object does.
func NeedsSSL(t testing.TB) {
	if Direct() {
		t.Skip("the server's SSL is freed after the handshake")
	}
}
