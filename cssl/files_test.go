package cssl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestUnencryptedKey: the word ENCRYPTED beside a key does not make it an encrypted one, nor does an encrypted one that is not
// needed (P38).
func TestUnencryptedKey(t *testing.T) {
	read := func(name string) string { return string(testcerts.Read(t, name)) }
	for name, tt := range map[string]Certificate{
		"comment":             {ChainPEM: []byte(read("ecdsa.pem")), KeyPEM: []byte("# UNENCRYPTED key of www\n" + read("ecdsa.key"))},
		"file":                {ChainPEM: []byte(read("ecdsa.pem")), KeyFile: writeFile(t, "ENCRYPTED.key", "ENCRYPTED: no\n"+read("ecdsa.key"))},
		"bag attributes":      {ChainPEM: []byte("Bag Attributes\n    friendlyName: ENCRYPTED-2026\n" + read("ecdsa.pem") + read("ecdsa.key"))},
		"another key behind":  {ChainPEM: []byte(read("ecdsa.pem") + read("ecdsa.key") + read("encrypted.key"))},
		"after the last line": {ChainPEM: []byte(read("ecdsa.pem")), KeyPEM: []byte(read("ecdsa.key") + "Proc-Type: 4,ENCRYPTED\n")},
	} {
		tt.Passphrase = func() ([]byte, error) {
			t.Errorf("%s: asked for a passphrase", name)
			return []byte("secret"), nil
		}
		for _, c := range []Certificate{tt, {ChainPEM: tt.ChainPEM, KeyFile: tt.KeyFile, KeyPEM: tt.KeyPEM}} {
			x, err := NewServerContext(Config{Certificates: []Certificate{c}})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			x.Close()
		}
	}
}

// TestTraditionalEncryptedKey: the form of PKCS#1 and SEC 1 asks for its passphrase too, once.
func TestTraditionalEncryptedKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	openssl(t, "ec", "-in", testcerts.Path("ecdsa.key"), "-aes128", "-passout", "pass:secret", "-out", file)
	c := serverConfig("ecdsa")
	c.Certificates[0].KeyFile = file
	asked := 0
	c.Certificates[0].Passphrase = func() ([]byte, error) { asked++; return []byte("secret"), nil }
	newPair(t, mustClient(t, clientConfig()), mustServer(t, c)).handshake()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestWrongFile: the error for a file that holds something else than it should says the setting, the file, what was expected
// and what is there (P51).
func TestWrongFile(t *testing.T) {
	block, _ := pem.Decode(testcerts.Read(t, "ecdsa.pem"))
	der := writeFile(t, "site.der", string(block.Bytes))
	block, _ = pem.Decode(testcerts.Read(t, "ecdsa.key"))
	derKey := writeFile(t, "key.der", string(block.Bytes))
	empty, dir := writeFile(t, "empty", ""), t.TempDir()
	text := writeFile(t, "text", "SECRET words\n")
	p12 := filepath.Join(dir, "site.p12")
	openssl(t, "pkcs12", "-export", "-in", testcerts.Path("ecdsa.pem"), "-inkey", testcerts.Path("ecdsa.key"), "-passout", "pass:secret", "-out", p12)
	chain, key, crl := testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key"), testcerts.Path("crl.pem")
	ocsp := writeFile(t, "ocsp.pem", "-----BEGIN OCSP RESPONSE-----\nMAMKAQY=\n-----END OCSP RESPONSE-----\n")
	cut := writeFile(t, "cut.pem", string(testcerts.Read(t, "ecdsa.pem")[:1000]))
	request := filepath.Join(dir, "request.pem")
	openssl(t, "req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", request)
	public := filepath.Join(dir, "public.pem")
	openssl(t, "pkey", "-in", key, "-pubout", "-out", public)

	const certs, aKey, both = "want certificates in PEM, leaf first", "want a private key in PEM", "want certificates and their private key in PEM"
	cert := func(f func(*Certificate)) func(*Config) { return func(c *Config) { f(&c.Certificates[0]) } }
	chainFile := func(file string) func(*Config) { return cert(func(c *Certificate) { c.ChainFile = file }) }
	keyFile := func(file string) func(*Config) { return cert(func(c *Certificate) { c.KeyFile = file }) }
	for _, tt := range []struct {
		name, setting, file string
		change              func(*Config)
		want, found         string
	}{
		{"DER certificate", "Certificates[0].ChainFile", der, chainFile(der), certs, "a certificate in DER"},
		{"PKCS#12", "Certificates[0].ChainFile", p12, chainFile(p12), certs, "a PKCS#12 file"},
		{"empty chain", "Certificates[0].ChainFile", empty, chainFile(empty), certs, "nothing"},
		{"key for certificate", "Certificates[0].ChainFile", key, chainFile(key), certs, "PRIVATE KEY in PEM"},
		{"request for certificate", "Certificates[0].ChainFile", request, chainFile(request), certs, "CERTIFICATE REQUEST in PEM"},
		{"cut off", "Certificates[0].ChainFile", cut, chainFile(cut), certs, "CERTIFICATE (2) in PEM; PEM routines: bad end line"},
		{"DER key", "Certificates[0].KeyFile", derKey, keyFile(derKey), aKey, "a private key in DER"},
		{"PKCS#12 key", "Certificates[0].KeyFile", p12, keyFile(p12), aKey, "a PKCS#12 file"},
		{"empty key", "Certificates[0].KeyFile", empty, keyFile(empty), aKey, "nothing"},
		{"text", "Certificates[0].KeyFile", text, keyFile(text), aKey, "text"},
		{"certificate for key", "Certificates[0].KeyFile", chain, keyFile(chain), aKey, "CERTIFICATE"},
		{"public key", "Certificates[0].KeyFile", public, keyFile(public), aKey, "PUBLIC KEY in PEM"},
		{"no key beside the chain", "Certificates[0].ChainFile", chain, keyFile(""), both, "CERTIFICATE"},
		{"directory", "Certificates[0].ChainFile", dir, chainFile(dir), certs, "is a directory"},
		{"directory for key", "Certificates[0].KeyFile", dir, keyFile(dir), aKey, "is a directory"},
		{"other key", "Certificates[0]", testcerts.Path("rsa.key"), keyFile(testcerts.Path("rsa.key")), chain, "mismatch"},
		{"key for CA", "CAFile", key, func(c *Config) { c.CAFile = key }, "want CA certificates in PEM", "PRIVATE KEY in PEM"},
		{"DER CA", "CAFile", der, func(c *Config) { c.CAFile = der }, "want CA certificates in PEM", "a certificate in DER"},
		{"empty CA", "CAFile", empty, func(c *Config) { c.CAFile = empty }, "want CA certificates in PEM", "nothing"},
		{"CA cut off", "CAFile", cut, func(c *Config) { c.CAFile = cut }, "want CA certificates in PEM", "CERTIFICATE (2) in PEM; PEM routines: bad end line"},
		{"CA directory", "CAFile", dir, func(c *Config) { c.CAFile = dir }, "want CA certificates in PEM", "is a directory"},
		{"CA for CRL", "CRLFile", chain, func(c *Config) { c.CRLFile = chain }, "want revocation lists in PEM", "CERTIFICATE"},
		{"CRL directory", "CRLFile", dir, func(c *Config) { c.CRLFile = dir }, "want revocation lists in PEM", "is a directory"},
		{"empty CRL", "CRLFile", empty, func(c *Config) { c.CRLFile = empty }, "want revocation lists in PEM", "nothing"},
		{"OCSP in PEM", "Certificates[0].OCSPFile", ocsp, cert(func(c *Certificate) { c.OCSPFile = ocsp }), "want a successful OCSP response in DER", "OCSP RESPONSE in PEM"},
		{"certificate for OCSP", "Certificates[0].OCSPFile", der, cert(func(c *Certificate) { c.OCSPFile = der }), "want a successful OCSP response in DER", "a certificate in DER"},
		{"empty OCSP", "Certificates[0].OCSPFile", empty, cert(func(c *Certificate) { c.OCSPFile = empty }), "want a successful OCSP response in DER", "nothing"},
		{"CRL by URI", "Certificates[0].KeyURI", crl, cert(func(c *Certificate) { c.KeyFile, c.KeyURI = "", "file:"+crl }), "want a private key", "X509 CRL (2) in PEM"},
		{"empty by URI", "Certificates[0].KeyURI", empty, cert(func(c *Certificate) { c.KeyFile, c.KeyURI = "", "file://"+empty }), "want a private key", "nothing"},
		{"no file by URI", "Certificates[0].KeyURI", dir + "/none", cert(func(c *Certificate) { c.KeyFile, c.KeyURI = "", "file:"+dir+"/none" }), "", "no such file"},
	} {
		c := serverConfig("ecdsa")
		tt.change(&c)
		_, err := NewServerContext(c)
		checkConfigError(t, tt.name, err, tt.setting, tt.file, tt.want, tt.found)
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: a secret is shown: %v", tt.name, err)
		}
	}
}

// TestWrongBytes: where there is no file, the setting is that of the bytes (P51).
func TestWrongBytes(t *testing.T) {
	chain, key := testcerts.Read(t, "ecdsa.pem"), testcerts.Read(t, "ecdsa.key")
	for _, tt := range []struct {
		setting string
		c       Config
		found   string
	}{
		{"Certificates[0].ChainPEM", Config{Certificates: []Certificate{{ChainPEM: key}}}, "found PRIVATE KEY in PEM"},
		{"Certificates[0].ChainPEM", Config{Certificates: []Certificate{{ChainPEM: chain}}}, "found CERTIFICATE (2) in PEM"},
		{"Certificates[0].KeyPEM", Config{Certificates: []Certificate{{ChainPEM: chain, KeyPEM: []byte(" ")}}}, "found nothing but white space"},
		{"Certificates[0].OCSP", Config{Certificates: []Certificate{{ChainPEM: chain, KeyPEM: key, OCSP: key}}}, "found PRIVATE KEY in PEM"},
		{"CAPEM", Config{Certificates: serverConfig("ecdsa").Certificates, CAPEM: key}, "found PRIVATE KEY in PEM"},
		{"CRLPEM", Config{Certificates: serverConfig("ecdsa").Certificates, CRLPEM: []byte("x")}, "found text"},
	} {
		checkRefused(t, tt.setting, true, tt.c, tt.setting, tt.found)
	}
}

// TestPassphraseRefused: a passphrase that is wrong, or too long, is told with the key's file.
func TestPassphraseRefused(t *testing.T) {
	file := testcerts.Path("encrypted.key")
	for pass, want := range map[string]string{
		"wrong":                   "cannot be decrypted: the passphrase may be wrong",
		"":                        "cannot be decrypted: the passphrase may be wrong",
		strings.Repeat("x", 5000): "has 5000 bytes; OpenSSL takes at most 1024",
	} {
		c := serverConfig("ecdsa")
		c.Certificates[0].KeyFile, c.Certificates[0].Passphrase = file, func() ([]byte, error) { return []byte(pass), nil }
		_, err := NewServerContext(c)
		if err == nil || !strings.Contains(err.Error(), want) || len(pass) < 10 && !strings.Contains(err.Error(), file) {
			t.Errorf("%.10q: %v", pass, err)
		}
	}
}

// TestNoProviderInDefaultLibrary: a system's configuration whose providers cannot be loaded leaves OpenSSL without ciphers. The error
// says so, and names the file.
func TestNoProviderInDefaultLibrary(t *testing.T) {
	const is = "CSSL_NO_PROVIDER"
	if os.Getenv(is) != "" {
		_, err := NewServerContext(serverConfig("ecdsa"))
		t.Log(err)
		var e *ConfigError
		if !errors.As(err, &e) || e.Setting != "Library" {
			t.Fail()
		}
		return
	}
	file := writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nproviders = p\n[p]\nnosuch = n\n[n]\nactivate = 1\nmodule = /none/nosuch.so\n")
	self := exec.Command(os.Args[0], "-test.run=^TestNoProviderInDefaultLibrary$", "-test.v")
	self.Env = append(os.Environ(), is+"=1", "OPENSSL_CONF="+file)
	out, err := self.CombinedOutput()
	if err != nil || !strings.Contains(string(out), file) || !strings.Contains(string(out), "no provider is active") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestForget: what was read from a file is overwritten, with the key that stands in it or behind the chain; what the caller gave is not.
func TestForget(t *testing.T) {
	chain, key := testcerts.Read(t, "ecdsa.pem"), testcerts.Read(t, "ecdsa.key")
	both := filepath.Join(t.TempDir(), "both.pem")
	tlstest.Must(t, os.WriteFile(both, slices.Concat(chain, key), 0o600))
	for name, c := range map[string]Certificate{
		"two files": {ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")},
		"one file":  {ChainFile: both},
		"the key":   {ChainPEM: chain, KeyFile: testcerts.Path("ecdsa.key")},
		"bytes":     {ChainPEM: chain, KeyPEM: key},
	} {
		l := tlstest.Value(loadCertificate(name, &c))(t)
		l.forget()
		if c.KeyPEM == nil && bytes.ContainsFunc(l.key, func(r rune) bool { return r != 0 }) {
			t.Errorf("%s: the key is left", name)
		}
		x := mustServer(t, Config{Certificates: []Certificate{c}, Names: map[string][]Certificate{"a.example": {c}}})
		if got := subject(t, x, "a.example", "", TLS13); got == "error" {
			t.Errorf("%s: no handshake", name)
		}
	}
	if !bytes.Equal(chain, testcerts.Read(t, "ecdsa.pem")) || !bytes.Equal(key, testcerts.Read(t, "ecdsa.key")) {
		t.Error("the caller's bytes are overwritten")
	}
}
