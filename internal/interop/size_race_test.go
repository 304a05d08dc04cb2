//go:build race

package interop

// With the race detector the machine's time goes into the bookkeeping, so fewer bytes pass.
const volume = 1_000_003

const slowdown = 4
