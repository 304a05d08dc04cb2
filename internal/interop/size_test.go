//go:build !race && !asan

package interop

const (
	instrumented = false
	slowdown     = 1
)
