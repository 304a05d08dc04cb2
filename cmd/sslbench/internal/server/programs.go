package server

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lookup finds a program. The error names it and the Debian package that brings it.
func (o Options) lookup(name, pkg string) (string, error) {
	folders := o.Path
	if folders == "" {
		folders = strings.Join([]string{os.Getenv("PATH"), "/usr/local/sbin", "/usr/sbin"}, string(filepath.ListSeparator))
	}
	for _, dir := range filepath.SplitList(folders) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s (Debian: apt-get install %s)", name, pkg)
}

// ask runs a program for what it prints. It is for versions, so it must answer soon.
func ask(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w%s", strings.Join(argv, " "), err, quoted(string(out)))
	}
	return string(out), nil
}

// quoted is a program's output at the end of an error.
func quoted(out string) string {
	out = strings.TrimSpace(out)
	if out == "" {
		return ""
	}
	return ":\n" + out
}

// firstLine is the first line that has text.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}

// after is the rest of the line on which s has the prefix, or "".
func after(s, prefix string) string {
	for line := range strings.Lines(s) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// sibling is the path of a binary next to the running one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

func (o Options) sslecho() (string, error) {
	path := o.Sslecho
	var err error
	if path == "" {
		path, err = sibling("sslecho")
	} else {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return "", fmt.Errorf("there is no binary %s (make build)", path)
	}
	return path, nil
}

func (o Options) executable() (string, error) {
	if o.Executable != "" {
		return filepath.Abs(o.Executable)
	}
	return os.Executable()
}

// sslechoVersion is what the binary says it was built from.
func sslechoVersion(o Options) (string, error) {
	path, err := o.sslecho()
	if err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	return version + ", " + info.GoVersion, nil
}

func opensslVersion(o Options) (string, error) {
	path, err := o.lookup("openssl", "openssl")
	if err != nil {
		return "", err
	}
	out, err := ask(path, "version")
	return firstLine(out), err
}
