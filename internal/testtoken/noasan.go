//go:build !asan

package testtoken

const sanitized = false
