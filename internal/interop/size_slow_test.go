//go:build asan || race

package interop

// With the race detector or the address sanitizer each byte costs more, so fewer pass, and the time limits are longer.
const (
	instrumented = true
	slowdown     = 4
)
