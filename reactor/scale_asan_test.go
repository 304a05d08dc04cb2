//go:build asan

package reactor

const scale = 8

const sanitized = true
