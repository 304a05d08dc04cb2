//go:build race

package session

const deepest = 2
