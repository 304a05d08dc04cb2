// Mutants breaks packages session and cssl, and the plain-text phase of reactor, on purpose, in ways in which others'
// code is broken (docs/design/testing.md), and demands that tests see it. Run it from the top of the module:
//
//	go run ./internal/mutants [-run part-of-a-name] [-v]
//
// Each mutation is a piece of text that stands once in a file, of Go or of C, and what takes its place. The
// compiler gets the changed file by way of -overlay, so nothing in the tree is touched. What breaks session must be caught by
// TestExhaustive; the tests that were written by hand are run with -v, and those of them that fail are listed. What breaks cssl must be
// caught by random walks over OpenSSL or else by cssl's own tests; with -v both run. What breaks the plain-text phase
// must be caught by reactor's tests of it. What breaks direct records must be caught by
// those that begin with TestDirect. The last two tables are for
// the fuzz tests: their seeds and kept inputs alone must see it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/internal/figures"
)

// mutation is one way to break the code.
type mutation struct {
	pitfall, name string
	file          string // from the target's dir
	old, new      string
}

// target is a package that is broken, and what has to see it.
type target struct {
	dir, name string
	env       []string
	mutations []mutation
	catchers  []catcher // one of them must fail
	others    []catcher // run with -v alone
}

var targets = []*target{
	{
		dir: "session", name: "session", env: []string{"CGO_ENABLED=0"}, mutations: ofSession,
		catchers: []catcher{{pkg: "./session", args: []string{"-test.run=^TestExhaustive$", "-test.failfast"}}},
		others:   []catcher{{pkg: "./session", args: []string{"-test.skip=^TestExhaustive", "-test.short"}}},
	},
	{
		dir: "reactor", name: "plain text", mutations: ofPlain,
		catchers: []catcher{{pkg: "./reactor", args: []string{"-test.run=Plain|StartTLS", "-test.failfast"}}},
	},
	{
		dir: "cssl", name: "cssl", mutations: ofCssl,
		catchers: []catcher{
			{pkg: "./internal/walk", args: []string{"-steps=400000", "-first=128"}},
			{pkg: "./cssl", args: []string{"-test.short", "-test.skip=^Fuzz", "-test.failfast"}},
		},
	},
	{
		dir: "cssl", name: "direct records", mutations: ofDirect,
		catchers: []catcher{{pkg: "./cssl", args: []string{"-test.short", "-test.run=^TestDirect", "-test.failfast"}}},
	},
	{
		dir: "cssl", name: "cssl for its fuzz tests", mutations: forFuzzOfCssl,
		catchers: []catcher{
			{pkg: "./internal/fuzz", args: []string{"-test.run=^Fuzz", "-test.failfast"}},
			{pkg: "./cssl", args: []string{"-test.run=^Fuzz", "-test.failfast"}},
		},
	},
	{
		dir: "session", name: "session for its fuzz test", env: []string{"CGO_ENABLED=0"}, mutations: forFuzzOfSession,
		catchers: []catcher{{pkg: "./session", args: []string{"-test.run=^Fuzz", "-test.failfast"}}},
	},
}

// jobs is how many mutations are tried at a time.
var jobs = runtime.NumCPU()

func main() {
	part := flag.String("run", "", "only mutations whose `name` contains this")
	verbose := flag.Bool("v", false, "run the other tests too, and list those that fail")
	flag.IntVar(&jobs, "j", jobs, "so `many` at a time")
	flag.Parse()
	if err := run(*part, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(part string, verbose bool) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var figure []string
	bad := 0
	for i, t := range targets {
		var todo []mutation
		for _, m := range t.mutations {
			if strings.Contains(t.name+" "+m.pitfall+" "+m.name, part) {
				todo = append(todo, m)
			}
		}
		if len(todo) == 0 {
			continue
		}
		n, err := t.runAll(filepath.Join(dir, fmt.Sprint(i)), todo, verbose)
		if err != nil {
			return err
		}
		bad += n
		figure = append(figure, fmt.Sprintf("%d mutations of %s", len(todo), t.name))
	}
	if bad > 0 {
		return fmt.Errorf("%d mutations were not caught", bad)
	}
	if part != "" {
		return nil
	}
	return figures.Write("mutations", strings.Join(figure, ", ")+", all caught")
}

// runAll tries the mutations and answers how many were not caught.
func (t *target) runAll(dir string, todo []mutation, verbose bool) (bad int, err error) {
	start := time.Now()
	// Without a mutation all must pass, or a failure would prove nothing.
	if o := t.try(filepath.Join(dir, "none"), mutation{}, true); o.err != nil || o.caught != "" || len(o.others) > 0 {
		return 0, fmt.Errorf("the tests of %s fail without a mutation: %s %v %v", t.name, o.caught, o.others, o.err)
	}
	slots := make(chan struct{}, jobs)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, m := range todo {
		wg.Go(func() {
			slots <- struct{}{}
			o := t.try(filepath.Join(dir, fmt.Sprint(i)), m, verbose)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			if o.err != nil || o.caught == "" {
				bad++
			}
			fmt.Println(o.text(t.name + ", " + m.pitfall + ": " + m.name))
			if verbose {
				fmt.Printf("       other tests: %s\n", strings.Join(o.others, " "))
			}
		})
	}
	wg.Wait()
	fmt.Printf("%s: %d mutations, %d caught, %.0f s\n", t.name, len(todo), len(todo)-bad, time.Since(start).Seconds())
	return bad, nil
}
