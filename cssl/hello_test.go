package cssl

import "testing"

// FuzzParseHello: what a client sends makes no parser panic.
func FuzzParseHello(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h := parseHello(raw); len(h.Versions) == 0 {
			t.Error("no version")
		}
	})
}
