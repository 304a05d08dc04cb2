// Package figures writes what the long tests have measured into
// docs/design/results.txt: a line for each figure, with its name, a colon and
// the text of the last run.
//
// A test calls Record at its end. Nothing is written unless FIGURES=write is in
// the environment. The targets of make that run the long forms set it; the
// short forms leave the file alone.
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

// File is where the figures are, below the root of the repository.
const File = "docs/design/results.txt"

// Record logs the figure, and writes it to File if that was asked for and the
// test has not failed. The text is for people: numbers with their units.
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

// Write replaces the text of the figure that is called name, if FIGURES=write is
// in the environment. Several processes may do so at once.
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

// replace changes the figure's line in the file's text.
func replace(doc, name, text string) (string, error) {
	if strings.Contains(text, "\n") {
		return "", fmt.Errorf("the text of figure %s has more than a line: %q", name, text)
	}
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `:.*$`)
	if n := len(line.FindAllString(doc, -1)); n != 1 {
		return "", fmt.Errorf("figure %s has %d lines, not one", name, n)
	}
	return line.ReplaceAllLiteralString(doc, name+": "+text), nil
}

// document is the path of File, from wherever in the repository the process runs.
func document() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, File)
		if _, e := os.Stat(path); e == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			err = fmt.Errorf("there is no %s above the working directory", File)
		}
	}
	return "", err
}
