package cssl

import "testing"

// FuzzServerName: whatever stands in the extension, a name lies within it.
func FuzzServerName(f *testing.F) {
	f.Add([]byte{0, 12, 0, 0, 9, 'l', 'o', 'c', 'a', 'l', 'h', 'o', 's', 't'})
	f.Add([]byte{0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, ext []byte) {
		if name, ok := serverNameOf(ext); ok && (len(name) == 0 || len(name) > len(ext)-5) {
			t.Errorf("%q from %x", name, ext)
		}
	})
}
