// Package figures writes what the long tests have measured into docs/reliability.md.
//
// A row of a table there names its figure, and holds what the last run gave:
//
//	| promise | `TestName` | <!--name-->413,156 states<!--/--> | `make target` |
//
// A test calls Record at its end. Nothing is written unless FIGURES=write is in the environment, as the targets of make
// that run the long forms set it, so that the short forms leave the document alone.
package figures

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Record logs the figure, and writes it to the document if that was asked for and the test has not failed. The text
// is for people: numbers with their units.
func Record(t testing.TB, name, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Logf("figure %s: %s", name, text)
	if t.Failed() {
		return
	}
	if err := Write(name, text); err != nil {
		t.Error(err)
	}
}

// Write puts text in the place of the figure that is called name, if FIGURES=write is in the environment. Several
// processes may do so at once.
func Write(name, text string) error {
	if os.Getenv("FIGURES") != "write" {
		return nil
	}
	path, err := document()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() // and with it the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("%s: lock: %w", path, err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := replace(string(old), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	// In place, since the lock is on this file.
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(changed), 0)
	return err
}

// replace changes the figure in the document's text.
func replace(doc, name, text string) (string, error) {
	if strings.ContainsAny(text, "|\n") || strings.Contains(text, "<!--") {
		return "", fmt.Errorf("the text of figure %s does not fit into a cell: %q", name, text)
	}
	place := regexp.MustCompile(`<!--` + regexp.QuoteMeta(name) + `-->.*?<!--/-->`)
	if n := len(place.FindAllString(doc, -1)); n != 1 {
		return "", fmt.Errorf("figure %s has %d places, not one", name, n)
	}
	return place.ReplaceAllLiteralString(doc, "<!--"+name+"-->"+text+"<!--/-->"), nil
}

// document is docs/reliability.md, from wherever in the module the process runs.
func document() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return filepath.Join(dir, "docs", "reliability.md"), nil
		}
		if dir == filepath.Dir(dir) {
			err = fmt.Errorf("there is no go.mod above the working directory")
		}
	}
	return "", err
}
