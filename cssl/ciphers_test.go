package cssl

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
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
			p := pairOf(t, cc, sc).shaken()
			check(t, version != TLS12 || p.server.State().Cipher == value, "%s with %s: %s", side, own, p.server.State().Cipher)
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
			equal(t, p.server.State().Cipher, name, "cipher")
		})
	}
}

// TestDefaultOrder: AES-128 comes first, on both sides, unless the client prefers ChaCha20 or a policy in openssl.cnf has an order.
func TestDefaultOrder(t *testing.T) {
	const (
		is            = "CSSL_ORDER"
		first, second = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"
		chacha        = "TLS_CHACHA20_POLY1305_SHA256"
		aes256        = second + ":" + chacha + ":" + first
	)
	if os.Getenv(is) != "" { // the policy
		equal(t, pairOf(t, clientConfig(), serverConfig("ecdsa")).shaken().server.State().Cipher, second, "the suite under a policy")
		equal(t, pairOf(t, clientUpTo(TLS12), serverConfig("ecdsa")).shaken().server.State().Cipher, "ECDHE-ECDSA-AES256-GCM-SHA384", "in TLS 1.2")
		return
	}
	for _, r := range []struct {
		client, server, cipher string
		version                TLSVersion
	}{
		{"", "", first, TLS13},
		{aes256, "", first, TLS13},
		{"", aes256, second, TLS13},
		{chacha + ":" + aes256, "", chacha, TLS13},
		{"", "", "ECDHE-ECDSA-AES128-GCM-SHA256", TLS12},
		{"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", "", "ECDHE-ECDSA-AES128-GCM-SHA256", TLS12},
		{"ECDHE-ECDSA-AES256-GCM-SHA384:DHE-ECDSA-AES128-GCM-SHA256", "", "ECDHE-ECDSA-AES256-GCM-SHA384", TLS12},
	} {
		c, s := clientUpTo(r.version), serverConfig("ecdsa")
		if r.version == TLS12 {
			c.CipherList, s.CipherList = r.client, r.server
		} else {
			c.CipherSuites, s.CipherSuites = r.client, r.server
		}
		equal(t, pairOf(t, c, s).shaken().server.State().Cipher, r.cipher, "the suite of client %q, server %q", r.client, r.server)
	}
	var offered []uint16
	s := serverConfig("ecdsa")
	s.ClientHello = func(h *ClientHello) { offered = h.CipherSuites; h.Accept(nil) }
	pairOf(t, clientConfig(), s).shaken()
	equal(t, offered[0], 0x1301, "what our client prefers")
	file := writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nCiphersuites = "+aes256+":TLS_AES_128_CCM_SHA256\n")
	out, err := runAlone(t, is+"=1", "OPENSSL_CONF="+file)
	check(t, err == nil, "%v\n%s", err, out)
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
	demand(p.t, p.client.Feed(p.buf[:n]) == n, "engine takes no input")
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
		equal(t, p.client.State().Group, name, "the client's group")
		equal(t, p.server.State().Group, name, "the server's group")
	}
	// A Context that a server name leads to brings its own groups.
	s := serverConfig("ecdsa")
	s.Groups = "MLKEM1024"
	own := mustServer(t, s)
	s.Groups, s.SNI = "", map[string]*Context{"localhost": own}
	c := clientConfig()
	c.Groups = "*X25519:MLKEM1024"
	p := pairOf(t, c, s).shaken()
	equal(t, p.server.State().Group, "MLKEM1024", "by server name")
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
			chain := tlstest.Value(p.client.State().VerifiedChain())(t)
			check(t, len(chain) == 1 && chain[0].Subject.CommonName == "ML-DSA-"+size+" server" && p.client.State().VerifyError == nil,
				"ML-DSA-%s: %v, %v", size, chain, p.client.State().VerifyError)
			chain = tlstest.Value(p.server.State().VerifiedChain())(t)
			equal(t, len(chain) == 1, mutual, "ML-DSA-%s from a client", size)
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
		check(t, strings.HasSuffix(leaf(t, p.client).Subject.CommonName, tt.want) && p.client.State().VerifyError == nil,
			"client with %q, %v: %v, want %s", tt.algorithms, tt.version, leaf(t, p.client).Subject, tt.want)
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
	dir := t.TempDir()
	sm2 := Certificate{ChainFile: filepath.Join(dir, "sm2.pem"), KeyFile: filepath.Join(dir, "sm2.key")}
	openssl(t, "genpkey", "-algorithm", "SM2", "-out", sm2.KeyFile)
	openssl(t, "req", "-x509", "-new", "-key", sm2.KeyFile, "-subj", "/CN=localhost", "-out", sm2.ChainFile)
	for _, tt := range []struct {
		setting, want string
		change        func(*Config)
		since         string
	}{
		{"Groups", "X25519MLKEM768", func(c *Config) { c.Groups = "X25519:X25519MLKEM768" }, "3.5"},
		{"Groups", "SecP384r1MLKEM1024", func(c *Config) { c.Groups = "SecP384r1MLKEM1024" }, "3.5"},
		{"SignatureAlgorithms", "mldsa65", func(c *Config) { c.SignatureAlgorithms = "ECDSA+SHA256:mldsa65" }, "3.5"},
		{"Certificates[1].KeyFile", "ML-DSA-65", func(c *Config) { c.Certificates = append(c.Certificates, mldsa) }, "3.5"},
		{"Certificates[1]", "SM2", func(c *Config) { c.Certificates = append(c.Certificates, sm2) }, "4.0"},
		{"CAFile", "SM2", func(c *Config) { c.CAFile = sm2.ChainFile }, "4.0"},
		{"CipherSuites", "TLS_SM4_GCM_SM3", func(c *Config) { c.CipherSuites = "TLS_SM4_GCM_SM3" }, "4.0"},
		{"CAFile", "ML-DSA-65", func(c *Config) { c.CAFile = testcerts.Path("mldsa65.pem") }, "3.5"},
		{"CertificateCompression", "certificate compression", func(c *Config) { c.CertificateCompression = []string{"zlib"} }, "3.2"},
		{"RawPublicKey", "a raw public key", func(c *Config) { c.RawPublicKey = true }, "3.2"},
		{"PeerKeys", "a raw public key", func(c *Config) { c.PeerKeysPEM, c.Verify = publicKeys(t, "client"), VerifyRequire }, "3.2"},
	} {
		c := serverConfig("ecdsa")
		tt.change(&c)
		x, err := NewServerContext(c)
		if linked.Run.String() >= tt.since {
			if err != nil {
				t.Errorf("%s %s: %v", tt.setting, tt.want, err)
				continue
			}
			x.Close()
			continue
		}
		var e *ConfigError
		var v *VersionError
		check(t, errors.As(err, &e) && errors.As(err, &v) && errors.Is(err, errors.ErrUnsupported) && e.Setting == tt.setting &&
			v.Feature == tt.want && v.Needs == tt.since && v.Linked == linked.Run.String(), "%s %s: %v", tt.setting, tt.want, err)
	}
}

// TestDHE: TLS 1.2's suites with finite field Diffie-Hellman agree where CipherList names them, and only there: by default a
// client cannot make a server work that much.
func TestDHE(t *testing.T) {
	const dhe = "DHE-RSA-AES128-GCM-SHA256"
	for _, list := range []string{dhe, "kDHE+AESGCM", "DEFAULT", "", "by name"} {
		c, s := clientConfig(), serverConfig("rsa")
		c.CipherList, c.MaxVersion, s.CipherList = dhe, TLS12, list
		if list == "by name" { // where the suite is that of a Context behind a server name
			s.CipherList = dhe
			named := mustServer(t, s)
			s = serverConfig("ecdsa")
			s.SNI = map[string]*Context{"localhost": named}
		}
		p := pairOf(t, c, s)
		err := handshakeError(p)
		check(t, (err == nil) == (list != ""), "%q: %v", list, err)
		n := p.server.State()
		check(t, list == "" || (n.Cipher == dhe && n.Group == "" && n.Version == TLS12), "%q: %+v", list, n)
	}
}

// old is what lets OpenSSL speak TLS 1.0 and 1.1.
const old = "DEFAULT:@SECLEVEL=0"

// TestOldVersions: TLS 1.0 and 1.1 are spoken where both sides allow them, with resumption, and named in what was negotiated;
// data passes. Nobody gets them without asking.
func TestOldVersions(t *testing.T) {
	for v, name := range map[TLSVersion]string{TLS10: "TLSv1", TLS11: "TLSv1.1"} {
		for _, cert := range []string{"rsa", "ecdsa"} {
			c, s := clientConfig(), serverConfig(cert)
			c.MinVersion, c.MaxVersion, c.CipherList = v, v, old
			s.MinVersion, s.CipherList = TLS10, old
			client, server := mustClient(t, c), mustServer(t, s)
			p := newPair(t, client, server).opened()
			for _, conn := range []*Conn{p.client, p.server} {
				n := conn.State()
				check(t, n.Version == v && n.Version.String() == name && n.Group == "x25519" && n.CipherID != 0 &&
					strings.HasSuffix(n.Cipher, "-SHA"), "%v, %s: %+v", v, cert, n)
			}
			p.transfer(tlstest.Bytes(20000, 1))
			p = p.again(client, server, "localhost")
			p.handshake()
			check(t, p.client.State().Resumed, "%v, %s: not resumed", v, cert)

			// A side that does not ask for the version refuses it.
			only := s
			only.MaxVersion = v
			for _, sides := range [][2]*Context{{client, mustServer(t, serverConfig(cert))}, {mustClient(t, clientConfig()), mustServer(t, only)}} {
				err := handshakeError(newPair(t, sides[0], sides[1]))
				check(t, errors.Is(err, tlsio.AlertProtocolVersion), "%v, %s: %v", v, cert, err)
			}
			// One that does gets the newest of both.
			c.MaxVersion = 0
			p = newPair(t, mustClient(t, c), server).shaken()
			equal(t, p.server.State().Version, TLS13, "%v, %s: where TLS 1.3 is possible", v, cert)
		}
	}
}

// TestOldVersionBehindName: the versions are those of the Context behind the server name.
func TestOldVersionBehindName(t *testing.T) {
	c, s, named := clientConfig(), serverConfig("rsa"), serverConfig("ecdsa")
	c.MinVersion, c.MaxVersion, c.CipherList = TLS10, TLS10, old
	named.MinVersion, named.CipherList = TLS10, old
	var seen []TLSVersion
	for _, cfg := range []*Config{&s, &named} {
		cfg.ClientHello = func(h *ClientHello) {
			seen = append(seen, h.Versions...)
			h.Accept(nil)
		}
	}
	s.SNI = map[string]*Context{"localhost": mustServer(t, named)}
	p := pairOf(t, c, s).shaken()
	n := p.server.State()
	check(t, n.Version == TLS10 && slices.Equal(seen, []TLSVersion{TLS10}), "%+v, the hello says %v", n, seen)
}

// TestOldVersionRefused: where an old version could never be agreed on, the error says what is to be set.
func TestOldVersionRefused(t *testing.T) {
	set := func(least, most TLSVersion, list string) func(*Config) {
		return func(c *Config) { c.MinVersion, c.MaxVersion, c.CipherList = least, most, list }
	}
	key := []PSK{{Identity: []byte("a"), Key: make([]byte, 32)}}
	both := func(f, g func(*Config)) func(*Config) {
		return func(c *Config) {
			f(c)
			g(c)
		}
	}
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"default list", set(TLS10, 0, ""), "MinVersion", "TLSv1|security level 0|the level is 2|CipherList|DEFAULT:@SECLEVEL=0"},
		{"list without level", set(TLS11, 0, "DEFAULT:@SECLEVEL=1"), "MinVersion", "TLSv1.1|the level is 1|@SECLEVEL=0"},
		{"suites of 1.2 alone", set(TLS11, 0, "ECDHE+AESGCM:@SECLEVEL=0"), "CipherList", "no suite of TLSv1.1|DEFAULT:@SECLEVEL=0"},
		{"max alone", set(0, TLS11, ""), "MaxVersion", "TLSv1.1|below MinVersion|TLSv1.2 by default"},
		{"min above max", set(TLS11, TLS10, ""), "MinVersion", "above MaxVersion TLSv1"},
		{"SSL 3", set(0x0300, 0, old), "MinVersion", "TLS 1.0 to 1.3"},
		{"early data", both(set(TLS10, TLS11, old), func(c *Config) { c.MaxEarlyData = 100 }), "MaxEarlyData", "needs TLS 1.3"},
		{"PSKs", both(set(TLS10, TLS11, old), func(c *Config) { c.PSKs = key }), "PSKs", "need TLS 1.3"},
	})
}

// TestFIPSOldVersion: no FIPS provider has the digest of TLS 1.0 and 1.1.
func TestFIPSOldVersion(t *testing.T) {
	l := fipsLibrary(t)
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"FIPS", func(c *Config) { c.MinVersion, c.CipherList, c.Library = TLS10, old, l }, "MinVersion", "MD5-SHA1"}})
}

// TestOldVersionUnderPolicy: MinVersion and CipherList win over the system's policy in openssl.cnf.
func TestOldVersionUnderPolicy(t *testing.T) {
	const is = "CSSL_POLICY"
	if os.Getenv(is) != "" {
		c, s := clientConfig(), serverConfig("rsa")
		c.MinVersion, c.MaxVersion, c.CipherList = TLS10, TLS10, old
		s.MinVersion, s.MaxVersion, s.CipherList = TLS10, TLS11, old
		pairOf(t, c, s).handshake()
		return
	}
	file := writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nMinProtocol = TLSv1.2\nCipherString = DEFAULT:@SECLEVEL=2\n")
	out, err := runAlone(t, is+"=1", "OPENSSL_CONF="+file)
	check(t, err == nil, "%v\n%s", err, out)
}

// TestParseTLSVersion: both spellings of each version, and nothing else.
func TestParseTLSVersion(t *testing.T) {
	for s, want := range map[string]TLSVersion{"": 0, "1.0": TLS10, "TLSv1": TLS10, "1.1": TLS11, "TLSv1.1": TLS11, "1.2": TLS12, "TLSv1.3": TLS13} {
		v, err := ParseTLSVersion(s)
		check(t, err == nil && v == want, "%q: %v, %v", s, v, err)
		v, err = ParseTLSVersion(want.String())
		check(t, want == 0 || (err == nil && v == want), "%v: %v, %v", want, v, err)
	}
	for _, s := range []string{"1", "1.4", "SSLv3", "3.0"} {
		v, err := ParseTLSVersion(s)
		check(t, err != nil && strings.Contains(err.Error(), "1.0, 1.1, 1.2 or 1.3"), "%q: %v, %v", s, v, err)
	}
}
