package testtoken

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// modules is the directory of OpenSSL's modules.
func modules(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("openssl", "version", "-m").Output()
	_, dir, ok := strings.Cut(strings.TrimSpace(string(out)), ": ")
	if err != nil || !ok {
		t.Fatalf("openssl version -m: %q, %v", out, err)
	}
	return strings.Trim(dir, `"`)
}

// FIPSConfig is an openssl.cnf that activates the fips and base providers alone. The test is skipped where there is no FIPS provider.
func FIPSConfig(t testing.TB) string {
	t.Helper()
	module := filepath.Join(modules(t), "fips.so")
	if _, err := os.Stat(module); err != nil {
		t.Skipf("no FIPS provider: %v", err)
	}
	dir := t.TempDir()
	installed, config := filepath.Join(dir, "fipsmodule.cnf"), filepath.Join(dir, "openssl.cnf")
	if out, err := exec.Command("openssl", "fipsinstall", "-module", module, "-out", installed).CombinedOutput(); err != nil {
		t.Fatalf("openssl fipsinstall: %v\n%s", err, out)
	}
	tlstest.Must(t, os.WriteFile(config, fmt.Appendf(nil, `openssl_conf = init
.include %s
[init]
providers = providers
[providers]
fips = fips_sect
base = base_section
[base_section]
activate = 1
`, installed), 0o600))
	return config
}
