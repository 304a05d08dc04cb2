//go:build !race && !asan

package sslnet

// scale divides the size of the large tests, which the sanitizers make slow.
const scale = 1

// sanitized: a sanitizer is built in, so that allocations cannot be counted.
const sanitized = false
