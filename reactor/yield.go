//go:build go1.26 && !go1.28

package reactor

import _ "unsafe" // for go:linkname

// yield lets other goroutines of this P run, and tells the scheduler that the loop is alive. It is
// runtime.Gosched but for one thing: the goroutine goes to its own P's queue instead of the one that all share, and
// no thread is woken to take it from there. With Gosched the loop hops from thread to thread, two to
// four context switches each time. The name is one of those that the runtime keeps for use from outside
// (go.dev/issue/67401); a Go release that was not tried has Gosched, see yield_other.go.
//
//go:linkname yield runtime.goyield
func yield()
