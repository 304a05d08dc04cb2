//go:build !race && !asan

package main

// scale divides the size of the large test, which the sanitizers make slow.
const scale = 1
