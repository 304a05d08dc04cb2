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
		case !s.restart && !s.act && s.arg == argFile:
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
	for key, want := range map[string]string{
		"pkcs11:object=a": "", "file:/k.pem": "/k.pem", "file:///k.pem": "/k.pem", "file://localhost/k.pem": "/k.pem",
		"FILE://LocalHost/k.pem": "/k.pem", "file://elsewhere/k.pem": "", "file:k.pem": "",
	} {
		all := []string{"a.pem"}
		if want != "" {
			all = append(all, want)
		}
		if got := mustLoad(t, []string{"--cert=a.pem", "--key=" + key}, nil).Files(); !slices.Equal(got, all) {
			t.Errorf("with the key %s: %q, want %q", key, got, all)
		}
	}
}
