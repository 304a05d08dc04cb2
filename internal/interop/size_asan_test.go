//go:build asan && !race

package interop

// With the address sanitizer each byte costs more, so fewer pass.
const volume = 1_000_003

const slowdown = 4
