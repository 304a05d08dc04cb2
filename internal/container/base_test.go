package container

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// tools are the programs, other than bash, that certs.sh runs.
var tools = []string{"mktemp", "rm", "mv", "chmod", "openssl"}

// base is the tar of a root file system that holds nothing but the programs of this machine that the image, the health
// check and certs.sh run, their libraries, OpenSSL's settings and the CAs.
func base(t *testing.T, programs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	done := map[string]bool{"/": true, ".": true}
	var folder func(name string, mode int64)
	folder = func(name string, mode int64) {
		if done[name] {
			return
		}
		done[name] = true
		folder(path.Dir(name), 0o755)
		tlstest.Must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: mode}))
	}
	write := func(name string, mode int64, content []byte) {
		if done[name] {
			return
		}
		done[name] = true
		folder(path.Dir(name), 0o755)
		tlstest.Must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: mode, Size: int64(len(content))}))
		tlstest.Value(w.Write(content))(t)
	}
	copied := func(from, to string, mode int64) {
		content := tlstest.Value(os.ReadFile(from))(t)
		write(to, mode, content)
	}
	tool := func(name string) string { return tlstest.Value(exec.LookPath(name))(t) }
	for _, name := range tools {
		programs = append(programs, tool(name))
		copied(tool(name), "/usr/bin/"+name, 0o755)
	}
	bash := tool("bash")
	programs = append(programs, bash)
	copied(bash, "/bin/bash", 0o755)
	copied(bash, "/bin/sh", 0o755)
	library := regexp.MustCompile(`(?m)(/\S+) \(0x`)
	for _, p := range programs {
		for _, m := range library.FindAllStringSubmatch(must(t, "ldd", p), -1) {
			copied(m[1], m[1], 0o755)
		}
	}
	write("/etc/passwd", 0o644, []byte("root:x:0:0:root:/:/bin/sh\n"))
	write("/etc/group", 0o644, []byte("root:x:0:\n"))
	// The folder is not the same everywhere.
	if dir := regexp.MustCompile(`OPENSSLDIR: "(.*)"`).FindStringSubmatch(must(t, "openssl", "version", "-d")); dir != nil {
		for _, name := range []string{"openssl.cnf", "certs/ca-certificates.crt"} {
			if content, err := os.ReadFile(path.Join(dir[1], name)); err == nil {
				write(path.Join(dir[1], name), 0o644, content)
			}
		}
	}
	folder("/tmp", 0o1777)
	for _, name := range strings.Fields("/proc /sys /dev /certs") {
		folder(name, 0o755)
	}
	tlstest.Must(t, w.Close())
	return b.Bytes()
}
