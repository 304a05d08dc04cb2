//go:build asan

package session

const deepest = 3
