package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// cflags are what a distribution would build with, less its hardening.
var cflags = []string{"-std=c11", "-D_GNU_SOURCE", "-O2"}

var errNoSources = errors.New("its C sources are missing (cmd/sslbench/reference)")

// compiler is $CC, cc or gcc; $CC may have arguments.
func (o Options) compiler() ([]string, error) {
	if cc := strings.Fields(os.Getenv("CC")); len(cc) > 0 {
		if filepath.IsAbs(cc[0]) {
			return cc, nil
		}
		path, err := o.lookup(cc[0], "gcc")
		if err != nil {
			return nil, fmt.Errorf("CC is set, but %w", err)
		}
		cc[0] = path
		return cc, nil
	}
	path, err := o.lookup("cc", "gcc")
	if err != nil {
		path, err = o.lookup("gcc", "gcc")
	}
	if err != nil {
		return nil, err
	}
	return []string{path}, nil
}

// pkgConfig asks about libssl.
func (o Options) pkgConfig(flags ...string) (string, error) {
	path, err := o.lookup("pkg-config", "pkg-config")
	if err != nil {
		return "", err
	}
	out, err := ask(slices.Concat([]string{path}, flags, []string{"openssl"})...)
	if err != nil {
		return "", fmt.Errorf("%w\nthe headers of OpenSSL are missing (Debian: apt-get install libssl-dev)", err)
	}
	return strings.TrimSpace(out), nil
}

func cTCPVersion(o Options) (string, error) {
	if o.Sources == nil {
		return "", errNoSources
	}
	cc, err := o.compiler()
	if err != nil {
		return "", err
	}
	out, err := ask(append(cc, "--version")...)
	return firstLine(out), err
}

func cTLSVersion(o Options) (string, error) {
	cc, err := cTCPVersion(o)
	if err != nil {
		return "", err
	}
	ssl, err := o.pkgConfig("--modversion")
	if err != nil {
		return "", err
	}
	return "OpenSSL " + ssl + ", " + cc, nil
}

// building keeps two from compiling the same server at once.
var building sync.Mutex

// build compiles a reference server, unless the folder has it already, and answers its path.
func (s setup) build(name string, tls bool) (string, error) {
	if s.Sources == nil {
		return "", errNoSources
	}
	code, err := fs.ReadFile(s.Sources, name+".c")
	if err != nil {
		return "", err
	}
	dir := s.dir
	if s.Build != "" {
		if dir, err = filepath.Abs(s.Build); err != nil {
			return "", err
		}
	}
	building.Lock()
	defer building.Unlock()
	bin, source := filepath.Join(dir, name), filepath.Join(dir, name+".c")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if err := os.WriteFile(source, code, 0o644); err != nil {
		return "", err
	}
	argv, err := s.compiler()
	if err != nil {
		return "", err
	}
	// bin appears under its name only when all of it is there.
	argv = append(argv, cflags...)
	argv = append(argv, "-o", bin+".new", source)
	if tls {
		flags, err := s.pkgConfig("--cflags", "--libs")
		if err != nil {
			return "", err
		}
		argv = append(argv, strings.Fields(flags)...)
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w%s", strings.Join(argv, " "), err, quoted(string(out)))
	}
	return bin, os.Rename(bin+".new", bin)
}
