package cssl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/negotiated"
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
	garbage := []byte("garbage")
	block := func(typ string) []byte {
		return []byte("-----BEGIN " + typ + "-----\nAAAA\n-----END " + typ + "-----\n")
	}
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"no certificate", func(c *Config) { c.Certificates = nil }, "Certificates", "needs Certificates"},
		{"empty certificate", func(c *Config) { c.Certificates[0] = Certificate{} }, "Certificates[0]", "neither"},
		{"file and PEM", func(c *Config) { c.Certificates[0].ChainPEM = []byte("x") }, "Certificates[0].ChainFile", "use one"},
		{"garbage chain", func(c *Config) { c.Certificates[0] = Certificate{ChainPEM: garbage} }, "Certificates[0].ChainPEM", "found text|routines"},
		{"garbage key", func(c *Config) { c.Certificates[0].KeyFile, c.Certificates[0].KeyPEM = "", garbage }, "Certificates[0].KeyPEM", "routines"},
		{"other key", func(c *Config) { c.Certificates[0].KeyFile = testcerts.Path("client.key") }, "Certificates[0]", "mismatch|routines"},
		{"passphrase error", enc(func() ([]byte, error) { return nil, errPass }), "Certificates[0].Passphrase", "no terminal"},
		{"closed Context in SNI", func(c *Config) { c.SNI = map[string]*Context{"a.test": closed} }, "SNI", "closed"},
		{"no passphrase", enc(nil), "Certificates[0].KeyFile", "Passphrase is not set"},
		{"cipher list", func(c *Config) { c.CipherList = "NONSENSE" }, "CipherList", "no cipher match|routines"},
		{"tickets", func(c *Config) { c.Tickets = -1 }, "Tickets", "must be from 0 to 1073741824"},
		{"nil Context in SNI", func(c *Config) { c.SNI = map[string]*Context{"a.test": nil} }, "SNI", "not a server"},
		{"bad name in SNI", func(c *Config) { c.SNI = map[string]*Context{"a.*.test": closed} }, "SNI", "must be a name"},
		{"empty name in SNI", func(c *Config) { c.SNI = map[string]*Context{"": closed} }, "SNI", "must be a name"},
	})
	checkRefusals(t, false, clientConfig(), []wrongConfig{
		{"cipher suites", func(c *Config) { c.CipherSuites = "TLS_NONSENSE" }, "CipherSuites", "routines"},
		{"groups", func(c *Config) { c.Groups = "X25519:nonsense:P-256" }, "Groups", `has no "nonsense"`},
		{"signature algorithms", func(c *Config) { c.SignatureAlgorithms = "nonsense" }, "SignatureAlgorithms", `has no "nonsense"`},
		{"NUL in a list", func(c *Config) { c.CipherList = "HIGH\x00x" }, "CipherList", "NUL"},
		{"empty ALPN", func(c *Config) { c.ALPN = []string{"h2", ""} }, "ALPN", "1 to 255"},
		{"long ALPN", func(c *Config) { c.ALPN = []string{strings.Repeat("x", 256)} }, "ALPN", "1 to 255"},
		{"much ALPN", func(c *Config) {
			for range 300 {
				c.ALPN = append(c.ALPN, strings.Repeat("x", 250))
			}
		}, "ALPN", "65535"},
		{"min above max", func(c *Config) { c.MinVersion, c.MaxVersion = TLS13, TLS12 }, "MinVersion", "above"},
		{"old version", func(c *Config) { c.MinVersion = 0x0300 }, "MinVersion", "only TLS"},
		{"unknown version", func(c *Config) { c.MaxVersion = 0x0305 }, "MaxVersion", "only TLS"},
		{"garbage CA", func(c *Config) { c.CAFile, c.CAPEM = "", block("CERTIFICATE") }, "CAPEM", "routines"},
		{"garbage CRL", func(c *Config) { c.CRLPEM = block("X509 CRL") }, "CRLPEM", "routines"},
		{"verify mode", func(c *Config) { c.Verify = 9 }, "Verify", "unknown mode"},
		{"verify depth", func(c *Config) { c.VerifyDepth = -1 }, "VerifyDepth", "must be from 0 to 1073741824"},
		{"SNI of a client", func(c *Config) { c.SNI = map[string]*Context{"a.test": closed} }, "SNI", "only a server"},
	})
	for want, change := range map[error]func(c *Config){
		fs.ErrNotExist: func(c *Config) { c.CAFile = "/no/ca" },
		errPass:        enc(func() ([]byte, error) { return nil, errPass }),
		os.ErrClosed:   func(c *Config) { c.SNI = map[string]*Context{"a.test": closed} },
	} {
		c := serverConfig("ecdsa")
		change(&c)
		_, err := NewServerContext(c)
		tlstest.IsError(t, "cause", err, want)
	}
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
		check(t, string(pass) == "\x00\x00\x00\x00\x00\x00" && asked == 1,
			"%s: asked %d times, and the passphrase is %q", file, asked, pass)
	}
}

// TestSettingsTakeEffect: the server's order of suites counts, and a list may set the security level.
func TestSettingsTakeEffect(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.CipherSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
	s.CipherSuites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
	equal(t, pairOf(t, c, s).shaken().server.State().Cipher, "TLS_AES_256_GCM_SHA384", "cipher")
	c.MaxVersion, s.CipherList = TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=1"
	equal(t, pairOf(t, c, s).shaken().server.State().Cipher, "ECDHE-ECDSA-AES128-GCM-SHA256", "cipher")
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
	fails(x.NewConn(-1, ConnConfig{ServerName: "localhost"}))(t, "a negative descriptor is accepted")
	n := live.Conns()
	check(t, n == before, "%d connections are left", n-before)
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

	const certs, aKey, ca, crls = "want certificates in PEM, leaf first, or PKCS#12", "want a private key in PEM", "want CA certificates in PEM",
		"want revocation lists in PEM"
	const staple = "want a successful OCSP response in DER"
	const chainFile, keyFile, ocspFile, keyURI = "Certificates[0].ChainFile", "Certificates[0].KeyFile", "Certificates[0].OCSPFile",
		"Certificates[0].KeyURI"
	set := map[string]func(c *Config, file string){
		chainFile: func(c *Config, file string) { c.Certificates[0].ChainFile = file },
		keyFile:   func(c *Config, file string) { c.Certificates[0].KeyFile = file },
		ocspFile:  func(c *Config, file string) { c.Certificates[0].OCSPFile = file },
		keyURI:    func(c *Config, file string) { c.Certificates[0].KeyFile, c.Certificates[0].KeyURI = "", "file:"+file },
		"CAFile":  func(c *Config, file string) { c.CAFile = file },
		"CRLFile": func(c *Config, file string) { c.CRLFile = file },
	}
	passphrase := func(s string) func(*Config) {
		return func(c *Config) {
			c.Certificates[0].KeyFile = testcerts.Path("encrypted.key")
			c.Certificates[0].Passphrase = func() ([]byte, error) { return []byte(s), nil }
		}
	}
	encrypted, rsa := testcerts.Path("encrypted.key"), testcerts.Path("rsa.key")
	rows := []wrongConfig{
		{"no key beside the chain", func(c *Config) { c.Certificates[0].KeyFile = "" }, chainFile,
			chain + "|want certificates and their private key in PEM|CERTIFICATE|routines"},
		{"other key", func(c *Config) { c.Certificates[0].KeyFile = rsa }, "Certificates[0]", rsa + "|" + chain + "|mismatch|routines"},
		{"an authority in the URI", func(c *Config) { set[keyURI](c, "//"+empty) }, keyURI, empty + "|want a private key|nothing"},
		{"wrong passphrase", passphrase("wrong"), keyFile, encrypted + "|cannot be decrypted: the passphrase may be wrong|routines"},
		{"empty passphrase", passphrase(""), keyFile, encrypted + "|cannot be decrypted: the passphrase may be wrong|routines"},
		{"long passphrase", passphrase(strings.Repeat("x", 5000)), "Certificates[0].Passphrase", "has 5000 bytes|takes at most 1024"},
	}
	for _, tt := range []struct{ setting, file, want, found string }{
		{chainFile, der, certs, "a certificate in DER"},
		{chainFile, p12, "the PKCS#12 file is encrypted", "Passphrase is not set"},
		{chainFile, empty, certs, "nothing"},
		{chainFile, key, certs, "PRIVATE KEY in PEM"},
		{chainFile, request, certs, "CERTIFICATE REQUEST in PEM"},
		{chainFile, cut, certs, "CERTIFICATE (2) in PEM; PEM routines: bad end line"},
		{chainFile, dir, certs, "is a directory"},
		{chainFile, dir + "/none", "", "no such file"},
		{keyFile, derKey, aKey, "a private key in DER"},
		{keyFile, p12, aKey, "a PKCS#12 file"},
		{keyFile, empty, aKey, "nothing"},
		{keyFile, text, aKey, "text"},
		{keyFile, chain, aKey, "CERTIFICATE"},
		{keyFile, public, aKey, "PUBLIC KEY in PEM"},
		{keyFile, dir, aKey, "is a directory"},
		{keyFile, dir + "/none", "", "no such file"},
		{"CAFile", key, ca, "PRIVATE KEY in PEM"},
		{"CAFile", der, ca, "a certificate in DER"},
		{"CAFile", empty, ca, "nothing"},
		{"CAFile", cut, ca, "CERTIFICATE (2) in PEM; PEM routines: bad end line"},
		{"CAFile", dir, ca, "is a directory"},
		{"CAFile", dir + "/none", "", "no such file"},
		{"CRLFile", chain, crls, "CERTIFICATE"},
		{"CRLFile", dir, crls, "is a directory"},
		{"CRLFile", empty, crls, "nothing"},
		{ocspFile, ocsp, staple, "OCSP RESPONSE in PEM"},
		{ocspFile, der, staple, "a certificate in DER"},
		{ocspFile, empty, staple, "nothing"},
		{keyURI, crl, "want a private key", "X509 CRL (2) in PEM"},
		{keyURI, dir + "/none", "", "no such file"},
	} {
		change := func(c *Config) { set[tt.setting](c, tt.file) }
		rows = append(rows, wrongConfig{tt.file, change, tt.setting, strings.Join([]string{tt.file, tt.want, tt.found}, "|")})
	}
	checkRefusals(t, true, serverConfig("ecdsa"), rows, "SECRET")
}

// TestWrongBytes: where there is no file, the setting is that of the bytes (P51).
func TestWrongBytes(t *testing.T) {
	chain, key := testcerts.Read(t, "ecdsa.pem"), testcerts.Read(t, "ecdsa.key")
	certificate := func(cert Certificate) func(*Config) {
		return func(c *Config) { c.Certificates = []Certificate{cert} }
	}
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"a key", certificate(Certificate{ChainPEM: key}), "Certificates[0].ChainPEM", "found PRIVATE KEY in PEM"},
		{"no key", certificate(Certificate{ChainPEM: chain}), "Certificates[0].ChainPEM", "found CERTIFICATE (2) in PEM"},
		{"a space", certificate(Certificate{ChainPEM: chain, KeyPEM: []byte(" ")}), "Certificates[0].KeyPEM", "nothing but white space"},
		{"a staple", certificate(Certificate{ChainPEM: chain, KeyPEM: key, OCSP: key}), "Certificates[0].OCSP", "found PRIVATE KEY in PEM"},
		{"a CA", func(c *Config) { c.CAPEM = key }, "CAPEM", "found PRIVATE KEY in PEM"},
		{"a list", func(c *Config) { c.CRLPEM = []byte("x") }, "CRLPEM", "found text"},
	})
}

// TestNoProviderInDefaultLibrary: a system's configuration whose providers cannot be loaded leaves OpenSSL without ciphers. The error
// says so, and names the file.
func TestNoProviderInDefaultLibrary(t *testing.T) {
	const is = "CSSL_NO_PROVIDER"
	if os.Getenv(is) != "" {
		_, err := NewServerContext(serverConfig("ecdsa"))
		t.Log(err)
		checkConfigError(t, "no provider", err, "Library")
		return
	}
	file := writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nproviders = p\n[p]\nnosuch = n\n[n]\nactivate = 1\nmodule = /none/nosuch.so\n")
	out, err := runAlone(t, is+"=1", "OPENSSL_CONF="+file)
	check(t, err == nil && strings.Contains(out, file) && strings.Contains(out, "no provider is active"), "%v\n%s", err, out)
}

// TestForget: what was read from a file is overwritten, with the key that stands in it or behind the chain; what the caller gave is not.
func TestForget(t *testing.T) {
	chain, key := testcerts.Read(t, "ecdsa.pem"), testcerts.Read(t, "ecdsa.key")
	dir := t.TempDir()
	both, p12 := filepath.Join(dir, "both.pem"), filepath.Join(dir, "site.p12")
	tlstest.Must(t, os.WriteFile(both, slices.Concat(chain, key), 0o600))
	openssl(t, "pkcs12", "-export", "-in", both, "-keypbe", "NONE", "-certpbe", "NONE", "-nomac", "-passout", "pass:", "-out", p12)
	for name, c := range map[string]Certificate{
		"two files": {ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")},
		"one file":  {ChainFile: both},
		"PKCS#12":   {ChainFile: p12},
		"its bytes": {ChainPEM: tlstest.Value(os.ReadFile(p12))(t)},
		"the key":   {ChainPEM: chain, KeyFile: testcerts.Path("ecdsa.key")},
		"bytes":     {ChainPEM: chain, KeyPEM: key},
	} {
		l := tlstest.Value((&builder{cfg: &Config{}}).loadCertificate(name, &c))(t)
		check(t, len(l.key) > 0, "%s: no key", name)
		l.forget()
		check(t, c.KeyPEM != nil || !bytes.ContainsFunc(l.key, func(r rune) bool { return r != 0 }), "%s: the key is left", name)
		x := mustServer(t, Config{Certificates: []Certificate{c}, Names: map[string][]Certificate{"a.example": {c}}})
		got := subject(t, x, "a.example", "", TLS13)
		check(t, got != "error", "%s: no handshake", name)
	}
	check(t, bytes.Equal(chain, testcerts.Read(t, "ecdsa.pem")) && bytes.Equal(key, testcerts.Read(t, "ecdsa.key")),
		"the caller's bytes are overwritten")
}

// TestFactsBeforeHandshake: all facts are zero values, and none crashes, before the handshake and after Close.
func TestFactsBeforeHandshake(t *testing.T) {
	p := plainPair(t)
	for _, c := range []*Conn{p.client, p.server} {
		for range 2 {
			st := c.State()
			check(t, st.Cipher == "" && st.Group == "" && st.ALPN == "" && !st.Resumed && knows(t, c) == 0 && c.Session() == nil &&
				!c.hasPending() && st.Version == 0, "there are facts without a handshake")
			fails(c.ExportKeyingMaterial("EXPORTER-x", nil, 8))(t, "keying material without keys")
			c.Close()
		}
	}
}

// TestNegotiated: the facts for the packages above are those of State, and cost
// no more than their strings, whatever certificates there are.
func TestNegotiated(t *testing.T) {
	c, s := clientConfig(), serverConfig("rsa")
	c.ALPN, s.ALPN = []string{"h2"}, []string{"h2"}
	p := pairOf(t, c, s).shaken()
	for _, x := range []*Conn{p.client, p.server} {
		st := x.State()
		want := negotiated.Facts{Version: uint16(st.Version), Cipher: st.Cipher, Group: st.Group, ALPN: "h2", Resumed: st.Resumed,
			Records: uint8(st.Records), Obstacle: st.RecordsReason}
		equal(t, negotiated.Of(x), want, "facts")
		n := testing.AllocsPerRun(100, func() { negotiated.Of(x) })
		check(t, n <= 3, "%v allocations for three strings", n)
		x.Close()
		equal(t, negotiated.Of(x), negotiated.Facts{}, "after Close")
	}
}

// TestALPNMismatch: no protocol in common is refused with the alert of RFC 7301; a client without ALPN is not.
func TestALPNMismatch(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.ALPN, s.ALPN = []string{"a"}, []string{"b"}
	sx := mustServer(t, s)
	cerr, serr := newPair(t, mustClient(t, c), sx).try()
	checkAlerts(t, serr, cerr, 120)
	p := newPair(t, mustClient(t, clientConfig()), sx).shaken()
	check(t, p.server.State().ALPN == "", "ALPN %q", p.server.State().ALPN)
}

// TestSNI chooses the Context by exact name and wildcard in any letter case, and takes its settings along.
func TestSNI(t *testing.T) {
	exact := serverConfig("rsa")
	exact.MaxVersion, exact.ALPN, exact.Groups = TLS12, []string{"exact"}, "P-384"
	wild := serverConfig("ed25519")
	wild.Verify, wild.CAFile = VerifyRequire, testcerts.Path("root.pem")
	s := serverConfig("ecdsa")
	s.SNI = map[string]*Context{"Example.test": mustServer(t, exact), "*.wild.test": mustServer(t, wild)}
	sx := mustServer(t, s)
	c := clientConfig()
	c.ALPN = []string{"exact"}
	c.Certificates = serverConfig("client").Certificates
	cx := mustClient(t, c)
	for name, want := range map[string]string{
		"example.test": "RSA", "EXAMPLE.TEST": "RSA", "example.test.": "RSA", "a.wild.test": "Ed25519", "A.Wild.Test": "Ed25519",
		"wild.test": "ECDSA", "a.b.wild.test": "ECDSA", "localhost": "ECDSA", "127.0.0.1": "ECDSA", "": "ECDSA",
	} {
		p := newPair(t, cx, sx, ConnConfig{ServerName: name, InsecureSkipNameCheck: true}).shaken()
		equal(t, leaf(t, p.client).PublicKeyAlgorithm.String(), want, "%q", name)
		equal(t, knows(t, p.server) > 0, want == "Ed25519", "%q: the server asked for a certificate", name)
		st, isExact := p.server.State(), want == "RSA"
		check(t, isExact == (st.Version == TLS12) && isExact == (st.ALPN == "exact") && isExact == (st.Group == "secp384r1"),
			"%q: %v, ALPN %q, group %q", name, st.Version, st.ALPN, st.Group)
	}
}

// TestKeyLog writes lines of SSLKEYLOGFILE's format, the same on both sides.
func TestKeyLog(t *testing.T) {
	for _, version := range versions {
		var cl, sl bytes.Buffer
		c, s := clientUpTo(version), serverConfig("ecdsa")
		c.KeyLog, s.KeyLog = &cl, &sl
		pairOf(t, c, s).handshake()
		label := map[TLSVersion]string{TLS12: "CLIENT_RANDOM ", TLS13: "CLIENT_TRAFFIC_SECRET_0 "}[version]
		check(t, strings.Contains(cl.String(), label) && strings.HasSuffix(cl.String(), "\n"),
			"%v: client's key log: %q", version, cl.String())
		for line := range strings.Lines(cl.String()) {
			check(t, strings.Contains(sl.String(), line), "%v: the server did not log %q", version, line)
		}
	}
}
