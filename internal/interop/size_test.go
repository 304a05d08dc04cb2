//go:build !race && !asan

package interop

// volume is how many bytes each side sends in a test of the table.
const volume = 10_000_003

// slowdown stretches the time limits.
const slowdown = 1
