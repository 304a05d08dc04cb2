// Package modules holds the test of what others get when they import this
// module or install its commands. They get it from a proxy, where there is no
// workspace.
package modules

import (
	"archive/zip"
	"bytes"
	"fmt"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/spacemonad/go-openssl"
)

// version is the one that the nested modules require of the root.
func version(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(module + ` (v\S+)`).FindStringSubmatch(read(t, "cmd/sslecho/go.mod"))
	if m == nil {
		t.Fatal("cmd/sslecho/go.mod does not require " + module)
	}
	return m[1]
}

func read(t *testing.T, name string) string {
	t.Helper()
	return string(tlstest.Value(os.ReadFile(filepath.Join(root, name)))(t))
}

// run runs the go command in a folder.
func run(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// outside is the environment of a program elsewhere. Its proxy has the modules
// of this tree, each in its next version, and the module cache is a proxy for
// what the packages given need: they are loaded here first.
func outside(t *testing.T, packages ...string) []string {
	t.Helper()
	proxy := t.TempDir()
	for dir := range strings.Lines(run(t, root, nil, "list", "-m", "-f", "{{.Dir}}")) {
		publish(t, proxy, strings.TrimSpace(dir), version(t))
	}
	run(t, root, nil, append([]string{"list", "-deps"}, packages...)...)
	return []string{"GOWORK=off", "GOFLAGS=-modcacherw", "GOMODCACHE=" + t.TempDir(), "GOSUMDB=off", "GONOPROXY=none",
		"GOPROXY=file://" + proxy + ",file://" + run(t, root, nil, "env", "GOMODCACHE") + "/cache/download"}
}

// publish puts the module in dir into a proxy: go.dev/ref/mod#goproxy-protocol.
func publish(t *testing.T, proxy, dir, version string) {
	t.Helper()
	mod := tlstest.Value(os.ReadFile(filepath.Join(dir, "go.mod")))(t)
	name := strings.Fields(string(mod))[1]
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	files := os.DirFS(dir)
	tlstest.Must(t, fs.WalkDir(files, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := fs.Stat(files, path.Join(file, "go.mod"))
			if file != "." && (nested == nil || d.Name() == ".git" || d.Name() == "bin") {
				return fs.SkipDir
			}
		} else if d.Type().IsRegular() {
			f := tlstest.Value(w.Create(path.Join(name+"@"+version, file)))(t)
			tlstest.Value(f.Write(tlstest.Value(fs.ReadFile(files, file))(t)))(t)
		}
		return nil
	}))
	tlstest.Must(t, w.Close())
	to := filepath.Join(proxy, name, "@v")
	tlstest.Must(t, os.MkdirAll(to, 0o755))
	for file, text := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": fmt.Appendf(nil, `{"Version":%q}`, version),
		version + ".mod": mod, version + ".zip": packed.Bytes(),
	} {
		tlstest.Must(t, os.WriteFile(filepath.Join(to, file), text, 0o644))
	}
}

// TestGraph: a program that imports reactor gets two modules, this one and
// golang.org/x/sys.
func TestGraph(t *testing.T) {
	env, dir := outside(t, module+"/reactor"), t.TempDir()
	program := "package main\n\nimport _ \"" + module + "/reactor\"\n\nfunc main() {}\n"
	tlstest.Must(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o644))
	run(t, dir, env, "mod", "init", "example.test/program")
	run(t, dir, env, "get", module+"/reactor")
	want := []string{"example.test/program", module, "golang.org/x/sys"}
	if got := strings.Fields(run(t, dir, env, "list", "-m", "-f", "{{.Path}}", "all")); !slices.Equal(got, want) {
		t.Errorf("the module graph is %q, want %q", got, want)
	}
}

// TestInstall: the commands can be installed. Nothing is compiled (-n), which
// would take minutes: what go install refuses, it refuses before.
func TestInstall(t *testing.T) {
	env := outside(t, module+"/cmd/sslbench", module+"/cmd/sslecho")
	for _, command := range []string{"sslbench", "sslecho"} {
		run(t, t.TempDir(), env, "install", "-n", module+"/cmd/"+command+"@latest")
	}
}
