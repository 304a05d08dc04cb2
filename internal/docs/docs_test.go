package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	return string(tlstest.Value(os.ReadFile(filepath.Join(root, path)))(t))
}

// tree is the text of each file in the tree whose name ends so, by its path; what is built and measured is left out.
func tree(t *testing.T, endings string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	name := regexp.MustCompile(`(` + endings + `)$`)
	tlstest.Must(t, fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "bench"}, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular() && name.MatchString(path):
			texts[path] = read(t, path)
		}
		return nil
	}))
	return texts
}

// pages are README.md, SECURITY.md and their like, and the pages below docs,
// without those that sslbench writes.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for path, text := range tree(t, `\.md`) {
		if dir := filepath.Dir(path); dir == "." || filepath.Dir(dir) == "docs" {
			texts[path] = text
		}
	}
	if len(texts) < 10 {
		t.Fatalf("there are only %d pages", len(texts))
	}
	return texts
}

// TestNamedTestsExist: a page names no test that does not exist.
func TestNamedTestsExist(t *testing.T) {
	names := map[string]bool{}
	for _, code := range tree(t, `_test\.go`) {
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Example|Fuzz)\w*)\(`).FindAllStringSubmatch(code, -1) {
			names[m[1]] = true
		}
	}
	for path, text := range pages(t) {
		for _, m := range regexp.MustCompile("`((?:Test|Benchmark|Example|Fuzz)\\w*)").FindAllStringSubmatch(text, -1) {
			if !names[m[1]] {
				t.Errorf("%s names %s, which does not exist", path, m[1])
			}
		}
	}
}

// TestLinks: a link to a file leads to one, and a link to a heading too.
func TestLinks(t *testing.T) {
	found := 0
	for path, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			file, heading, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %v", path, err)
			} else if heading != "" && !headings(read(t, target))[heading] {
				t.Errorf("%s: %s has no heading %s", path, target, heading)
			}
		}
	}
	if found == 0 {
		t.Error("there are no links")
	}
}

// headings are the names that links use for a page's headings.
func headings(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}

// TestNamedPagesExist: a page or a file of docs that code, a script or a comment
// names exists.
func TestNamedPagesExist(t *testing.T) {
	named := regexp.MustCompile(`\bdocs/[a-z/]+\.(?:md|txt|json)\b`)
	found := 0
	for path, text := range tree(t, `(^|/)[^.]+|\.go|\.[ch]|\.md|\.yaml|\.sh|\.service`) {
		for _, name := range named.FindAllString(text, -1) {
			found++
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if found == 0 {
		t.Error("nothing names a page")
	}
}

// TestEveryPitfallHasARow: docs/design/testing.md has P01 to P61, each with a test.
func TestEveryPitfallHasARow(t *testing.T) {
	doc := read(t, "docs/design/testing.md")
	for i := 1; i <= 61; i++ {
		if i == 46 || i == 48 || i == 50 {
			continue // numbers that were never given
		}
		id := fmt.Sprintf("P%02d", i)
		row := regexp.MustCompile(`(?m)^\| ` + id + ` \|.*$`).FindString(doc)
		if !strings.Contains(row, "`Test") {
			t.Errorf("no row with a test for %s: %q", id, row)
		}
	}
}

// TestReadmeServer: the server in the README is the Example of package reactor, which is run.
func TestReadmeServer(t *testing.T) {
	readme := read(t, "README.md")
	_, code, ok := strings.Cut(readme, "```go\n")
	code, _, ok2 := strings.Cut(code, "```")
	if !ok || !ok2 {
		t.Fatal("there is no Go code in the README")
	}
	example := read(t, "reactor/example_test.go")
	for _, part := range strings.Split(code, "\n\n") {
		if !strings.Contains(squeeze(example), squeeze(part)) {
			t.Errorf("not in reactor/example_test.go:\n%s", part)
		}
	}
	if n := strings.Count(strings.TrimSpace(code), "\n") + 1; n > 25 {
		t.Errorf("the server of 20 lines has %d", n)
	}
}

// squeeze makes indentation and alignment equal.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestArchitecture: each name on the pages of docs/design that links to a file is
// defined there.
func TestArchitecture(t *testing.T) {
	link := regexp.MustCompile("\\[`([\\w.]+)`\\]\\(([^)]+)\\)")
	found := 0
	for path, text := range pages(t) {
		if filepath.Dir(path) != "docs/design" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			found++
			name, file := m[1], filepath.Join(filepath.Dir(path), m[2])
			if name != filepath.Base(file) && !defines(read(t, file), name) {
				t.Errorf("%s: %s does not define %s", path, file, name)
			}
		}
	}
	if found == 0 {
		t.Error("the pages name nothing, so this proves nothing")
	}
}

// defines reports whether Go or C code has a function or a type of that name.
func defines(code, name string) bool {
	name = regexp.QuoteMeta(name)
	golang, c := `^func (?:\([^)]*\) )?`+name+`[(\[]|^type `+name+`\b`, `^[a-z][\w \t*]*\b`+name+`\([^;]*$`
	return regexp.MustCompile(`(?m)` + golang + `|` + c).MatchString(code)
}

// TestMakeTargets: the targets of make that the pages name exist.
func TestMakeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	found := 0
	for path, text := range pages(t) {
		if path == "CHANGELOG.md" {
			continue // it may name what was there before
		}
		for _, m := range regexp.MustCompile("(?m)(?:^ {4}|`)make ([a-z][a-z0-9 -]*)").FindAllStringSubmatch(text, -1) {
			for _, target := range strings.Fields(m[1]) {
				found++
				if !strings.Contains(makefile, "\n"+target+":") {
					t.Errorf("%s names make %s", path, target)
				}
			}
		}
	}
	if found == 0 {
		t.Error("the pages name no target")
	}
}

// TestFigures: each figure in docs/design/results.txt has been measured, and
// something in the tree records it.
func TestFigures(t *testing.T) {
	var code strings.Builder
	for _, text := range tree(t, `\.go|Makefile`) {
		code.WriteString(text)
	}
	for line := range strings.Lines(read(t, figures.File)) {
		name, text, _ := strings.Cut(line, ":")
		if strings.TrimSpace(text) == "" {
			t.Errorf("figure %s is empty: run its command", name)
		}
		if !strings.Contains(code.String(), `"`+name+`"`) && !strings.Contains(code.String(), "figures/record "+name+" ") {
			t.Errorf("nothing records figure %s", name)
		}
	}
}
