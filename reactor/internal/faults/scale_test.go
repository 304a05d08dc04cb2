//go:build !race && !asan

package faults

// scale thins the matrix under the sanitizers, which make it slow.
const scale = 1
