// Dist makes what sslecho is given away as: a Debian package, a tarball, a list of the components in the program (an SBOM, in
// CycloneDX's JSON), and the checksums of all of them. `make dist` runs it, in the module's root; docs/operate/sslecho.md is about
// what it makes.
//
//	go build ─► sslecho ─┬─ its own pages and completions ─┬─► nfpm    ─► sslecho_V_A.deb
//	                     ├─ licences of its modules        └─► tar, gz ─► sslecho-V-linux-A.tar.gz
//	                     └─ cyclonedx-gomod, + OpenSSL and libc        ─► sslecho-V-linux-A.cdx.json
//
// The same commit gives the same bytes on the same system: no file carries a time but that of the commit (or
// SOURCE_DATE_EPOCH), an owner other than root, or a path of this machine.
//
// The test of this package installs the result in a fresh root file system.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maintainer is whom the package names, unless MAINTAINER is set.
const maintainer = "The authors of go-openssl <spacemonad@users.noreply.github.com>"

func main() {
	out := flag.String("out", filepath.Join("bin", "dist"), "folder for the results; older ones in it are removed")
	flag.Parse()
	files, err := makeDist(*out)
	if err != nil {
		fmt.Fprintf(os.Stderr, "dist: %v\n", err)
		os.Exit(1)
	}
	for _, f := range files {
		fmt.Println(f)
	}
}

// failure is what check panics with, for makeDist to return.
type failure struct{ error }

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func value[T any](v T, err error) T {
	check(err)
	return v
}

// told is what sslecho version says.
type told struct {
	Version, Commit, Date string
	OpenSSL               struct{ Run string }
}

// dist is one run. Its methods panic with a failure.
type dist struct {
	told  told      // by the program
	epoch time.Time // what all files are from
	arch  string    // Go's name
	stage string    // a folder for what is built, removed at the end
	out   string
}

// makeDist makes everything in the folder out and answers the paths of the files.
func makeDist(out string) (files []string, err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = f.error
		default:
			panic(f)
		}
	}()
	d := &dist{out: out, arch: output("go", "env", "GOARCH"), stage: value(os.MkdirTemp("", "dist"))}
	defer os.RemoveAll(d.stage)
	check(os.MkdirAll(out, 0o755))
	for _, pattern := range []string{"sslecho_*.deb", "sslecho-*.tar.gz", "sslecho-*.cdx.json", "SHA256SUMS"} {
		for _, old := range value(filepath.Glob(filepath.Join(out, pattern))) {
			check(os.Remove(old))
		}
	}
	d.build()
	d.epoch = value(epoch(os.Getenv("SOURCE_DATE_EPOCH"), d.told.Date))
	d.pages()
	files = []string{d.deb(), d.tarball(), d.sbom()}
	return append(files, d.checksums(files)), nil
}

// epoch is the time that files get: SOURCE_DATE_EPOCH, else the commit's, else now.
func epoch(variable, date string) (time.Time, error) {
	if variable != "" {
		n, err := strconv.ParseInt(variable, 10, 64)
		if err != nil || n < 0 {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s: it must be a number of seconds since 1970", variable)
		}
		return time.Unix(n, 0).UTC(), nil
	}
	if date == "unknown" {
		return time.Now().UTC(), nil
	}
	return time.Parse(time.RFC3339, date)
}

// name is that of a result, other than the package's, which Debian's rules make.
func (d *dist) name() string { return "sslecho-" + d.told.Version + "-linux-" + d.arch }

// staged is the path of a file that is built.
func (d *dist) staged(name string) string { return filepath.Join(d.stage, name) }

// build compiles the program, as an executable that can be loaded anywhere and whose tables of functions are read-only, and asks it
// for its version.
func (d *dist) build() {
	program := d.staged("sslecho")
	output("go", "build", "-trimpath", "-buildvcs=true", "-buildmode=pie",
		"-ldflags=-s -w -linkmode=external -extldflags '-Wl,-z,relro,-z,now'", "-o", program, "./cmd/sslecho")
	check(json.Unmarshal([]byte(output(program, "version", "--json")), &d.told))
}

// deb makes the Debian package.
func (d *dist) deb() string {
	needs := value(needsOf(d.staged("sslecho")))
	values := map[string]string{
		"ARCH": d.arch, "VERSION": debianVersion(d.told.Version), "STAGE": d.stage, "MAINTAINER": d.maintainer(),
		"LIBC": needs.libc, "LIBSSL": needs.debian(needs.openssl(output("pkg-config", "--modversion", "openssl"))),
	}
	template := value(os.ReadFile(filepath.Join("packaging", "deb", "nfpm.yaml")))
	config := d.staged("nfpm.yaml")
	check(os.WriteFile(config, []byte(os.Expand(string(template), func(name string) string { return values[name] })), 0o600))
	cmd := tool("nfpm", "package", "--packager", "deb", "--config", config, "--target", d.out)
	cmd.Env = append(cmd.Env, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", d.epoch.Unix()))
	run(cmd)
	found := value(filepath.Glob(filepath.Join(d.out, "sslecho_*.deb")))
	if len(found) != 1 {
		check(fmt.Errorf("nfpm made %q, want one package", found))
	}
	return found[0]
}

func (d *dist) maintainer() string { return cmp.Or(os.Getenv("MAINTAINER"), maintainer) }

// debianVersion is a version of ours in Debian's form, where ~ sorts a candidate before its release, and - would begin the
// number of a repackaging.
func debianVersion(v string) string {
	if v == "unknown" { // it must begin with a digit
		return "0~unknown"
	}
	core, build, found := strings.Cut(v, "+")
	core = strings.ReplaceAll(strings.Replace(core, "-", "~", 1), "-", ".")
	if found {
		core += "+" + strings.ReplaceAll(build, "-", ".")
	}
	return core
}

// checksums writes SHA256SUMS, for sha256sum -c.
func (d *dist) checksums(files []string) string {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(value(os.ReadFile(f))), filepath.Base(f))
	}
	return d.result("SHA256SUMS", b.Bytes())
}

// result writes one of the results and answers its path.
func (d *dist) result(name string, content []byte) string {
	path := filepath.Join(d.out, name)
	check(os.WriteFile(path, content, 0o644))
	return path
}

// tool is a command of the module tools/go.mod, which is no part of the workspace.
func tool(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", append([]string{"tool", "-modfile=tools/go.mod", name}, args...)...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	return cmd
}

// output runs a program and answers what it prints on standard output, without the last newline.
func output(name string, args ...string) string { return run(exec.Command(name, args...)) }

func run(cmd *exec.Cmd) string {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		check(fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String()))
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}
