//go:build !race && !asan

package fleet

const sanitized = false
