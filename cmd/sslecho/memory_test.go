package main

import "testing"

// TestEbb: memory is given back when a crowd has gone, once, and not for a few that come and go.
func TestEbb(t *testing.T) {
	var e ebb
	for i, step := range []struct {
		conns int
		gone  bool
	}{
		{0, false}, {crowdSize - 1, false}, {0, false}, // too few
		{4 * crowdSize, false}, {3 * crowdSize, false}, {2*crowdSize + 1, false}, // not half of them
		{2 * crowdSize, true}, {2 * crowdSize, false}, {crowdSize + 1, false}, {crowdSize, true},
		{0, true}, {0, false},
		{crowdSize, false}, {0, true},
	} {
		if got := e.gone(step.conns); got != step.gone {
			t.Fatalf("step %d: %d connections: %v", i, step.conns, got)
		}
	}
}
