package figures

import (
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const doc = "one: old\ntwo:\ntwo-more: 2\n"

func TestReplace(t *testing.T) {
	for _, c := range []struct{ name, text, want, err string }{
		{name: "one", text: "17 $1 things", want: strings.Replace(doc, "old", "17 $1 things", 1)},
		{name: "two", text: "2", want: strings.Replace(doc, "two:", "two: 2", 1)},
		{name: "three", text: "3", err: "0 lines"},
		{name: "one", text: "a\nb", err: "more than a line"},
	} {
		got, err := replace(doc, c.name, c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s %q: %v", c.name, c.text, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s %q: %v\n%s", c.name, c.text, err, got)
		}
	}
	if _, err := replace(doc+doc, "one", "1"); err == nil || !strings.Contains(err.Error(), "2 lines") {
		t.Error(err)
	}
}

// TestRecord: figures of several writers all arrive, and none without being asked for.
func TestRecord(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, File)
	for _, dir := range []string{filepath.Dir(File), "a/b"} {
		tlstest.Must(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	tlstest.Must(t, os.WriteFile(path, []byte(doc), 0o600))
	t.Chdir(filepath.Join(root, "a/b"))

	t.Setenv("FIGURES", "")
	Record(t, "one", "%d", 1)
	if b, _ := os.ReadFile(path); string(b) != doc {
		t.Errorf("written unasked:\n%s", b)
	}

	t.Setenv("FIGURES", "write")
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		wg.Go(func() {
			for i := range 50 {
				Record(t, name, "%s at %d", name, i)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(path)
	want := "one: one at 49\ntwo: two at 49\ntwo-more: 2\n"
	if err != nil || string(b) != want {
		t.Errorf("%v\n%s", err, b)
	}
}
