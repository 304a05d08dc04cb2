package tlsio

import (
	"slices"
	"testing"
)

// TestNames: each want and operation has a name, also one that does
// not exist.
func TestNames(t *testing.T) {
	for w := range wantEnd + 1 {
		if w.String() == "" {
			t.Errorf("%d: %v", w, w)
		}
	}
	for o := range opEnd + 1 {
		if o.String() == "" {
			t.Errorf("operation %d has no name", o)
		}
	}
}

// TestUnblocks: an operation makes stale what waits for the direction in which
// it moved ciphertext (P08), and a Read what waits for a Read.
func TestUnblocks(t *testing.T) {
	for _, tt := range []struct {
		r     Result
		op    Op
		wants []Want
	}{
		{Result{}, OpWrite, nil},
		{Result{N: 1}, OpWrite, nil},
		{Result{Want: WantWrite, In: true}, OpWrite, []Want{WantRead}},
		{Result{Want: WantRead, Out: true}, OpHandshake, []Want{WantWrite}},
		{Result{N: 1, In: true, Out: true}, OpRead, []Want{WantRead, WantWrite, WantAppRead}},
		{Result{Want: WantRead}, OpRead, []Want{WantAppRead}},
		{Result{N: 1}, OpPeek, nil},
	} {
		for w := range wantEnd {
			if got, want := tt.r.Unblocks(tt.op, w), slices.Contains(tt.wants, w); got != want {
				t.Errorf("%v with %+v unblocks %v: %v, want %v", tt.op, tt.r, w, got, want)
			}
		}
	}
}
