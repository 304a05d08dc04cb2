package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestOperatorsPage: docs/operate/sslecho.md has the flags as --help prints them.
// It names each flag and each metric of our own, and none that does not exist.
func TestOperatorsPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/operate/sslecho.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	_, help, _ := refused(t, "--help")
	_, flags, _ := strings.Cut(page, "```text\n")
	flags, _, _ = strings.Cut(flags, "```")
	if !strings.HasPrefix(flags, "Listening:") || !strings.HasSuffix(help, flags) {
		t.Errorf("the flags in docs/operate/sslecho.md are not those of --help:\n%s", help)
	}
	i := install(t)
	_, metrics := i.get("/metrics")
	for _, what := range []struct {
		name       string
		told, real string
	}{
		{`--[a-z][a-z-]+`, page, help},
		{`sslecho_[a-z_]*[a-z]`, page, metrics + `sslecho_limit_connections sslecho_limit_connections_per_address sslecho_limit_handshakes
			sslecho_limit_new_connections_per_second sslecho_limit_new_connections_burst sslecho_limit_queued_bytes
			sslecho_accept_errors_total sslecho_handshake_failures_total sslecho_handshake_versions_total
			sslecho_handshake_ciphers_total sslecho_handshake_groups_total sslecho_handshake_records_total`},
	} {
		re := regexp.MustCompile(what.name)
		set := func(s string) map[string]bool {
			m := map[string]bool{}
			for _, n := range re.FindAllString(s, -1) {
				m[regexp.MustCompile(`(_bucket|_sum|_count)$`).ReplaceAllString(n, "")] = true
			}
			return m
		}
		told, real := set(what.told), set(what.real)
		if len(real) == 0 {
			t.Fatalf("nothing like %s exists", what.name)
		}
		for n := range real {
			if !told[n] {
				t.Errorf("docs/operate/sslecho.md does not tell of %s", n)
			}
		}
		for n := range told {
			if !real[n] {
				t.Errorf("docs/operate/sslecho.md tells of %s, which does not exist", n)
			}
		}
	}
}
