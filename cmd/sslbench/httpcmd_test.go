package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/httpbench"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// TestHTTPUsage: bad usage is status 2 with a line that says what was wrong, help is status 0.
func TestHTTPUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"--help", 0, "--idle-conns"},
		{"--help", 0, "apt-get install wrk"},
		{"extra", 2, `unexpected argument "extra"`},
		{"--no-such-flag", 2, "no-such-flag"},
		{"--format xml", 2, `--format "xml": use text or json`},
		{"--rounds 0", 2, "at least 1 round"},
		{"--quick --rounds 0", 2, "at least 1 round"},
		{"--duration 1ms", 2, "at least 10ms"},
		{"--conns 0", 2, "0 connections"},
		{"--idle-conns -1", 2, "-1 idle connections"},
		{"--idle-rounds 0", 2, "at least 1 round of idle"},
		{"--out " + file, 1, "--out"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(append([]string{"http"}, strings.Fields(test.args)...), &out, &errs); status != test.status {
				t.Errorf("status %d, want %d; %s", status, test.status, &errs)
			}
			if text := out.String() + errs.String(); !strings.Contains(text, test.says) {
				t.Errorf("%q is not in %q", test.says, text)
			}
		})
	}
	var out, errs bytes.Buffer
	if status := run([]string{httpbench.ServeCommand, "--stack", "none"}, &out, &errs); status != 1 || !strings.Contains(errs.String(), "--stack") {
		t.Errorf("status %d: %s", status, &errs)
	}
}

// TestHTTP is a whole run of the real binary, scaled down, with Go's client as the load: text and files have
// the figures, the JSON can be read, and nothing is written beside them.
func TestHTTP(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "sslbench")
	build := exec.Command("go", "build", "-o", bin, "./cmd/sslbench")
	build.Dir = moduleRoot(t, filepath.Dir(testcerts.Path("root.pem")))
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	dir := filepath.Join(t.TempDir(), "report")
	cmd := exec.Command(bin, "http", "--go-client", "--rounds", "1", "--duration", "20ms", "--conns", "8", "--idle-conns", "50",
		"--idle-rounds", "1", "--out", dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	if errs.Len() > 0 {
		t.Errorf("on standard error, which is no terminal: %s", &errs)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "http.json"))
	if err != nil {
		t.Fatal(err)
	}
	var data httpbench.Data
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "http.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(data.Cases) != 6 || len(data.Idle) != 4 || data.Machine.OpenSSL != cssl.Version().Run.Text {
		t.Errorf("%s", raw)
	}
	for _, c := range append(data.Cases, data.Idle...) {
		if c.Failed != "" || len(c.Points) != 2 {
			t.Errorf("%s: %d points, failed: %s", c.Title, len(c.Points), c.Failed)
		}
		for what, text := range map[string]string{"the text": out.String(), "http.md": string(page)} {
			if !strings.Contains(text, c.Title) {
				t.Errorf("%q is not in %s", c.Title, what)
			}
		}
	}
	const again = "bin/sslbench http --go-client --rounds 1 --duration 20ms --conns 8 --idle-conns 50 --idle-rounds 1"
	if !strings.Contains(string(page), again) {
		t.Errorf("http.md does not say %q", again)
	}
}
