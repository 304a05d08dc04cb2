//go:build !go1.26 || go1.28

package reactor

import "runtime"

// yield lets other goroutines run; see yield.go.
func yield() { runtime.Gosched() }
