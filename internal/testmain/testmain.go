// Package testmain ends a test binary in such a way that a leak check sees everything.
package testmain

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// Run runs the tests, calls then, which may be nil, if they passed, and exits. LeakSanitizer takes memory of C for reachable as
// long as a Go object that was not yet collected points to it; two
// collections make it see what is lost (the second frees what finalizers and pools held).
func Run(m *testing.M, then func() error) {
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
