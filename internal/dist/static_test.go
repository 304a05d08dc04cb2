package main

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestStatic: the program of make static wants no library, and serves where there is no other file.
func TestStatic(t *testing.T) {
	if !whole() || tlstest.Sanitized {
		t.Skip("it compiles for a minute: make dist-test (DIST=full) runs it")
	}
	if os.Getuid() != 0 {
		t.Skip("a root file system needs root (mounts, namespaces and chroot)")
	}
	root := t.TempDir()
	for _, dir := range []string{"proc", "bin"} {
		tlstest.Must(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	program := filepath.Join(root, "bin", "sslecho")
	mustRun(t, longLimit, inModule("make", "-s", "static", "STATICBIN="+program))
	f := tlstest.Value(elf.Open(program))(t)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %v: it is not static", p.Type)
		}
	}
	if err := inside("/", true, "true").Run(); err != nil {
		t.Skipf("this root may not make namespaces, as in most containers: %v", err)
	}
	serves(t, inside(root, true, "/bin/sslecho"))
}
