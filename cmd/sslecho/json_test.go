package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// records reads lines that must all be JSON, and answers their messages.
func records(t *testing.T, text string) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(text) {
		var r struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Time == "" || r.Level == "" || r.Msg == "" {
			t.Errorf("no record of JSON (%v): %s", err, line)
		}
		all = append(all, r.Msg)
	}
	return all
}

// TestJSON (P57): with --log-format json each line of both outputs is JSON, through the whole life of the daemon and of the one that
// takes over from it.
func TestJSON(t *testing.T) {
	d := install(t, "SSLECHO_LOG_FORMAT=json", "SSLECHO_LOG_LEVEL=debug", "SSLECHO_TRACE=true", "SSLECHO_MAX_CONNS=1")
	c := dialTLS(t, "tcp", d.listen, nil)
	roundTrip(t, c, []byte("traced"))
	unserved(t, d.listen, nil, "a second one gets in")
	d.expect(`"connections refused"`, 1)
	d.signal(syscall.SIGHUP)
	d.expect(`"reloaded"`, 1)
	d.write("tickets", "broken")
	d.signal(syscall.SIGHUP)
	d.expect(`"reload failed, all is as it was"`, 1)
	d.signal(syscall.SIGUSR2)
	d.expect(`"upgrade failed, this process goes on"`, 1)
	d.write("tickets", strings.Repeat("t", 48))
	d.signal(syscall.SIGUSR2)
	d.expect(`"replaced: 1 connections have 10s to end"`, 1)
	c.Close()
	d.expect(`"msg":"stopped"`, 1)
	d.ready()
	d.signal(syscall.SIGTERM)
	d.expect(`"msg":"stopped"`, 2)
	said := strings.Join(records(t, d.text()), "\n")
	contains(t, said, "listening on "+d.listen, "admin on "+d.admin, cssl.Version().Run.String(), "connection ended", "read", "closed",
		"terminated: draining 0 connections, a second signal ends at once")
	if !strings.Contains(d.text(), `"msg":"listening on `+d.listen+`","address":"`+d.listen+`"`) {
		t.Error("the address is no attribute of its own")
	}
}

// TestJSONMadeInMemory: the lines that say how to try the daemon are JSON too.
func TestJSONMadeInMemory(t *testing.T) {
	out := &start(t, exec.Command(binary, "--listen=127.0.0.1:0", "--log-format=json")).out
	out.expect(t, "try: openssl s_client -connect 127.0.0.1:")
	out.expect(t, `"certificate made in memory, SHA-256 `)
	records(t, out.String())
}

// TestJSONErrors (P57): what keeps the daemon from starting is one line of JSON, wherever the format was set and whatever else is wrong.
func TestJSONErrors(t *testing.T) {
	formatFile := writeFile(t, "format.yaml", "log-format: json\n")
	badFile := writeFile(t, "bad.yaml", "log-format: json\nmax-cons: 7\n")
	for _, c := range []struct {
		name   string
		args   []string
		env    string
		status int
		want   string
	}{
		{"failure", []string{"--log-format=json", "--cert=/nonexistent"}, "", 1, "/nonexistent"},
		{"bad value", []string{"--log-format=json", "--listen=127.0.0.1:1x"}, "", 2, `bad port`},
		{"bad value before", []string{"--listen=127.0.0.1:1x", "--log-format", "json"}, "", 2, `bad port`},
		{"unknown flag", []string{"--log-format=json", "--nonsense"}, "", 2, "--nonsense"},
		{"unknown flag before", []string{"--nonsense", "--log-format=json"}, "", 2, "--nonsense"},
		{"unknown flag with a value before", []string{"--nonsense", "x", "--log-format=json"}, "", 2, "--nonsense"},
		{"value is missing", []string{"--log-format=json", "--cert"}, "", 2, "--cert"},
		{"argument", []string{"8443", "--log-format=json"}, "", 2, `8443`},
		{"environment", []string{"--nonsense"}, "SSLECHO_LOG_FORMAT=json", 2, "--nonsense"},
		{"environment, bad value", []string{"--loops=many"}, "SSLECHO_LOG_FORMAT=json", 2, "many"},
		{"unknown variable", []string{"--log-format=json"}, "SSLECHO_NONSENSE=1", 2, "SSLECHO_NONSENSE"},
		{"file", []string{"--config", formatFile, "--nonsense"}, "", 2, "--nonsense"},
		{"file, failure", []string{"--config", formatFile, "--cert=/nonexistent"}, "", 1, "/nonexistent"},
		{"file of the environment", []string{"--loops=many"}, "SSLECHO_CONFIG=" + formatFile, 2, "many"},
		{"bad file", []string{"--config", badFile}, "", 2, "max-cons"},
		{"no file", []string{"--config=/nonexistent", "--log-format=json"}, "", 2, "/nonexistent"},
		{"check", []string{"--check", "--log-format=json", "--pid-file=/nonexistent/pid"}, "", 1, "/nonexistent/pid"},
		{"subcommand", []string{"man", "csh"}, "SSLECHO_LOG_FORMAT=json", 2, "csh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(binary, c.args...)
			cmd.Env = append(os.Environ(), c.env)
			status, stdout, stderr := finish(t, cmd)
			tlstest.Equal(t, "status", status, c.status)
			tlstest.Equal(t, "standard output", stdout, "")
			if said := records(t, stderr); len(said) != 1 || !strings.Contains(said[0], c.want) {
				t.Errorf("%q does not name %s, or is not one line", said, c.want)
			}
		})
	}
	// A flag wins over the others, also when it says text.
	cmd := exec.Command(binary, "--log-format=text", "--nonsense")
	cmd.Env = append(os.Environ(), "SSLECHO_LOG_FORMAT=json")
	if _, _, stderr := finish(t, cmd); !strings.HasPrefix(stderr, "sslecho: ") {
		t.Errorf("with --log-format=text: %s", stderr)
	}
}

// TestJSONCheck: what --check finds is JSON too.
func TestJSONCheck(t *testing.T) {
	status, stdout, stderr := refused(t, "--check", "--log-format=json", "--keylog="+filepath.Join(t.TempDir(), "keylog"))
	said := records(t, stdout)
	if status != 0 || stderr != "" || len(said) != 2 || !strings.Contains(said[0], "decrypt") || said[1] != "the configuration is valid" {
		t.Errorf("status %d, %q, %s", status, said, stderr)
	}
}
