package main

import (
	"runtime/debug"
	"testing"
)

// TestTrimmer: memory is given back when a crowd has gone, once, and not for a few that come and go.
func TestTrimmer(t *testing.T) {
	const some, crowd = manyConns / 10, manyConns
	var e trimmer
	accepted := uint64(0)
	for i, step := range []struct {
		come  uint64 // since the last look
		conns int
		gone  bool
	}{
		{crowd - some, crowd - some, false}, {0, 0, false}, {0, 0, false}, // too few
		{4 * crowd, 4 * crowd, false}, {some, 3 * crowd, false}, {some, 2*crowd + 1, false}, // not half of them
		{some, 2 * crowd, true}, {some, 2 * crowd, false}, {some, crowd + 1, false}, {some, crowd, true},
		{some, 0, true}, {0, 0, false}, {0, 0, false},
		// One after another, never many at once.
		{some, some, false}, {crowd, some, false}, {crowd, some, false}, {crowd, some, false},
		{0, some, false}, {0, some, false}, {0, some, true}, {0, some, false}, {some, some, false}, {0, 0, false}, {0, 0, false},
	} {
		accepted += step.come
		if got := e.due(step.conns, accepted); got != step.gone {
			t.Fatalf("step %d: %d connections, %d accepted so far: %v", i, step.conns, accepted, got)
		}
	}
}

func TestCollectOften(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for env, want := range map[string]int{"": gcPercent, "77": 100} {
		t.Setenv("GOGC", env)
		debug.SetGCPercent(100)
		collectOften()
		if got := debug.SetGCPercent(100); got != want {
			t.Errorf("with GOGC=%q: %d, not %d", env, got, want)
		}
	}
}
