package tlsio

import "testing"

// TestNames: each want and operation has a name, also one that does not exist,
// and no want is for both directions.
func TestNames(t *testing.T) {
	for w := range wantEnd + 1 {
		if w.String() == "" || w.Readable() && w.Writable() {
			t.Errorf("%d: %v", w, w)
		}
	}
	for o := range opEnd + 1 {
		if o.String() == "" {
			t.Errorf("operation %d has no name", o)
		}
	}
}
