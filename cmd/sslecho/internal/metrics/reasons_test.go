package metrics

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/guard"
)

// literals are the texts in the declarations of reactor's statistics that have one of these names.
func literals(t *testing.T, names ...string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../../../reactor/stats.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		switch d := n.(type) {
		case *ast.FuncDecl:
			if slices.Contains(names, d.Name.Name) {
				found = append(found, d)
			}
		case *ast.ValueSpec:
			if slices.Contains(names, d.Names[0].Name) {
				found = append(found, d)
			}
		}
		return true
	})
	if len(found) != len(names) {
		t.Fatalf("%d declarations of %v", len(found), names)
	}
	var texts []string
	for _, d := range found {
		ast.Inspect(d, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				s, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, s)
			}
			return true
		})
	}
	return texts
}

// TestKnown: what is shown as 0 until it occurs is what the reactor and the guard can name, all of it and in their words.
func TestKnown(t *testing.T) {
	for _, x := range []struct {
		what       string
		known, can []string
	}{
		{"outcomes", outcomes, literals(t, "outcomeOf")},
		{"refusals", refusals, append(literals(t, "refusedFull", "refusedFiles"),
			guard.ErrMaxConns.Error(), guard.ErrMaxConnsPerAddr.Error(), guard.ErrRate.Error())},
	} {
		known, can := slices.Sorted(slices.Values(x.known)), slices.Compact(slices.Sorted(slices.Values(x.can)))
		if !slices.Equal(known, can) {
			t.Errorf("%s are %q, want %q", x.what, known, can)
		}
	}
}
