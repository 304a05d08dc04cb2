//go:build go1.26 && !go1.28

package reactor

import _ "unsafe" // for go:linkname

// yield lets other goroutines of this P run, and shows the scheduler that the
// loop is alive. Unlike runtime.Gosched it puts the goroutine into its own P's
// queue instead of the global one, and wakes no thread to take it from there.
// With Gosched the loop moves from thread to thread, at two to four context
// switches each time. runtime.goyield is kept for use by linkname
// (go.dev/issue/67401). Go releases that were not tested use Gosched; see
// yield_other.go.
//
//go:linkname yield runtime.goyield
func yield()
