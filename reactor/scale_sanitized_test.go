//go:build race || asan

package reactor

const scale = 8

const sanitized = true
