//go:build race || asan

package container

const sanitized = true
