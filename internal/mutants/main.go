// Mutants breaks package session on purpose, in ways in which others' code is broken (docs/pitfalls.md), and
// demands that its tests see it. Run it from the top of the module:
//
//	go run ./internal/mutants [-run part-of-a-name] [-v]
//
// Each mutation is a piece of text that stands once in a file and what takes its place. The
// compiler gets the changed file by way of -overlay, so nothing in the tree is touched. TestExhaustive must catch
// each; the tests that were written by hand are run too, and those of them that fail are listed with -v.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/internal/figures"
)

// mutation is one way to break the code.
type mutation struct {
	pitfall, name string
	file          string // in session
	old, new      string
}

func main() {
	part := flag.String("run", "", "only mutations whose `name` contains this")
	verbose := flag.Bool("v", false, "run the other tests too, and list those that fail")
	flag.Parse()
	if err := run(*part, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(part string, verbose bool) error {
	start := time.Now()
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Without a mutation all must pass, or a failure would prove nothing.
	if o := try(dir, mutation{name: "nothing changed"}, true); o.err != nil || o.caught != "" || len(o.others) > 0 {
		return fmt.Errorf("the tests fail without a mutation: %s %v %v", o.caught, o.others, o.err)
	}
	var todo []mutation
	for _, m := range mutations {
		if strings.Contains(m.pitfall+" "+m.name, part) {
			todo = append(todo, m)
		}
	}
	out := make([]outcome, len(todo))
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i, m := range todo {
		wg.Go(func() {
			slots <- struct{}{}
			out[i] = try(filepath.Join(dir, fmt.Sprint(i)), m, verbose)
			<-slots
		})
	}
	wg.Wait()
	bad := 0
	for i, m := range todo {
		o := out[i]
		switch {
		case o.err != nil:
			bad++
			fmt.Printf("FAIL   %s %s: %v\n", m.pitfall, m.name, o.err)
			continue
		case o.caught == "":
			bad++
			fmt.Printf("MISSED %s %s\n", m.pitfall, m.name)
		default:
			fmt.Printf("caught %s %s: %s\n", m.pitfall, m.name, o.caught)
		}
		if verbose {
			fmt.Printf("       other tests: %s\n", strings.Join(o.others, " "))
		}
	}
	fmt.Printf("%d mutations, %d caught, %.0f s\n", len(todo), len(todo)-bad, time.Since(start).Seconds())
	if bad > 0 {
		return fmt.Errorf("%d mutations were not caught", bad)
	}
	if part != "" {
		return nil
	}
	return figures.Write("mutations", fmt.Sprintf("%d mutations, all caught", len(todo)))
}

// outcome is what became of a mutation.
type outcome struct {
	caught string   // the rule of TestExhaustive that was broken
	others []string // tests that fail
	err    error    // it could not be tried
}

// try builds the tests with m in a new folder and runs them.
func try(dir string, m mutation, others bool) (o outcome) {
	if o.err = os.MkdirAll(dir, 0o700); o.err != nil {
		return o
	}
	args := []string{"test", "-c", "-vet=off", "-o", filepath.Join(dir, "session.test")}
	if m.file != "" {
		overlay, err := m.apply(dir)
		if err != nil {
			o.err = err
			return o
		}
		args = append(args, "-overlay", overlay)
	}
	build := exec.Command("go", append(args, "./session")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		o.err = fmt.Errorf("it does not compile: %w\n%s", err, text)
		return o
	}
	defer os.Remove(filepath.Join(dir, "session.test"))
	text, failed := test(dir, "-test.run=^TestExhaustive$", "-test.failfast")
	if failed {
		o.caught = rule(text)
	}
	if !others {
		return o
	}
	text, failed = test(dir, "-test.skip=^TestExhaustive", "-test.short")
	for _, f := range failure.FindAllStringSubmatch(text, -1) {
		o.others = append(o.others, f[1])
	}
	if failed && len(o.others) == 0 {
		o.others = []string{"(the run ended early)"} // a panic or the time limit
	}
	return o
}

var (
	failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)
	broken  = regexp.MustCompile(`profile .*`)
)

// rule is the line of the output that says which rule was broken.
func rule(text string) string {
	if s := broken.FindString(text); s != "" {
		return s
	}
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// test runs the tests that were built. One that never ends counts as caught, like one that fails.
func test(dir string, args ...string) (text string, failed bool) {
	c := exec.Command(filepath.Join(dir, "session.test"), append(args, "-test.timeout=60s")...)
	c.Dir = "session"
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error(), false
	}
	return string(out), err != nil
}

// apply writes the changed file, and the -overlay file that puts it in place.
func (m mutation) apply(dir string) (overlay string, err error) {
	path, err := filepath.Abs(filepath.Join("session", m.file))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("it no longer applies: its text is %d times in %s; bring internal/mutants/table.go up to date:\n%s", n, m.file, m.old)
	}
	changed := filepath.Join(dir, m.file)
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
