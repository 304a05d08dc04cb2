//go:build race || asan

package soak

const scale, sanitized = 3, true
