//go:build race

package session

const deepest, raceEnabled = 2, true
