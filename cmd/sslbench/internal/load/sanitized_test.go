//go:build race || asan

package load

const sanitized = true
