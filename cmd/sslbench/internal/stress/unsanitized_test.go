//go:build !race && !asan

package stress

const sanitized = false
