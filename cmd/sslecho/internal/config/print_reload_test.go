package config

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// printed is what --print-config would print.
func printed(t *testing.T, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	tlstest.Must(t, c.Print(&b))
	return b.String()
}

// TestPrintRoundTrip: what --print-config prints is a configuration file that has the same result, for the defaults,
// for a sample of each setting, and for texts that YAML would take for something else.
func TestPrintRoundTrip(t *testing.T) {
	check := func(args []string) {
		t.Helper()
		c := mustLoad(t, args, nil)
		first := printed(t, c)
		again := mustLoad(t, []string{"--config", write(t, first)}, nil)
		for _, s := range settings {
			if want, got := c.given[s.name].texts, again.given[s.name].texts; !s.act && !slices.Equal(got, want) {
				t.Errorf("%q: %s is %q, was %q", args, s.name, got, want)
			}
		}
		if applied, restart := Changes(c, again); len(applied)+len(restart) > 0 {
			t.Errorf("%q: %v %v changed", args, applied, restart)
		}
		for line := range strings.Lines(printed(t, again)) {
			setting := strings.Contains(line, ": ") && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#")
			if setting && !strings.HasSuffix(line, " # file\n") {
				t.Errorf("%q: the source is missing: %s", args, line)
			}
		}
	}
	check(nil)
	for _, s := range settings {
		if !s.act {
			args, _ := place(t, s, map[source]string{byFlag: samples[s.name]})
			check(args)
		}
	}
	for _, odd := range []string{"a: b", "# x", "x #y", "yes", "null", "~", "1.20", "0x1f", "2020-01-01", " x ", "'", `"`, "- a", "*a", "&a", "!a", "%a",
		"@a", "`", "{}", "[", "é", "\u2028", "a\u2028b", "\xff", strings.Repeat("long text ", 50)} {
		check([]string{"--ciphers", odd, "--groups", odd + " " + odd})
	}
	check([]string{"--cert=a, b", "--cert=c: d", "--listen=unix:/a b", "--sni=*.example=x,y", "--alpn=", "--key= ", "--key=z"})
}

// TestPrintSources: each value has its source behind it.
func TestPrintSources(t *testing.T) {
	out := printed(t, mustLoad(t, []string{"--config", write(t, "loops: 2\nalpn: [h2]\nsni: {a.example: [a, b]}"), "--trace", "--listen=:1", "--listen=:2"},
		[]string{"SSLECHO_LOG_LEVEL=debug", "SSLECHO_PROXY_PROTOCOL=false"}))
	for _, want := range []string{"loops: 2 # file\n", "alpn: # file\n    - h2\n", "sni: # file\n    - a.example=a,b\n",
		"trace: true # flag\n", "listen: # flag\n    - :1\n    - :2\n", "log-level: debug # environment\n", "proxy-protocol: false # environment\n",
		"tickets: 1 # default\n", "max-queue: 16MiB # default\n", "\n# Clients' certificates\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, act := range []string{"config:", "check:", "print-config:"} {
		if strings.Contains(out, "\n"+act) {
			t.Errorf("%s is printed", act)
		}
	}
}

// TestReload: the file and the environment are read again below the same flags; a fault leaves everything as it was.
func TestReload(t *testing.T) {
	file := write(t, "loops: 2\nmax-conns: 10\nlog-level: debug\ntickets: 2\n")
	environ := []string{"SSLECHO_TICKETS=3"}
	args := []string{"--log-level=warn", "--config", file}
	var c *Config
	cmd := command(func() []string { return environ }, func(got *Config) error { c = got; return nil }, nil)
	cmd.SetArgs(args)
	tlstest.Must(t, cmd.Execute())
	change := func(content string) {
		t.Helper()
		tlstest.Must(t, os.WriteFile(file, []byte(content), 0o600))
	}
	before := printed(t, c)
	change("loops: 3\nmax-conns: 20\nlog-level: error\ntickets: 4\nidle-timeout: 1m\n")
	next := tlstest.Value(c.Reload())(t)
	if got := printed(t, c); got != before {
		t.Errorf("the old configuration changed:\n%s", got)
	}
	if next.Loops != 3 || next.Conns.MaxConns != 20 || next.LogLevel != c.LogLevel || next.TLS.Tickets != 3 || next.File != file {
		t.Errorf("%+v", next)
	}
	applied, restart := Changes(c, next)
	if !slices.Equal(applied, []string{"max-conns", "idle-timeout"}) || !slices.Equal(restart, []string{"loops"}) {
		t.Errorf("applied %v, need a restart %v", applied, restart)
	}
	running := Merge(c, next)
	if running.Loops != 2 || running.Conns.MaxConns != 20 || running.given["idle-timeout"].by != byFile || next.Loops != 3 {
		t.Errorf("%+v", running)
	}
	if applied, restart = Changes(running, next); len(applied) > 0 || !slices.Equal(restart, []string{"loops"}) {
		t.Errorf("after the merge: applied %v, need a restart %v", applied, restart)
	}

	change("max-conns: 30\nlop-level: error\n")
	if broken, err := running.Reload(); err == nil || broken != nil || !strings.Contains(err.Error(), "log-level") {
		t.Errorf("a broken file: %v, %v", broken, err)
	}
	if running.Conns.MaxConns != 20 {
		t.Error("a broken file changed what runs")
	}
	tlstest.Must(t, os.Remove(file))
	if _, err := running.Reload(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a missing file: %v", err)
	}
	change("")
	environ = nil
	if next, err := running.Reload(); err != nil || next.Loops != 0 || next.TLS.Tickets != 1 || next.LogLevel != c.LogLevel {
		t.Errorf("an empty file and environment: %+v, %v", next, err)
	}
}

// TestChanges: each setting's change is told, once, and by the table's word for whether it needs a restart.
func TestChanges(t *testing.T) {
	base := mustLoad(t, nil, nil)
	var reloadable []string
	for _, s := range settings {
		if s.act {
			continue
		}
		changed := *base
		tlstest.Value(row(&changed, s.name).set(s.split(samples[s.name])))(t)
		applied, restart := Changes(base, &changed)
		if !s.restart {
			reloadable = append(reloadable, s.name)
			if !slices.Equal(applied, []string{s.name}) || len(restart) > 0 {
				t.Errorf("%s: %v, %v", s.name, applied, restart)
			}
		} else if !slices.Equal(restart, []string{s.name}) || len(applied) > 0 {
			t.Errorf("%s: %v, %v", s.name, applied, restart)
		}
		merged := Merge(base, &changed)
		if applied2, _ := Changes(base, merged); !slices.Equal(applied2, applied) {
			t.Errorf("%s: merged %v, want %v", s.name, applied2, applied)
		}
	}
	for _, name := range []string{"cert", "key", "sni", "key-passphrase-file", "client-ca", "client-crl", "client-keys", "cert-compression", "ocsp-file", "ech-key", "psk-file", "ticket-keys", "log-level",
		"max-conns", "max-conns-per-addr", "max-handshakes", "new-conns-rate", "new-conns-burst", "max-queue", "max-queued",
		"handshake-timeout", "idle-timeout", "write-timeout", "close-timeout", "drain-timeout", "drain-delay", "drain-wait", "reload-timeout"} {
		if !slices.Contains(reloadable, name) {
			t.Errorf("%s cannot be reloaded", name)
		}
	}
	for _, name := range []string{"listen", "loops", "service", "starttls", "keylog", "admin", "user", "proxy-protocol", "watch"} {
		if slices.Contains(reloadable, name) {
			t.Errorf("%s can be reloaded", name)
		}
	}
}
