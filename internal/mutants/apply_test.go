package main

import (
	"path/filepath"
	"testing"
)

// TestApply: the text of each mutation stands once in its file. A change of the code that takes it away
// would be noticed only by the next make mutations.
func TestApply(t *testing.T) {
	for _, target := range targets {
		for _, m := range target.mutations {
			if _, err := m.apply(filepath.Join("..", "..", target.dir), t.TempDir()); err != nil {
				t.Errorf("%s, %s: %v", target.name, m.name, err)
			}
		}
	}
}
