package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
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

// TestCalls shows what is taken for a call.
func TestCalls(t *testing.T) {
	const a = "int a(void)\n{\n\treturn b(1) + c();\n}\n"
	const b = "long *b(int x,\n        int y)\n{\n\tfree(x);\n}\n"
	for name, tt := range map[string]struct {
		more string   // behind b, in b.c
		want []string // what a.c and b.c call of each other
	}{
		"a call":                              {"", []string{"b"}},
		"two that call each other":            {"int d(void)\n{\n\treturn a();\n}\n", []string{"b", "a"}},
		"a function that is passed on":        {"static void d(void)\n{\n\tsort(a);\n}\n", []string{"b", "a"}},
		"static functions are the file's own": {"static int a(void)\n{\n}\nint d(void)\n{\n\te(a);\n}\n", []string{"b"}},
		"a comment and a string call nothing": {"/* a() */\nint d(void)\n{\n\te(\"a()\"); // a()\n}\n", []string{"b"}},
		"a declaration defines nothing":       {"extern int c(void);\n", []string{"b"}},
		"a definition does":                   {"int c(void) {\n}\n", []string{"b", "c"}},
	} {
		graph := calls(map[string]string{"a.c": a, "b.c": b + tt.more})
		if got := append(graph["a.c"]["b.c"], graph["b.c"]["a.c"]...); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestOrderOfC: the C files of cssl call as the list in its doc.go says: only what stands in a line below. So there is no circle.
func TestOrderOfC(t *testing.T) {
	doc := tlstest.Value(os.ReadFile("../../cssl/doc.go"))(t)
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
	files := map[string]string{}
	for _, path := range tlstest.Value(filepath.Glob("../../cssl/*.c"))(t) {
		files[filepath.Base(path)] = string(tlstest.Value(os.ReadFile(path))(t))
	}
	for name := range line {
		if _, ok := files[name]; !ok {
			t.Errorf("%s is not there any more", name)
		}
	}
	graph := calls(files)
	if !slices.Contains(graph["conn.c"]["transport.c"], "cssl_transport_flush") {
		t.Errorf("conn.c calls %v, so this proves nothing", graph["conn.c"])
	}
	for name, of := range graph {
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
