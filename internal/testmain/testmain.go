// Package testmain ends a test binary in such a way that a leak check sees everything.
package testmain

import (
	"os"
	"runtime"
	"testing"
)

// Run runs the tests and exits. LeakSanitizer takes memory of C for reachable as
// long as a Go object that was not yet collected points to it; two
// collections make it see what is lost (the second frees what finalizers and pools held).
func Run(m *testing.M) {
	code := m.Run()
	runtime.GC()
	runtime.GC()
	os.Exit(code)
}
