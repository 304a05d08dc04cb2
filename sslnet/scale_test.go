//go:build !race && !asan

package sslnet

// scale divides the size of the large tests, which the sanitizers make slow.
// sanitized says that one is built in, so that allocations cannot be counted.
const scale, sanitized = 1, false
