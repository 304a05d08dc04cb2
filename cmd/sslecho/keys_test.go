package main

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// tokenPIN is long enough to be found in an output, if it were there.
const tokenPIN = "735192846"

// tokenFlags are the flags for a token with the keys "ec" and "rsa", and for its PIN.
func tokenFlags(t *testing.T) (tok *testtoken.Token, library []string, pinFile string) {
	t.Helper()
	tok = testtoken.Build(t, map[string][]byte{"ec": testcerts.Read(t, "ecdsa.key"), "rsa": testcerts.Read(t, "rsa.key")})
	tok.PIN(t, tokenPIN)
	return tok, []string{"--providers", "default," + testtoken.Provider, "--provider-path", tok.Dir}, writeFile(t, "pin", tokenPIN+"\n")
}

// TestTokenKeys: keys of a token serve, for server names too; without the token handshakes fail and say why, a reload that finds no token
// changes nothing, and when it is back all is as before. The PIN is in no output.
func TestTokenKeys(t *testing.T) {
	tok, library, pinFile := tokenFlags(t)
	d := runDaemon(t, append(library, "--cert", testcerts.Path("ecdsa.pem"), "--key", "token:ec", "--pin-file", pinFile,
		"--sni", "*.example="+testcerts.Path("rsa.pem")+",token:rsa", "--log-level=debug", "--trace")...)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, name := range []string{"localhost", "www.example"} {
			before := tok.Signatures(t)
			served(t, d.addr(), &tls.Config{ServerName: name, MaxVersion: v})
			tlstest.Equal(t, "signatures for "+name, tok.Signatures(t)-before, 1)
		}
	}
	tok.Gone(t, true)
	unserved(t, d.addr(), &tls.Config{}, "a handshake without the token")
	d.err.expect(t, "the token is gone")
	d.signal(syscall.SIGHUP)
	d.err.expect(t, "no such private key")
	tok.Gone(t, false)
	served(t, d.addr(), &tls.Config{})
	d.signal(syscall.SIGHUP)
	d.err.expect(t, "reloaded")
	served(t, d.addr(), &tls.Config{})
	d.stop()
	if out := d.text() + d.err.String(); strings.Contains(out, tokenPIN) {
		t.Error("the PIN is in the output")
	}
}

// TestTokenFailures: each thing that can be wrong with a key in a token, or with providers, is said at the start in one line, by its flag.
func TestTokenFailures(t *testing.T) {
	_, library, pinFile := tokenFlags(t)
	key := append(library, "--cert", testcerts.Path("ecdsa.pem"), "--key")
	open := writeFile(t, "pin", tokenPIN)
	tlstest.Must(t, os.Chmod(open, 0o604))
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"wrong PIN", append(key, "token:ec", "--pin-file", writeFile(t, "pin", "999"+tokenPIN)), []string{"--key", `"token:ec"`, "PIN is wrong"}},
		{"no PIN", append(key, "token:ec"), []string{"--pin-file", "token:ec"}},
		{"PIN for everybody", append(key, "token:ec", "--pin-file", open), []string{"--pin-file", open, "chmod o= pin"}},
		{"key for a PIN", append(key, "token:ec", "--pin-file", writeFile(t, "pin", string(testcerts.Read(t, "rsa.key")))), []string{"--pin-file", "want a PIN on one line; found PRIVATE KEY in PEM"}},
		{"no PIN file", append(key, "token:ec", "--pin-file", "/nonexistent"), []string{"--pin-file", "/nonexistent"}},
		{"no such key", append(key, "token:other", "--pin-file", pinFile), []string{"--key", "token:other", "no such private key"}},
		{"other key", append(key, "token:rsa", "--pin-file", pinFile), []string{"--cert", "mismatch"}},
		{"for a name", append(library, "--pin-file", pinFile, "--sni", "a.example="+testcerts.Path("rsa.pem")+",token:other"), []string{"--sni a.example", "token:other"}},
		{"no provider", []string{"--cert", testcerts.Path("ecdsa.pem"), "--key", "token:ec?pin-source=/a/b"}, []string{"--key", "no provider reads token:"}},
		{"missing provider", []string{"--providers=default,nosuch", "--provider-path", dir}, []string{"--providers", "nosuch", dir}},
		{"missing directory", []string{"--provider-path", "/nonexistent"}, []string{"--provider-path", "/nonexistent"}},
		{"missing configuration", []string{"--openssl-config", "/nonexistent"}, []string{"--openssl-config", "/nonexistent"}},
		{"properties", []string{"--properties", "provider=nosuch"}, []string{"--properties", "provider=nosuch"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkFailure(t, exec.Command(binary, append([]string{"--listen=127.0.0.1:0"}, tt.args...)...), 1, tt.want)
			_, stdout, stderr := refused(t, append([]string{"--check"}, tt.args...)...)
			if out := stdout + stderr; strings.Contains(out, tokenPIN) || strings.Contains(out, "/a/b") {
				t.Errorf("it shows the PIN or its place: %s", out)
			}
		})
	}
	for _, args := range [][]string{
		append(key, "token:ec;pin-value="+tokenPIN),
		{"--sni", "a.example=a.pem,pkcs11:object=a?Pin%2DValue=" + tokenPIN},
		append(key, testcerts.Path("ecdsa.key"), "--pin-file", pinFile),
		{"--providers", "/usr/lib/fips.so"},
	} {
		status, stdout, stderr := refused(t, args...)
		if status != 2 || strings.Contains(stdout+stderr, tokenPIN) || !strings.Contains(stderr, "--key-passphrase-file") &&
			!strings.Contains(stderr, "use --pin-file") && !strings.Contains(stderr, "--provider-path") {
			t.Errorf("%s: status %d, %s", strings.ReplaceAll(strings.Join(args, " "), tokenPIN, "…"), status, stderr)
		}
	}
}

// TestTokenChain: a token's certificates serve with its key, in order; what is wrong with them is said by the flag.
func TestTokenChain(t *testing.T) {
	tok, library, pinFile := tokenFlags(t)
	tok.Certificates(t, "ec", append(testcerts.Read(t, "intermediate.pem"), testcerts.Read(t, "ecdsa.pem")...))
	flags := append(library, "--pin-file", pinFile, "--cert")
	d := runDaemon(t, append(flags, "token:ec")...)
	chain := served(t, d.addr(), &tls.Config{}).PeerCertificates
	if len(chain) != 2 || string(chain[0].Raw) != leaf(t, "ecdsa") || chain[0].CheckSignatureFrom(chain[1]) != nil {
		t.Errorf("a chain of %d, out of order", len(chain))
	}
	tlstest.Equal(t, "signatures", tok.Signatures(t), 1)
	checkFailure(t, exec.Command(binary, append(flags, "token:rsa?pin-source=/a/b")...), 1, []string{"--cert", `"token:rsa"`, "no such certificate"})
	status, stdout, stderr := refused(t, append(flags, "token:ec?pin-value="+tokenPIN)...)
	if status != 2 || strings.Contains(stdout+stderr, tokenPIN) || !strings.Contains(stderr, "use --pin-file") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestPKCS12: a PKCS#12 file serves s_client, is followed when it changes, and keeps the one before while its passphrase is wrong.
func TestPKCS12(t *testing.T) {
	dir := t.TempDir()
	pack := func(certificate, passphrase string) string {
		made := filepath.Join(t.TempDir(), "new.p12")
		cmd := exec.Command("openssl", "pkcs12", "-export", "-in", testcerts.Path(certificate+".pem"), "-inkey", testcerts.Path(certificate+".key"),
			"-out", made, "-passout", "pass:"+passphrase)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return replaceFile(t, dir, "site.p12", string(tlstest.Value(os.ReadFile(made))(t)))
	}
	d := runDaemon(t, "--watch", "--cert", pack("ecdsa", tokenPIN), "--key-passphrase-file", writeFile(t, "pass", tokenPIN+"\n"), "--log-level=debug", "--trace")
	shown := dialogue(t, "hello\n", "hello", "openssl", "s_client", "-connect", d.addr(), "-CAfile", testcerts.Path("root.pem"), "-verify_return_error",
		"-verify_hostname", "localhost")
	if !strings.Contains(shown, "Verify return code: 0 (ok)") {
		t.Error(shown)
	}
	pack("rsa", tokenPIN)
	d.serves("localhost", "rsa")
	pack("ecdsa", "another")
	d.err.expect(t, "the passphrase may be wrong")
	d.serves("localhost", "rsa")
	pack("ecdsa", tokenPIN)
	d.signal(syscall.SIGHUP)
	d.serves("localhost", "ecdsa")
	d.stop()
	if out := d.text() + d.err.String(); strings.Contains(out, tokenPIN) {
		t.Error("the passphrase is in the output")
	}
}

// TestPKCS11Key: a key in SoftHSM serves, with nothing but settings.
func TestPKCS11Key(t *testing.T) {
	hsm := testtoken.UseSoftHSM(t, map[string]string{"ecdsa": testcerts.Path("ecdsa.key")})
	d := runDaemon(t, "--openssl-config", hsm.ConfigFile, "--cert", testcerts.Path("ecdsa.pem"), "--key", hsm.URI("ecdsa"),
		"--pin-file", writeFile(t, "pin", testtoken.SoftHSMPIN+"\n"))
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		served(t, d.addr(), &tls.Config{MaxVersion: v})
	}
	checkFailure(t, exec.Command(binary, "--openssl-config", hsm.ConfigFile, "--cert", testcerts.Path("ecdsa.pem"), "--key", hsm.URI("ecdsa"),
		"--pin-file", writeFile(t, "pin", "999")), 1, []string{"--key", "PIN is wrong"})
}

// TestSecondLibcrypto: a second libcrypto in the process is warned of, since what it asks the terminal is not ours to refuse.
func TestSecondLibcrypto(t *testing.T) {
	dir := t.TempDir()
	source, object := writeFile(t, "source.c", "int nothing;\n"), filepath.Join(dir, "libcrypto.so.0")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", object, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, preload := range []string{"", object} {
		cmd := exec.Command(binary, "--check", "--cert", testcerts.Path("ecdsa.pem"), "--key", testcerts.Path("ecdsa.key"))
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+preload, "ASAN_OPTIONS=verify_asan_link_order=0")
		out, err := cmd.CombinedOutput()
		if want := preload != ""; err != nil || strings.Contains(string(out), "warning: 2 libcrypto libraries are loaded") != want {
			t.Errorf("LD_PRELOAD=%s: %v\n%s", preload, err, out)
		}
	}
}

// TestFIPS: with the FIPS provider nothing but settings is needed, and what is not approved is refused at the start.
func TestFIPS(t *testing.T) {
	fips := []string{"--openssl-config", testtoken.FIPSConfig(t), "--properties", "fips=yes"}
	d := runDaemon(t, append(fips, pair("ecdsa")...)...)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := served(t, d.addr(), &tls.Config{MaxVersion: v})
		if name := tls.CipherSuiteName(s.CipherSuite); strings.Contains(name, "CHACHA20") {
			t.Error(name)
		}
	}
	unserved(t, d.addr(), &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, "X25519 is not approved")
	checkFailure(t, exec.Command(binary, append(fips, "--cert", testcerts.Path("ecdsa.pem"), "--key", "pkcs11:object=a")...), 1,
		[]string{"--key", "no provider reads pkcs11: URIs with the properties fips=yes", "base, fips"})
	runDaemon(t, fips...) // with a certificate that is made in memory
	for flag, value := range map[string]string{"--groups": "X25519", "--ciphersuites": "TLS_CHACHA20_POLY1305_SHA256", "--ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305"} {
		checkFailure(t, exec.Command(binary, append(fips, flag, value)...), 1, []string{flag, value})
	}
}
