//go:build !race && !asan

package soak

// scale is how much slower the sanitizers make everything; with them, RSS is mostly their own.
const scale, sanitized = 1, false
