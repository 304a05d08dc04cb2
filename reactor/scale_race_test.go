//go:build race

package reactor

const scale = 8

const sanitized = true
