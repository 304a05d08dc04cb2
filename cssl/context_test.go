package cssl

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
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

// TestEncryptedKey loads an encrypted key, and overwrites the passphrase afterwards.
func TestEncryptedKey(t *testing.T) {
	pass := []byte("secret")
	c := serverConfig("ecdsa")
	c.Certificates[0].KeyFile = testcerts.Path("encrypted.key")
	c.Certificates[0].Passphrase = func() ([]byte, error) { return pass, nil }
	newPair(t, mustClient(t, clientConfig()), mustServer(t, c)).handshake()
	if string(pass) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("the passphrase is still there: %q", pass)
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
			p := pairOf(t, c, s)
			p.handshake()
			if !tt.want(p) {
				t.Errorf("%v %s %s", p.client.State().Version, p.client.State().Cipher, p.client.State().Group)
			}
		})
	}
}

// TestClosedContext makes no connections, and Close twice is harmless.
func TestClosedContext(t *testing.T) {
	x := mustServer(t, serverConfig("ecdsa"))
	x.Close()
	x.Close()
	if _, err := x.NewEngineConn(ConnConfig{}); !errors.Is(err, os.ErrClosed) || err.Error() != "cssl: the Context is closed" {
		t.Errorf("got %v", err)
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
