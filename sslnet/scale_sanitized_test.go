//go:build race || asan

package sslnet

const scale, sanitized = 8, true
