package cssl

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// byDefault demands that neither side takes a value that its peer insists on, without the setting. With
// it, where own is not empty, the handshake is done.
func byDefault(t *testing.T, cert string, version TLSVersion, set func(c *Config, value string), value, own string) {
	t.Helper()
	for _, side := range []string{"server", "client"} {
		sc, cc := serverConfig(cert), clientUpTo(version)
		tested, peer := &sc, &cc
		if side == "client" {
			tested, peer = peer, tested
		}
		set(peer, value)
		cerr, serr := pairOf(t, cc, sc).try()
		checkAlerts(t, serr, cerr, 40)
		if own != "" {
			set(tested, own)
			if p := pairOf(t, cc, sc).shaken(); version == TLS12 && p.server.State().Cipher != value {
				t.Errorf("%s with %s: %s", side, own, p.server.State().Cipher)
			}
		}
	}
}

// TestDefaultCiphers: without a CipherList nothing but forward secrecy and AEAD is spoken in TLS 1.2, by either
// side and with either key; with one, whatever it names.
func TestDefaultCiphers(t *testing.T) {
	list := func(c *Config, value string) { c.CipherList = value }
	for name, cert := range map[string]string{
		"ECDHE-ECDSA-AES128-SHA": "ecdsa", "ECDHE-ECDSA-AES256-SHA384": "ecdsa", "ECDHE-RSA-AES128-SHA256": "rsa",
		"AES256-GCM-SHA384": "rsa", "AES128-SHA": "rsa",
	} {
		t.Run(name, func(t *testing.T) { byDefault(t, cert, TLS12, list, name, "DEFAULT") })
	}
	for _, name := range []string{
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
		"ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
	} {
		t.Run(name, func(t *testing.T) {
			cc := clientUpTo(TLS12)
			cc.CipherList = name
			p := pairOf(t, cc, serverConfig(strings.ToLower(strings.Split(name, "-")[1]))).shaken()
			if got := p.server.State().Cipher; got != name {
				t.Errorf("cipher %s", got)
			}
		})
	}
}

// TestDefaultGroups: without Groups no finite field is taken, by either side, since a peer could choose one that costs
// much; with Groups, whatever they name. The curves and X25519 are there.
func TestDefaultGroups(t *testing.T) {
	groups := func(c *Config, value string) { c.Groups = value }
	for dear, own := range map[string]string{"ffdhe2048": "ffdhe2048", "ffdhe8192": ""} { // which takes its time
		t.Run(dear, func(t *testing.T) { byDefault(t, "ecdsa", 0, groups, dear, own) })
	}
	for _, good := range []string{"X25519", "P-256", "X448", "P-384", "P-521"} {
		t.Run(good, func(t *testing.T) {
			cc := clientConfig()
			cc.Groups = good
			pairOf(t, cc, serverConfig("ecdsa")).handshake()
		})
	}
}

// has35 reports whether OpenSSL 3.5 or newer is linked.
func has35() bool { return linked.Run.series() >= 0x305 }

// need35 skips a test of what only OpenSSL 3.5 can do.
func need35(t testing.TB) {
	t.Helper()
	if !has35() {
		t.Skipf("needs OpenSSL 3.5, %v is linked", linked.Run)
	}
}

// retried makes a handshake and reports whether the server asked for another client hello, which costs a round trip. Such a
// request is a server hello with a certain random (RFC 8446, section 4.1.3).
func (p *pair) retried() bool {
	p.t.Helper()
	special := sha256.Sum256([]byte("HelloRetryRequest"))
	p.client.Handshake()
	p.move(p.client, p.server)
	p.server.Handshake()
	n := p.server.Take(p.buf)
	again := bytes.Contains(p.buf[:n], special[:])
	if p.client.Feed(p.buf[:n]) != n {
		p.t.Fatal("engine takes no input")
	}
	p.handshake()
	return again
}

// TestDefaultKeyShares: the hybrid with ML-KEM is what both sides prefer where there is one, and a peer
// that lacks it costs no round trip more.
func TestDefaultKeyShares(t *testing.T) {
	best := "x25519"
	if has35() {
		best = "X25519MLKEM768"
	}
	for _, tt := range []struct {
		client, server string // the groups; empty: the default
		want           string
		retried        bool
	}{
		{"", "", best, false},
		{"", "X25519", "x25519", false},
		{"X25519", "", "x25519", false},
		{"", "P-256", "secp256r1", true},
		{"P-256", "", "secp256r1", false},
		{"P-384", "", "secp384r1", false},
		{"X25519:P-256", "P-256:X25519", "x25519", false},
	} {
		for _, resumed := range []bool{false, true} {
			c, s := clientConfig(), serverConfig("ecdsa")
			c.Groups, s.Groups = tt.client, tt.server
			cx, sx := mustClient(t, c), mustServer(t, s)
			cfg := ConnConfig{ServerName: "localhost"}
			if resumed {
				cfg.Session = ticketOf(t, cx, sx)
			}
			p := newPair(t, cx, sx, cfg)
			again := p.retried()
			if g := p.server.State().Group; !strings.EqualFold(g, tt.want) || again != tt.retried || p.server.State().Resumed != resumed {
				t.Errorf("client %q, server %q, resumed %v: %s (%v), retried %v; want %s, %v", tt.client, tt.server, resumed,
					g, p.server.State().Resumed, again, tt.want, tt.retried)
			}
		}
	}
}

// TestPostQuantumGroups: each of OpenSSL 3.5's can be asked for by name, also with the signs of its lists.
func TestPostQuantumGroups(t *testing.T) {
	need35(t)
	for _, name := range []string{"X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "MLKEM512", "MLKEM768", "MLKEM1024"} {
		c, s := clientConfig(), serverConfig("ecdsa")
		c.Groups, s.Groups = name, "?nonsense:X25519/"+name
		p := pairOf(t, c, s).opened()
		if cg, sg := p.client.State().Group, p.server.State().Group; cg != name || sg != name {
			t.Errorf("%s: client %s, server %s", name, cg, sg)
		}
	}
	// A Context that a server name leads to brings its own groups.
	s := serverConfig("ecdsa")
	s.Groups = "MLKEM1024"
	own := mustServer(t, s)
	s.Groups, s.SNI = "", map[string]*Context{"localhost": own}
	c := clientConfig()
	c.Groups = "*X25519:MLKEM1024"
	p := pairOf(t, c, s).shaken()
	if g := p.server.State().Group; g != "MLKEM1024" {
		t.Errorf("by server name: %s", g)
	}
}

// mldsaConfig is a server with a certificate of ML-DSA of a size ("44", "65", "87"), which signed itself.
func mldsaConfig(size string) Config { return serverConfig("mldsa" + size) }

// TestMLDSA: a handshake with a certificate of ML-DSA, with a client certificate of the same kind too. A chain and a
// signature of this size need several records.
func TestMLDSA(t *testing.T) {
	need35(t)
	for _, size := range []string{"44", "65", "87"} {
		for _, mutual := range []bool{false, true} {
			c, s := Config{CAFile: testcerts.Path("mldsa" + size + ".pem")}, mldsaConfig(size)
			if mutual {
				c.Certificates = s.Certificates
				s.CAFile, s.Verify = c.CAFile, VerifyRequire
			}
			p := pairOf(t, c, s)
			p.chunk = 1000
			p.opened()
			chain, err := p.client.State().VerifiedChain()
			if err != nil || len(chain) != 1 || chain[0].Subject.CommonName != "ML-DSA-"+size+" server" || p.client.State().VerifyError != nil {
				t.Errorf("ML-DSA-%s: %v, %v, %v", size, chain, err, p.client.State().VerifyError)
			}
			if chain, err = p.server.State().VerifiedChain(); err != nil || (len(chain) == 1) != mutual {
				t.Errorf("ML-DSA-%s from a client: %v, %v", size, chain, err)
			}
		}
	}
}

// TestMLDSABesideECDSA: a server with both takes what the client's signature algorithms allow, in the server's order.
func TestMLDSABesideECDSA(t *testing.T) {
	need35(t)
	s := serverConfig("ecdsa")
	s.Certificates = append(s.Certificates, mldsaConfig("65").Certificates...)
	both := mustServer(t, s)
	s.SignatureAlgorithms = "ecdsa_secp256r1_sha256:mldsa65"
	classic := mustServer(t, s)
	for _, tt := range []struct {
		server     *Context
		algorithms string // the client's
		version    TLSVersion
		want       string // the certificate's name
	}{
		{both, "", 0, "ML-DSA-65 server"},
		{both, "mldsa65:ecdsa_secp256r1_sha256", 0, "ML-DSA-65 server"},
		{both, "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256", 0, "ECDSA server"},
		{both, "mldsa44:ecdsa_secp256r1_sha256", 0, "ECDSA server"},
		{both, "", TLS12, "ECDSA server"}, // TLS 1.2 has no ML-DSA
		{classic, "", 0, "ECDSA server"},
	} {
		roots := slices.Concat(testcerts.Read(t, "root.pem"), testcerts.Read(t, "mldsa65.pem"))
		c := Config{CAPEM: roots, SignatureAlgorithms: tt.algorithms, MaxVersion: tt.version}
		p := newPair(t, mustClient(t, c), tt.server).shaken()
		chain, err := p.client.State().PeerCertificates()
		if err != nil || !strings.HasSuffix(chain[0].Subject.CommonName, tt.want) || p.client.State().VerifyError != nil {
			t.Errorf("client with %q, %v: %v %v, want %s", tt.algorithms, tt.version, chain[0].Subject, err, tt.want)
		}
	}
	// A client that knows neither is refused with an alert, not served something else.
	c := clientConfig()
	c.SignatureAlgorithms = "rsa_pss_rsae_sha256"
	cerr, serr := newPair(t, mustClient(t, c), both).try()
	checkAlerts(t, serr, cerr, 40)
}

// TestTooOldForSetting: a Context that asks for what the linked OpenSSL lacks is refused with the
// version that has it; where it is there, the Context is made.
func TestTooOldForSetting(t *testing.T) {
	mldsa := Certificate{ChainFile: testcerts.Path("mldsa65.pem"), KeyFile: testcerts.Path("mldsa65.key")}
	for _, tt := range []struct {
		setting, want string
		change        func(*Config)
	}{
		{"Groups", "X25519MLKEM768", func(c *Config) { c.Groups = "X25519:X25519MLKEM768" }},
		{"Groups", "SecP384r1MLKEM1024", func(c *Config) { c.Groups = "SecP384r1MLKEM1024" }},
		{"SignatureAlgorithms", "mldsa65", func(c *Config) { c.SignatureAlgorithms = "ECDSA+SHA256:mldsa65" }},
		{"Certificates[1].KeyFile", "ML-DSA-65", func(c *Config) { c.Certificates = append(c.Certificates, mldsa) }},
		{"CAFile", "ML-DSA-65", func(c *Config) { c.CAFile = testcerts.Path("mldsa65.pem") }},
	} {
		c := serverConfig("ecdsa")
		tt.change(&c)
		x, err := NewServerContext(c)
		if has35() {
			if err != nil {
				t.Errorf("%s %s: %v", tt.setting, tt.want, err)
				continue
			}
			x.Close()
			continue
		}
		var e *ConfigError
		var v *VersionError
		if !errors.As(err, &e) || !errors.As(err, &v) || !errors.Is(err, errors.ErrUnsupported) || e.Setting != tt.setting ||
			v.Feature != tt.want || v.Needs != "3.5" || v.Linked != linked.Run.String() {
			t.Errorf("%s %s: %v", tt.setting, tt.want, err)
		}
	}
}
