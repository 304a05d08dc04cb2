package config

import (
	"slices"
	"testing"
)

// TestFiles: all files that a reload reads are known, each setting's.
func TestFiles(t *testing.T) {
	file := write(t, "")
	for _, s := range settings {
		args, _ := place(t, s, map[source]string{byFlag: samples[s.name].text})
		if s.name == "config" {
			args = []string{"--config", file}
		}
		got := mustLoad(t, args, nil).Files()
		var want []string
		switch {
		case s.name == "config":
			want = []string{file}
		case s.name == "sni":
			want = []string{"a.pem", "a.key", "b.pem", "b.key", "c.pem", "c.key"}
		case s.reload && s.arg == argFile:
			for _, f := range split(samples[s.name].text, ",") {
				if f != "" {
					want = append(want, f)
				}
			}
		}
		for _, f := range want {
			if !slices.Contains(got, f) {
				t.Errorf("--%s: %q is not in %q", s.name, f, got)
			}
		}
	}
	if got := mustLoad(t, []string{"--cert=a.pem", "--key=pkcs11:object=a"}, nil).Files(); !slices.Equal(got, []string{"a.pem"}) {
		t.Errorf("with a key in a token: %q", got)
	}
}
