//go:build asan

package session

const deepest, raceEnabled = 3, false
