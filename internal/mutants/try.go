package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// catcher is a package's tests, or some of them.
type catcher struct {
	pkg  string
	args []string
}

// outcome is what became of a mutation.
type outcome struct {
	caught string   // what the first of the catchers that failed says
	others []string // tests that fail elsewhere
	err    error    // it could not be tried
}

// text is for the person who reads the output.
func (o outcome) text(name string) string {
	switch {
	case o.err != nil:
		return fmt.Sprintf("FAIL   %s: %v", name, o.err)
	case o.caught == "":
		return "MISSED " + name
	}
	return "caught " + name + ": " + o.caught
}

// try builds the tests with m in a new folder and runs them: until one fails, or all.
func (t *target) try(dir string, m mutation, all bool) (o outcome) {
	if o.err = os.MkdirAll(dir, 0o700); o.err != nil {
		return o
	}
	overlay := ""
	if m.file != "" {
		if overlay, o.err = m.apply(t.dir, dir); o.err != nil {
			return o
		}
	}
	todo := t.catchers
	if all {
		todo = append(todo[:len(todo):len(todo)], t.others...)
	}
	for i, c := range todo {
		if o.caught != "" && !all {
			break
		}
		text, failed, err := c.run(dir, overlay, t.env)
		switch {
		case err != nil:
			o.err = err
			return o
		case failed && o.caught == "" && i < len(t.catchers):
			o.caught = strings.TrimPrefix(c.pkg, "./") + ": " + reason(text)
		case failed:
			o.others = append(o.others, names(text)...)
		}
	}
	return o
}

// run builds the tests and runs them. One that never ends counts as failed.
func (c catcher) run(dir, overlay string, env []string) (text string, failed bool, err error) {
	binary := filepath.Join(dir, filepath.Base(c.pkg)+".test")
	args := []string{"test", "-c", "-vet=off", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	build := exec.Command("go", append(args, c.pkg)...)
	build.Env = append(os.Environ(), env...)
	if text, err := build.CombinedOutput(); err != nil {
		return "", false, fmt.Errorf("it does not compile: %w\n%s", err, text)
	}
	defer os.Remove(binary)
	test := exec.Command(binary, append(c.args, "-test.timeout=5m")...)
	test.Dir = c.pkg
	test.Env = append(os.Environ(), "FIGURES=") // what broken code does is no figure
	out, err := test.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", false, err
	}
	return string(out), err != nil, nil
}

var (
	failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)
	broken  = regexp.MustCompile(`profile .*|\w+_test\.go:\d+: .*`)
	crash   = regexp.MustCompile(`(?m)^(panic|fatal error|SIG\w+): .*`)
)

// reason is the line of the output that says which rule was broken.
func reason(text string) string {
	for _, r := range []*regexp.Regexp{crash, broken} {
		if s := r.FindString(text); s != "" {
			return s
		}
	}
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// names are the tests that failed.
func names(text string) (out []string) {
	for _, f := range failure.FindAllStringSubmatch(text, -1) {
		out = append(out, f[1])
	}
	if len(out) == 0 {
		return []string{"(the run ended early)"} // a panic or the time limit
	}
	return out
}

// apply writes the changed file, and the -overlay file that puts it in place.
func (m mutation) apply(pkg, dir string) (overlay string, err error) {
	path, err := filepath.Abs(filepath.Join(pkg, m.file))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("it no longer applies: its text is %d times in %s; bring the tables of internal/mutants up to date:\n%s", n, m.file, m.old)
	}
	changed := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
