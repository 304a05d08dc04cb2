package testtoken

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// SoftHSM is a token of SoftHSM behind the pkcs11 provider. It is one for the process, since SoftHSM's module reads
// its settings once. RemoveSoftHSM ends it.
type SoftHSM struct {
	// ConfigFile is an openssl.cnf that activates the default provider and pkcs11.
	ConfigFile string
	// Tokens is the directory in which the token's objects are.
	Tokens string
}

// SoftHSM's token and its user's PIN.
const (
	SoftHSMToken = "go-openssl"
	SoftHSMPIN   = "123456"
)

var softHSM struct {
	sync.Mutex
	dir string
	SoftHSM
}

// UseSoftHSM makes the token and puts keys into it, files of PEM (PKCS#8) by label; keys that are there already stay. The test is skipped
// where SoftHSM or the pkcs11 provider is missing, and under the address sanitizer.
func UseSoftHSM(t testing.TB, keys map[string]string) SoftHSM {
	t.Helper()
	if sanitized {
		t.Skip("the pkcs11 provider loads its module with RTLD_DEEPBIND, which the address sanitizer refuses")
	}
	softHSM.Lock()
	defer softHSM.Unlock()
	module := filepath.Join(modules(t), "pkcs11.so")
	if _, err := os.Stat(module); err != nil {
		t.Skipf("no pkcs11 provider: %v", err)
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		t.Skip(err)
	}
	libs, _ := filepath.Glob("/usr/lib*/softhsm/libsofthsm2.so")
	if len(libs) == 0 {
		t.Skip("no libsofthsm2.so")
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("softhsm2-util", args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %s: %v\n%s", args[0], err, out)
		}
	}
	if softHSM.dir == "" {
		dir := tlstest.Value(os.MkdirTemp("", "softhsm"))(t)
		softHSM.dir, softHSM.Tokens, softHSM.ConfigFile = dir, filepath.Join(dir, "tokens"), filepath.Join(dir, "openssl.cnf")
		tlstest.Must(t, os.Mkdir(softHSM.Tokens, 0o700))
		conf := filepath.Join(dir, "softhsm2.conf")
		tlstest.Must(t, os.WriteFile(conf, []byte("directories.tokendir = "+softHSM.Tokens+"\nlog.level = ERROR\n"), 0o600))
		tlstest.Must(t, os.Setenv("SOFTHSM2_CONF", conf)) // for the module too
		run("--init-token", "--free", "--label", SoftHSMToken, "--pin", SoftHSMPIN, "--so-pin", "87654321")
		tlstest.Must(t, os.WriteFile(softHSM.ConfigFile, fmt.Appendf(nil, `openssl_conf = init
[init]
providers = providers
[providers]
default = default_section
pkcs11 = pkcs11_section
[default_section]
activate = 1
[pkcs11_section]
module = %s
pkcs11-module-path = %s
activate = 1
`, module, libs[0]), 0o600))
	}
	for label, file := range keys {
		out, err := exec.Command("softhsm2-util", "--import", file, "--token", SoftHSMToken, "--label", label,
			"--id", fmt.Sprintf("%x", label), "--pin", SoftHSMPIN).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "already") {
			t.Fatalf("softhsm2-util --import: %v\n%s", err, out)
		}
	}
	return softHSM.SoftHSM
}

// URI names the key with a label.
func (SoftHSM) URI(label string) string {
	return "pkcs11:token=" + SoftHSMToken + ";object=" + label + ";type=private"
}

// RemoveSoftHSM removes the token, if there is one, when the process is done.
func RemoveSoftHSM() error {
	softHSM.Lock()
	defer softHSM.Unlock()
	if softHSM.dir == "" {
		return nil
	}
	return os.RemoveAll(softHSM.dir)
}

// Certificates puts certificates in DER into the token, all with one label. The test is skipped where pkcs11-tool is missing.
func (h SoftHSM) Certificates(t testing.TB, label string, certificates ...[]byte) {
	t.Helper()
	if _, err := exec.LookPath("pkcs11-tool"); err != nil {
		t.Skip(err)
	}
	module := tlstest.Value(filepath.Glob("/usr/lib*/softhsm/libsofthsm2.so"))(t)[0]
	for i, der := range certificates {
		file := filepath.Join(t.TempDir(), "cert.der")
		tlstest.Must(t, os.WriteFile(file, der, 0o600))
		out, err := exec.Command("pkcs11-tool", "--module", module, "--token-label", SoftHSMToken, "--login", "--pin", SoftHSMPIN,
			"--write-object", file, "--type", "cert", "--label", label, "--id", fmt.Sprintf("c%d", i)).CombinedOutput()
		if err != nil {
			t.Fatalf("pkcs11-tool --write-object: %v\n%s", err, out)
		}
	}
}
