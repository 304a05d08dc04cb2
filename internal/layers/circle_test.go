package layers

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	noCode = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'`)
	word   = regexp.MustCompile(`\w+`)
	// A function's head begins in the first column and ends in front of a brace.
	head = regexp.MustCompile(`(?m)^(\w[\w \t*]*?)(\w+)\([^;{}]*\)\s*\{`)
)

// calls returns, for each of the C files of a folder (name to text), the others
// that define a function that it calls or passes on, and those functions.
func calls(files map[string]string) map[string]map[string][]string {
	code, home := map[string]string{}, map[string]string{}
	static := map[[2]string]bool{} // file and function
	for name, text := range files {
		code[name] = noCode.ReplaceAllString(text, " ")
		for _, m := range head.FindAllStringSubmatch(code[name], -1) {
			if strings.HasPrefix(m[1], "static") {
				static[[2]string{name, m[2]}] = true
			} else {
				home[m[2]] = name
			}
		}
	}
	graph := map[string]map[string][]string{}
	for name := range files {
		graph[name] = map[string][]string{}
		for _, w := range word.FindAllString(code[name], -1) {
			if of, ok := home[w]; ok && of != name && !static[[2]string{name, w}] && !slices.Contains(graph[name][of], w) {
				graph[name][of] = append(graph[name][of], w)
			}
		}
	}
	return graph
}

// circle returns files that call each other in a ring, each the next one and the last one the first; none if there is no ring.
func circle(graph map[string]map[string][]string) []string {
	done := map[string]bool{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		if i := slices.Index(path, name); i >= 0 {
			return path[i:]
		}
		if done[name] {
			return nil
		}
		path = append(path, name)
		for _, next := range slices.Sorted(maps.Keys(graph[name])) {
			if ring := visit(next); ring != nil {
				return ring
			}
		}
		path = path[:len(path)-1]
		done[name] = true
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(graph)) {
		if ring := visit(name); ring != nil {
			return ring
		}
	}
	return nil
}

// sources are the C files of each folder of the module.
func sources(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".c" {
			return err
		}
		text, err := os.ReadFile(path)
		folder, _ := filepath.Rel(root, filepath.Dir(path))
		if all[folder] == nil {
			all[folder] = map[string]string{}
		}
		all[folder][d.Name()] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNoCircleInC: no two C files of a folder call each other, over others neither.
func TestNoCircleInC(t *testing.T) {
	all := sources(t)
	for folder, files := range all {
		graph := calls(files)
		ring := circle(graph)
		for i, name := range ring {
			next := ring[(i+1)%len(ring)]
			t.Errorf("%s: %s calls %v of %s", folder, name, graph[name][next], next)
		}
	}
	if graph := calls(all["cssl"]); !slices.Contains(graph["conn.c"]["transport.c"], "cssl_transport_flush") {
		t.Errorf("conn.c calls %v, so this proves nothing", graph["conn.c"])
	}
}

// TestOrderOfC: the C files of cssl call as the list in its doc.go says: only what stands in a line below.
func TestOrderOfC(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "cssl", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(doc), "\n// # The C files\n")
	list, _, _ = strings.Cut(list, "\n// # ")
	line := map[string]int{}
	cFile := regexp.MustCompile(`\w+\.c\b`)
	for i, l := range strings.Split(list, "\n") {
		if !strings.HasPrefix(l, "//\t") {
			continue
		}
		for _, name := range cFile.FindAllString(l, -1) {
			if line[name] != 0 {
				t.Errorf("%s stands there twice", name)
			}
			line[name] = i + 1
		}
	}
	files := sources(t)["cssl"]
	for name := range line {
		if _, ok := files[name]; !ok {
			t.Errorf("%s is not there any more", name)
		}
	}
	for name, of := range calls(files) {
		if line[name] == 0 {
			t.Errorf("%s is not in the list", name)
		}
		for other, functions := range of {
			if line[other] <= line[name] {
				t.Errorf("%s calls %v of %s, which does not stand below", name, functions, other)
			}
		}
	}
}

// TestCircle shows that the check can fail.
func TestCircle(t *testing.T) {
	const a, b = "int a(void)\n{\n\treturn b(1);\n}\n", "long *b(int x,\n        int y)\n{\n\tfree(x);\n}\n"
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a call", map[string]string{"a.c": a, "b.c": b}, nil},
		{"two that call each other", map[string]string{"a.c": a, "b.c": b + "int c(void)\n{\n\treturn a();\n}\n"}, []string{"a.c", "b.c"}},
		{"a function that is passed on", map[string]string{"a.c": a, "b.c": b + "static void c(void)\n{\n\tsort(a);\n}\n"}, []string{"a.c", "b.c"}},
		{"over a third one", map[string]string{"a.c": a, "b.c": b + "int c(void)\n{\n\td();\n}\n", "d.c": "void d(void) {\n\ta();\n}\n", "e.c": "void e(void) {\n\ta();\n}\n"},
			[]string{"a.c", "b.c", "d.c"}},
		{"static functions are the file's own", map[string]string{"a.c": a, "b.c": b + "static int a(void)\n{\n}\nint c(void)\n{\n\td(a);\n}\n"}, nil},
		{"a comment and a string call nothing", map[string]string{"a.c": a, "b.c": b + "/* a() */\nint c(void)\n{\n\td(\"a()\"); // a()\n}\n"}, nil},
		{"a declaration defines nothing", map[string]string{"a.c": a, "b.c": b + "extern int c(void);\n", "d.c": "int d(void)\n{\n\treturn c();\n}\n"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := circle(calls(tc.files)); !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
