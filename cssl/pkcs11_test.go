package cssl

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// softHSM is SoftHSM's token with the keys of "ecdsa" and "rsa", and a Library that reads it.
func softHSM(t testing.TB) (testtoken.SoftHSM, *Library) {
	t.Helper()
	hsm := testtoken.UseSoftHSM(t, map[string]string{"ecdsa": testcerts.Path("ecdsa.key"), "rsa": testcerts.Path("rsa.key")})
	return hsm, mustLibrary(t, LibraryConfig{ConfigFile: hsm.ConfigFile})
}

// TestPKCS11: keys in SoftHSM, by the pkcs11 provider, serve in both versions and with all paddings, alone and from many goroutines at once.
func TestPKCS11(t *testing.T) {
	hsm, l := softHSM(t)
	if !slices.Contains(l.Providers(), "pkcs11") {
		t.Fatal(l.Providers())
	}
	for _, tt := range []struct {
		cert    string
		version TLSVersion
		sigalgs string
	}{
		{"ecdsa", TLS12, ""},
		{"ecdsa", TLS13, ""},
		{"rsa", TLS12, "rsa_pss_rsae_sha256"},
		{"rsa", TLS12, "RSA+SHA256"},
		{"rsa", TLS13, ""},
	} {
		t.Run(tt.cert+" "+tt.version.String()+" "+tt.sigalgs, func(t *testing.T) {
			asked := 0
			server := mustServer(t, uriConfig(tt.cert, hsm.URI(tt.cert), func(string) ([]byte, error) {
				asked++
				return []byte(testtoken.SoftHSMPIN), nil
			}, l))
			c := clientConfig()
			c.MinVersion, c.MaxVersion, c.SignatureAlgorithms = tt.version, tt.version, tt.sigalgs
			client := mustClient(t, c)
			newPair(t, client, server).handshake()
			manyHandshakes(t, client, server)
			if asked > 1 {
				t.Errorf("the PIN was asked for %d times", asked)
			}
		})
	}
}

// TestPKCS11Refused: what is wrong with a key in SoftHSM is said when the Context is built, and does not harm the token. It runs in
// a process of its own, because a process that has logged in is not asked for a PIN any more.
func TestPKCS11Refused(t *testing.T) {
	const child = "GO_OPENSSL_NOT_LOGGED_IN"
	if os.Getenv(child) == "" {
		softHSM(t) // or skip
		cmd := exec.Command(os.Args[0], "-test.run=^TestPKCS11Refused$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		tlstest.Must(t, err)
		// A provider that brings a libcrypto along asks the terminal, and that is said.
		if asked, said := strings.Contains(string(out), "Enter PIN"), strings.Contains(string(out), "libcrypto libraries are loaded"); asked && !said {
			t.Errorf("it asked the terminal")
		}
		return
	}
	hsm, l := softHSM(t)
	for _, tt := range []struct {
		name, uri string
		ask       func(string) ([]byte, error)
		says      string
	}{
		{"no PIN", hsm.URI("ecdsa"), nil, "PIN is not set"},
		{"wrong PIN", hsm.URI("ecdsa"), pin("4321"), "PIN is wrong"},
		{"no such token", "pkcs11:token=nosuch;object=ecdsa", pin(testtoken.SoftHSMPIN), "no such private key"},
		{"no such key", hsm.URI("nosuch"), pin(testtoken.SoftHSMPIN), "no such private key"},
		{"more than one", "pkcs11:token=" + testtoken.SoftHSMToken, pin(testtoken.SoftHSMPIN), "names 2 private keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewServerContext(uriConfig("ecdsa", tt.uri, tt.ask, l))
			var e *ConfigError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "4321") {
				t.Errorf("%v", err)
			}
			t.Log(err)
		})
	}
	newPair(t, mustClient(t, clientConfig()), mustServer(t, uriConfig("ecdsa", hsm.URI("ecdsa"), pin(testtoken.SoftHSMPIN), l))).handshake()
	t.Log(l.Warning())
}
