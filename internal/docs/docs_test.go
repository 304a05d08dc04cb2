package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// defined finds the names of all tests and examples in the tree.
func defined(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	re := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Example|Fuzz)\w*)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range re.FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestNamedTestsExist: a document that names a test as proof must not outlive it.
func TestNamedTestsExist(t *testing.T) {
	names := defined(t)
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	design, err := filepath.Glob(filepath.Join(root, "docs", "design", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(append(files, design...), filepath.Join(root, "SECURITY.md"), filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`((?:Test|Benchmark|Example|Fuzz)\\w*)").FindAllStringSubmatch(string(b), -1) {
			if !names[m[1]] {
				t.Errorf("%s names %s, which does not exist", filepath.Base(file), m[1])
			}
		}
	}
}

// TestEveryPitfallHasARow: docs/pitfalls.md has P01 to P59, each with a test.
func TestEveryPitfallHasARow(t *testing.T) {
	doc := read(t, "docs/pitfalls.md")
	for i := 1; i <= 59; i++ {
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
	pages, err := filepath.Glob(filepath.Join(root, "docs", "design", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	link := regexp.MustCompile("\\[`([\\w.]+)`\\]\\(([^)]+)\\)")
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		links := link.FindAllStringSubmatch(string(b), -1)
		if len(links) == 0 {
			t.Errorf("%s names nothing, so this proves nothing", page)
		}
		for _, m := range links {
			name, file := m[1], m[2]
			code, err := os.ReadFile(filepath.Join(filepath.Dir(page), file))
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if name != filepath.Base(file) && !defines(string(code), name) {
				t.Errorf("%s: %s does not define %s", page, file, name)
			}
		}
	}
}

// defines reports whether Go or C code has a function or a type of that name.
func defines(code, name string) bool {
	name = regexp.QuoteMeta(name)
	return regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?` + name + `[(\[]|^type ` + name + `\b|^[a-z][\w \t*]*\b` + name + `\([^;]*$`).MatchString(code)
}

// TestMakeTargets: the targets of make that the README names exist.
func TestMakeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	found := 0
	for _, m := range regexp.MustCompile("(?m)(?:^ {4}|`)make ([a-z-]+)").FindAllStringSubmatch(read(t, "README.md"), -1) {
		found++
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("the README names make %s", m[1])
		}
	}
	if found == 0 {
		t.Error("the README names no target")
	}
}

// TestFigures: each place for a figure in docs/reliability.md is filled in, and something in the tree records it.
func TestFigures(t *testing.T) {
	var code strings.Builder
	for _, pattern := range []string{"*.go", "Makefile"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if ok, _ := filepath.Match(pattern, filepath.Base(path)); !ok || err != nil {
				return err
			}
			b, err := os.ReadFile(path)
			code.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	places := regexp.MustCompile(`<!--([a-z0-9-]+)-->(.*?)<!--/-->`).FindAllStringSubmatch(read(t, "docs/reliability.md"), -1)
	if len(places) == 0 {
		t.Fatal("there is no place for a figure")
	}
	for _, m := range places {
		if m[2] == "" {
			t.Errorf("figure %s is empty: run its command", m[1])
		}
		if !strings.Contains(code.String(), `"`+m[1]+`"`) && !strings.Contains(code.String(), "figures/record "+m[1]+" ") {
			t.Errorf("nothing records figure %s", m[1])
		}
	}
}
