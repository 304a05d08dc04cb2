// Package testtoken makes a token for tests: an OpenSSL provider of our own that loads keys by "token:NAME", asks for a PIN, never
// gives a private key away, and is as slow or as gone as a test wants it. It also finds the real ones, SoftHSM's and the FIPS
// provider, where they are installed.
package testtoken

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

//go:embed provider
var source embed.FS

// Provider is the provider's name.
const Provider = "testtoken"

// Token is a token that belongs to one test. Its methods may be called at any time; they count from the next thing that the
// token is asked to do.
type Token struct {
	// Dir is where the provider's module is: the provider path. The keys are there too.
	Dir string
}

// Build compiles the provider with gcc, or $CC, and puts keys, PEM by name (EC or RSA), into the token. The test is skipped
// where there is no compiler. The module stays in the process, but has an effect only in the library contexts that load it.
func Build(t testing.TB, keys map[string][]byte) *Token {
	t.Helper()
	cc := "gcc"
	if c := os.Getenv("CC"); c != "" {
		cc = c
	}
	if _, err := exec.LookPath(cc); err != nil {
		t.Skipf("no C compiler for the test token: %v", err)
	}
	k := &Token{Dir: t.TempDir()}
	from := t.TempDir()
	tlstest.Must(t, os.CopyFS(from, source))
	files := tlstest.Value(filepath.Glob(filepath.Join(from, "provider", "*.c")))(t)
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libcrypto").Output()
	if err != nil {
		t.Fatalf("pkg-config libcrypto: %v", err)
	}
	args := append([]string{"-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-DTOKEN_DIR=" + strconv.Quote(k.Dir),
		"-o", filepath.Join(k.Dir, Provider+".so")}, append(files, strings.Fields(string(flags))...)...)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cc, err, out)
	}
	for name, pem := range keys {
		tlstest.Must(t, os.WriteFile(filepath.Join(k.Dir, name+".pem"), pem, 0o600))
	}
	return k
}

// PIN makes the token ask for it; none is asked for before.
func (k *Token) PIN(t testing.TB, pin string) { t.Helper(); k.put(t, "pin", pin) }

// Certificates puts certificates in PEM, in any order, beside a key.
func (k *Token) Certificates(t testing.TB, key string, pem []byte) {
	t.Helper()
	k.put(t, key+".crt", string(pem))
}

// Delay is what each signature takes, in whole milliseconds.
func (k *Token) Delay(t testing.TB, d time.Duration) {
	t.Helper()
	k.put(t, "delay", strconv.FormatInt(d.Milliseconds(), 10))
}

// Gone takes the token away, or brings it back. While it is away no key can be loaded and each signature fails.
func (k *Token) Gone(t testing.TB, gone bool) {
	t.Helper()
	if gone {
		k.put(t, "gone", "")
		return
	}
	if err := os.Remove(filepath.Join(k.Dir, "gone")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// Signatures is how many the token has made.
func (k *Token) Signatures(t testing.TB) int {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(k.Dir, "signatures"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(p)
}

// put replaces a file in one step, since the token may read it just now.
func (k *Token) put(t testing.TB, name, content string) {
	t.Helper()
	file := filepath.Join(k.Dir, name)
	tlstest.Must(t, os.WriteFile(file+".new", []byte(content), 0o600))
	tlstest.Must(t, os.Rename(file+".new", file))
}
