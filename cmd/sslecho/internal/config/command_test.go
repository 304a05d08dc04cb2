package config

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// output is what a command line prints that loads nothing.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	c, err := Load(args, nil, &out)
	if c != nil || err != nil {
		t.Fatalf("%q: %v, %v", args, c, err)
	}
	return out.String()
}

// TestHelp: it fits a terminal, has all flags in their groups, and tells every default.
func TestHelp(t *testing.T) {
	help := output(t, "--help")
	if short := output(t, "-h"); short != help {
		t.Error("-h prints something else than --help")
	}
	lines := strings.Split(strings.TrimSuffix(help, "\n"), "\n")
	if len(lines) > 90 {
		t.Errorf("%d lines, want at most 90", len(lines))
	}
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	heading := ""
	for _, line := range lines[slices.Index(lines, "Listening:"):] {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "  --"), " ")
		i := slices.IndexFunc(settings, func(s *setting) bool { return s.name == name })
		if !strings.HasPrefix(line, " ") {
			heading = line
		} else if i >= 0 && (heading != settings[i].group+":" || !strings.Contains(line, "  "+settings[i].usage)) {
			t.Errorf("below %s there is %s", heading, line)
		}
	}
	for _, s := range settings {
		if strings.Count(help, "\n  --"+s.name+" ") != 1 || strings.Count(help, "\n"+s.group+":\n") != 1 {
			t.Errorf("--%s or its group %s is not there once", s.name, s.group)
		}
	}
	for _, want := range []string{"(default 127.0.0.1:8443)", "(default echo)", "(default 16MiB)", "(default 10s)", "SSLECHO_NAME", "--config",
		"completion", "man", "version"} {
		if !strings.Contains(help, want) {
			t.Errorf("help has no %s", want)
		}
	}
	if sub := output(t, "man", "--help"); !strings.Contains(sub, "man page") || strings.Contains(sub, "--listen") {
		t.Errorf("help of a subcommand: %s", sub)
	}
}

// TestManPage: it has each flag with its usage, and groff finds no fault with it.
func TestManPage(t *testing.T) {
	page := output(t, "man")
	for _, s := range settings {
		if !strings.Contains(page, ".TP\n\\fB"+escapeFlags("--"+s.name)+"\\fP") {
			t.Errorf("no paragraph for --%s", s.name)
		}
	}
	for _, want := range []string{".SH NAME\nsslecho - ", ".SH CONFIGURATION", ".SH SIGNALS", ".SH EXIT STATUS", ".SH OPTIONS\n.TP\n", ".SH EXAMPLE",
		"A change needs a restart.", "May be repeated.", `\fB*.example\fR`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(page, "cobra") || strings.Contains(page, ".SH SEE ALSO") {
		t.Error("the page tells of its generator, or of pages that are not there")
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Log("groff is not installed: the page is not set")
		return
	}
	cmd := exec.Command("groff", "-man", "-ww", "-z")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

// TestCompletionScripts: each shell that is installed parses its script.
func TestCompletionScripts(t *testing.T) {
	for shell, flag := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		script := output(t, "completion", shell)
		if !strings.Contains(script, "sslecho") {
			t.Errorf("%s: the script does not name the program", shell)
		}
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("%s is not installed: its script is not parsed", shell)
			continue
		}
		cmd := exec.Command(shell, flag, "/dev/stdin")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// TestCompletions: what a shell is told of values.
func TestCompletions(t *testing.T) {
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"--service", ""}, "echo\ndiscard\nchargen\nreverse\n:4\n"},
		{[]string{"--starttls", ""}, "smtp\nimap\npop3\nldap\npostgres\nmysql\nxmpp\n:4\n"},
		{[]string{"--client-auth", ""}, "none\noptional\nrequire\n:4\n"},
		{[]string{"--min-version", ""}, "1.0\n1.1\n1.2\n1.3\n:4\n"},
		{[]string{"--pprof="}, "true\nfalse\n:4\n"},
		{[]string{"--loops", ""}, ":4\n"},
		{[]string{"--cert", ""}, ":0\n"},
		{[]string{"--config", ""}, "yaml\nyml\n:8\n"},
		{[]string{"--listen=:1", "--lis"}, "--listen\thost:port or unix:/path\n:4\n"},
		{[]string{"completion", "z"}, "zsh\tGenerate the autocompletion script for zsh\n:4\n"},
	} {
		// The last line says the same in words.
		got, _, _ := strings.Cut(output(t, append([]string{"__complete"}, x.args...)...), "Completion ended")
		if got != x.want {
			t.Errorf("%q: %q, want %q", x.args, got, x.want)
		}
	}
}

// TestRun: what a Command calls, and which of its errors are bad usage.
func TestRun(t *testing.T) {
	failed := errors.New("port busy")
	for _, x := range []struct {
		args []string
		runs bool
		out  string
	}{
		{args: []string{"--loops=2"}, runs: true},
		{args: []string{"--check"}, runs: true},
		{args: []string{"--check", "--print-config"}, runs: true, out: "# sslecho"},
		{args: []string{"--print-config"}, out: "# sslecho"},
		{args: []string{"version"}, out: "version 1, JSON false\n"},
		{args: []string{"--version"}, out: "version 1, JSON false\n"},
		{args: []string{"version", "--json"}, out: "version 1, JSON true\n"},
		{args: []string{"--loops=x"}},
		{args: []string{"--key=x"}},
	} {
		var out, stderr bytes.Buffer
		ran := false
		cmd := Command(func(c *Config) error {
			ran = true
			if !c.Check && c.Loops != 2 {
				t.Errorf("%q: %+v", x.args, c)
			}
			return failed
		}, func(asJSON bool) string { return fmt.Sprintf("version 1, JSON %t", asJSON) })
		cmd.SetArgs(x.args)
		cmd.SetOut(&out)
		cmd.SetErr(&stderr)
		err := cmd.Execute()
		if ran != x.runs || errors.Is(err, failed) != x.runs || (err == nil) != (!x.runs && x.out != "") || stderr.Len() > 0 {
			t.Errorf("%q: ran %v, %v, standard error %q", x.args, ran, err, stderr.String())
		}
		if !strings.Contains(out.String(), x.out) {
			t.Errorf("%q printed %q", x.args, out.String())
		}
	}
}
