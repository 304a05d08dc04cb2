//go:build !race && !asan

package session

// deepest is the most steps that the short form of TestExhaustive takes. A sanitizer makes each slow.
const deepest, raceEnabled = 1000, false
