package cssl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestConfigRefused: what cannot be used comes back as *ConfigError with the setting's name and a reason.
func TestConfigRefused(t *testing.T) {
	closed := mustServer(t, serverConfig("ecdsa"))
	closed.Close()
	enc := func(pass func() ([]byte, error)) func(*Config) {
		return func(c *Config) {
			c.Certificates[0].KeyFile = testcerts.Path("encrypted.key")
			c.Certificates[0].Passphrase = pass
		}
	}
	errPass := errors.New("no terminal")
	tests := []struct {
		name    string
		client  bool
		change  func(*Config)
		setting string
		reason  string // part of the text
		openssl bool   // the reasons must be OpenSSL's
		is      error
	}{
		{"no certificate", false, func(c *Config) { c.Certificates = nil }, "Certificates", "needs Certificates", false, nil},
		{"empty certificate", false, func(c *Config) { c.Certificates[0] = Certificate{} }, "Certificates[0]", "neither", false, nil},
		{"missing chain", false, func(c *Config) { c.Certificates[0].ChainFile = "/no/chain" }, "Certificates[0].ChainFile", "/no/chain", false, fs.ErrNotExist},
		{"missing key", false, func(c *Config) { c.Certificates[0].KeyFile = "/no/key" }, "Certificates[0].KeyFile", "/no/key", false, fs.ErrNotExist},
		{"file and PEM", false, func(c *Config) { c.Certificates[0].ChainPEM = []byte("x") }, "Certificates[0].ChainFile", "use one", false, nil},
		{"garbage chain", false, func(c *Config) { c.Certificates[0] = Certificate{ChainPEM: []byte("garbage")} }, "Certificates[0].ChainPEM", "found text", true, nil},
		{"garbage key", false, func(c *Config) { c.Certificates[0].KeyFile, c.Certificates[0].KeyPEM = "", []byte("garbage") }, "Certificates[0].KeyPEM", "", true, nil},
		{"no key in the chain", false, func(c *Config) { c.Certificates[0].KeyFile = "" }, "Certificates[0].ChainFile", "", true, nil},
		{"other key", false, func(c *Config) { c.Certificates[0].KeyFile = testcerts.Path("client.key") }, "Certificates[0]", "mismatch", true, nil},
		{"key of other type", false, func(c *Config) { c.Certificates[0].KeyFile = testcerts.Path("rsa.key") }, "Certificates[0]", "", true, nil},
		{"no passphrase", false, enc(nil), "Certificates[0].KeyFile", "Passphrase is not set", false, nil},
		{"wrong passphrase", false, enc(func() ([]byte, error) { return []byte("wrong"), nil }), "Certificates[0].KeyFile", "cannot be decrypted", true, nil},
		{"empty passphrase", false, enc(func() ([]byte, error) { return nil, nil }), "Certificates[0].KeyFile", "cannot be decrypted", true, nil},
		{"passphrase error", false, enc(func() ([]byte, error) { return nil, errPass }), "Certificates[0].Passphrase", "no terminal", false, errPass},
		{"cipher list", false, func(c *Config) { c.CipherList = "NONSENSE" }, "CipherList", "no cipher match", true, nil},
		{"cipher suites", true, func(c *Config) { c.CipherSuites = "TLS_NONSENSE" }, "CipherSuites", "", true, nil},
		{"groups", true, func(c *Config) { c.Groups = "X25519:nonsense:P-256" }, "Groups", `has no "nonsense"`, false, nil},
		{"signature algorithms", true, func(c *Config) { c.SignatureAlgorithms = "nonsense" }, "SignatureAlgorithms", `has no "nonsense"`, false, nil},
		{"NUL in a list", true, func(c *Config) { c.CipherList = "HIGH\x00x" }, "CipherList", "NUL", false, nil},
		{"empty ALPN", true, func(c *Config) { c.ALPN = []string{"h2", ""} }, "ALPN", "1 to 255", false, nil},
		{"long ALPN", true, func(c *Config) { c.ALPN = []string{strings.Repeat("x", 256)} }, "ALPN", "1 to 255", false, nil},
		{"much ALPN", true, func(c *Config) {
			for range 300 {
				c.ALPN = append(c.ALPN, strings.Repeat("x", 250))
			}
		}, "ALPN", "65535", false, nil},
		{"min above max", true, func(c *Config) { c.MinVersion, c.MaxVersion = TLS13, TLS12 }, "MinVersion", "above", false, nil},
		{"old version", true, func(c *Config) { c.MinVersion = 0x0300 }, "MinVersion", "only TLS", false, nil},
		{"unknown version", true, func(c *Config) { c.MaxVersion = 0x0305 }, "MaxVersion", "only TLS", false, nil},
		{"missing CA", true, func(c *Config) { c.CAFile = "/no/ca" }, "CAFile", "/no/ca", false, fs.ErrNotExist},
		{"no CA", true, func(c *Config) { c.CAFile = testcerts.Path("ecdsa.key") }, "CAFile", "found PRIVATE KEY in PEM", false, nil},
		{"garbage CA", true, func(c *Config) {
			c.CAFile, c.CAPEM = "", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}, "CAPEM", "", true, nil},
		{"no CRL", true, func(c *Config) { c.CRLFile = testcerts.Path("root.pem") }, "CRLFile", "found CERTIFICATE in PEM", false, nil},
		{"garbage CRL", true, func(c *Config) { c.CRLPEM = []byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n") }, "CRLPEM", "", true, nil},
		{"verify mode", true, func(c *Config) { c.Verify = 9 }, "Verify", "unknown mode", false, nil},
		{"verify depth", true, func(c *Config) { c.VerifyDepth = -1 }, "VerifyDepth", "must be from 0 to 1073741824", false, nil},
		{"tickets", false, func(c *Config) { c.Tickets = -1 }, "Tickets", "must be from 0 to 1073741824", false, nil},
		{"SNI of a client", true, func(c *Config) { c.SNI = map[string]*Context{"a.test": closed} }, "SNI", "only a server", false, nil},
		{"closed Context in SNI", false, func(c *Config) { c.SNI = map[string]*Context{"a.test": closed} }, "SNI", "closed", false, os.ErrClosed},
		{"nil Context in SNI", false, func(c *Config) { c.SNI = map[string]*Context{"a.test": nil} }, "SNI", "not a server", false, nil},
		{"bad name in SNI", false, func(c *Config) { c.SNI = map[string]*Context{"a.*.test": closed} }, "SNI", "must be a name", false, nil},
		{"empty name in SNI", false, func(c *Config) { c.SNI = map[string]*Context{"": closed} }, "SNI", "must be a name", false, nil},
	}
	for _, tt := range tests {
		c, build := serverConfig("ecdsa"), NewServerContext
		if tt.client {
			c, build = clientConfig(), NewClientContext
		}
		tt.change(&c)
		_, err := build(c)
		checkConfigError(t, tt.name, err, tt.setting, tt.reason)
		if e, ok := errors.AsType[*ConfigError](err); ok && tt.openssl && len(e.Reasons) == 0 {
			t.Errorf("%s: %v: no reason of OpenSSL's", tt.name, err)
		}
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v is not %v", tt.name, err, tt.is)
		}
	}
}

// TestSNINamesTwice: two spellings of one name would leave it to chance which Context is meant.
func TestSNINamesTwice(t *testing.T) {
	a, c := mustServer(t, serverConfig("ecdsa")), serverConfig("rsa")
	c.SNI = map[string]*Context{"a.test": a, "A.test.": a}
	checkRefused(t, "twice", true, c, "SNI")
}

// TestEncryptedKey loads an encrypted key, also in the form of PKCS#1 and SEC 1. It asks for the passphrase
// once, and overwrites it afterwards.
func TestEncryptedKey(t *testing.T) {
	traditional := filepath.Join(t.TempDir(), "key")
	openssl(t, "ec", "-in", testcerts.Path("ecdsa.key"), "-aes128", "-passout", "pass:secret", "-out", traditional)
	for _, file := range []string{testcerts.Path("encrypted.key"), traditional} {
		pass, asked, c := []byte("secret"), 0, serverConfig("ecdsa")
		c.Certificates[0].KeyFile = file
		c.Certificates[0].Passphrase = func() ([]byte, error) { asked++; return pass, nil }
		pairOf(t, clientConfig(), c).handshake()
		if string(pass) != "\x00\x00\x00\x00\x00\x00" || asked != 1 {
			t.Errorf("%s: asked %d times, and the passphrase is %q", file, asked, pass)
		}
	}
}

// TestSettingsTakeEffect negotiates with one setting each and looks at what came of it.
func TestSettingsTakeEffect(t *testing.T) {
	cipher := func(want string) func(*pair) bool {
		return func(p *pair) bool { return p.server.State().Cipher == want }
	}
	tests := []struct {
		name   string
		change func(client, server *Config)
		want   func(*pair) bool
	}{
		{"default version", func(c, s *Config) {}, func(p *pair) bool { return p.client.State().Version == TLS13 }},
		{"max version", func(c, s *Config) { s.MaxVersion = TLS12 }, func(p *pair) bool { return p.client.State().Version == TLS12 }},
		{"cipher list", func(c, s *Config) { c.MaxVersion, s.CipherList = TLS12, "ECDHE-ECDSA-CHACHA20-POLY1305" }, cipher("ECDHE-ECDSA-CHACHA20-POLY1305")},
		{"security level", func(c, s *Config) { c.MaxVersion, s.CipherList = TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=1" }, cipher("ECDHE-ECDSA-AES128-GCM-SHA256")},
		{"server's order", func(c, s *Config) {
			c.CipherSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
			s.CipherSuites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
		}, cipher("TLS_AES_256_GCM_SHA384")},
		{"cipher suites", func(c, s *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256" }, cipher("TLS_AES_128_GCM_SHA256")},
		{"groups", func(c, s *Config) { s.Groups = "P-384" }, func(p *pair) bool { return p.client.State().Group == "secp384r1" }},
		{"key in the chain's PEM", func(c, s *Config) {
			s.Certificates = []Certificate{{ChainPEM: append(testcerts.Read(t, "ed25519.pem"), testcerts.Read(t, "ed25519.key")...)}}
		}, func(p *pair) bool { return true }},
		{"ECDSA of two", func(c, s *Config) {
			s.Certificates = append(s.Certificates, serverConfig("rsa").Certificates...)
			c.MaxVersion, c.CipherList = TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256"
		}, cipher("ECDHE-ECDSA-AES128-GCM-SHA256")},
		{"RSA of two", func(c, s *Config) {
			s.Certificates = append(s.Certificates, serverConfig("rsa").Certificates...)
			c.SignatureAlgorithms = "RSA-PSS+SHA256"
			c.CAFile, c.Verify = "", VerifyNone // the chain's own signatures are not RSA
		}, func(p *pair) bool {
			chain, err := p.client.State().PeerCertificates()
			return err == nil && chain[0].PublicKeyAlgorithm.String() == "RSA"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := clientConfig(), serverConfig("ecdsa")
			tt.change(&c, &s)
			p := pairOf(t, c, s).shaken()
			if !tt.want(p) {
				t.Errorf("%v %s %s", p.client.State().Version, p.client.State().Cipher, p.client.State().Group)
			}
		})
	}
}

// TestConnConfigRefused: what a client sets for a connection is checked too.
func TestConnConfigRefused(t *testing.T) {
	before := live.Conns()
	x := mustClient(t, clientConfig())
	for name, cfg := range map[string]ConnConfig{
		"no name":        {},
		"NUL":            {ServerName: "localhost\x00.evil.test"},
		"long name":      {ServerName: strings.Repeat("a", 300)},
		"broken session": {ServerName: "localhost", Session: &Session{der: []byte("x")}},
	} {
		var e *ConfigError
		if c, err := x.NewEngineConn(cfg); !errors.As(err, &e) {
			c.Close()
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := x.NewConn(-1, ConnConfig{ServerName: "localhost"}); err == nil {
		t.Error("a negative descriptor is accepted")
	}
	if n := live.Conns(); n != before {
		t.Errorf("%d connections are left", n-before)
	}
}

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
