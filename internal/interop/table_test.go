package interop

import (
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// The names of the tests with ALPN and SNI.
const (
	alpnFirst  = "first/1"  // the server's first choice
	alpnSecond = "second/2" // the client's first choice
	sniName    = "a.wild.test"
)

// feature is a row of the table. The same rows are run with each kind of peer.
type feature struct {
	name                    string
	cert                    string
	ciphers                 string // of TLS 1.2 and before; empty: the default
	mtls, resume, alpn, sni bool
}

var features = []feature{
	{name: "RSA", cert: "rsa"},
	{name: "ECDSA", cert: "ecdsa"},
	{name: "Ed25519", cert: "ed25519"},
	{name: "mTLS", cert: "ecdsa", mtls: true},
	{name: "resumption", cert: "ecdsa", resume: true},
	{name: "mTLS and resumption", cert: "ecdsa", mtls: true, resume: true}, // P22
	{name: "ALPN", cert: "rsa", alpn: true},
	{name: "SNI", cert: "ecdsa", sni: true},
}

// combo is a feature in one version of TLS.
type combo struct {
	feature
	version cssl.TLSVersion
}

// ecdsa12 and ecdsa13 are for tests of other things than those of the rows.
var ecdsa12, ecdsa13 = combo{features[1], cssl.TLS12}, combo{features[1], cssl.TLS13}

// eachCombo runs f for all rows in both versions, and in the short form for each row in one of them.
func eachCombo(t *testing.T, f func(t *testing.T, c combo)) {
	eachOf(t, features, f)
}

// eachOf is eachCombo for peers that cannot do all rows.
func eachOf(t *testing.T, rows []feature, f func(t *testing.T, c combo)) {
	for i, v := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
		for j, feat := range rows {
			if !full && (i+j)%2 != 0 {
				continue
			}
			t.Run(v.String()+"/"+feat.name, func(t *testing.T) { f(t, combo{feat, v}) })
		}
	}
}

// connections are the sizes of the connections to make: with resumption a small one
// comes first, whose session the second resumes.
func (c combo) connections() []int {
	if c.resume {
		return []int{10_001, volume}
	}
	return []int{volume}
}

// serverName is what the client asks for.
func (c combo) serverName() string {
	if c.sni {
		return sniName
	}
	return "localhost"
}

// serverConfig is for our server.
func (c combo) serverConfig(t *testing.T) cssl.Config {
	cfg := cssl.Config{
		Certificates: []cssl.Certificate{certificate(c.cert)},
		MinVersion:   c.version, MaxVersion: c.version, CipherList: c.ciphers,
	}
	if c.mtls {
		cfg.Verify, cfg.CAFile = cssl.VerifyRequire, testcerts.Path("root.pem")
	}
	if c.alpn {
		cfg.ALPN = []string{alpnFirst, alpnSecond}
	}
	if c.sni {
		// The certificate for all other names would not be accepted.
		named := tlstest.Value(cssl.NewServerContext(cfg))(t)
		t.Cleanup(named.Close)
		cfg.Certificates = []cssl.Certificate{certificate("wrongname")}
		cfg.SNI = map[string]*cssl.Context{"*.wild.test": named}
	}
	return cfg
}

// clientConfig is for our client.
func (c combo) clientConfig() cssl.Config {
	cfg := cssl.Config{CAFile: testcerts.Path("root.pem"), MinVersion: c.version, MaxVersion: c.version, CipherList: c.ciphers}
	if c.mtls {
		cfg.Certificates = []cssl.Certificate{certificate("client")}
	}
	if c.alpn {
		cfg.ALPN = []string{alpnSecond, alpnFirst}
	}
	return cfg
}

// check compares what our side knows with what the row asks for; last is whether
// it is the last connection.
func (c combo) check(t *testing.T, p *party, last bool) {
	t.Helper()
	f := p.state
	tlstest.Equal(t, "version", f.Version, c.version)
	tlstest.Equal(t, "resumed", f.Resumed, c.resume && last)
	tlstest.Equal(t, "ALPN", f.ALPN, map[bool]string{true: alpnFirst}[c.alpn])
	tlstest.Equal(t, "verify", f.VerifyError, nil)
	chain, err := f.PeerCertificates()
	tlstest.Must(t, err)
	if p.client {
		return
	}
	tlstest.Equal(t, "SNI", f.ServerName, c.serverName())
	if (len(chain) > 0) != c.mtls || c.mtls && chain[0].Subject.CommonName != "client" {
		t.Errorf("the client's certificates: %v", chain)
	}
}

// TestOursWithOurs joins our client and our server.
func TestOursWithOurs(t *testing.T) { eachCombo(t, oursWithOurs) }

func oursWithOurs(t *testing.T, c combo) {
	srv := newServer(t, c.serverConfig(t), 0)
	var s *party
	var rounds int
	c.clients(t, srv.addr, func(n int) *party {
		s = srv.expect(newParty(false, false, n))
		return newParty(true, false, n).set(true, true)
	}, func(*party, int) {
		s.wait(t)
		rounds++
		c.check(t, s, rounds == len(c.connections()))
	})
}

// clients makes the connections of a row with our client to addr. before makes each party, and meanwhile is called
// when it connects.
func (c combo) clients(t *testing.T, addr string, before func(n int) *party, meanwhile func(p *party, n int)) {
	t.Helper()
	x, loop, conf := clientContext(t, c.clientConfig()), newLoop(t), cssl.ConnConfig{ServerName: c.serverName()}
	rounds := c.connections()
	for i, n := range rounds {
		p := before(n)
		attach(t, loop, addr, x, conf, 0, p)
		meanwhile(p, n)
		p.wait(t)
		if t.Failed() {
			return
		}
		c.check(t, p, i == len(rounds)-1)
		conf.Session = p.resume
	}
}

// TestBothWriteFromOnDrain: two peers that stream to each other, both by the handler's own
// means (write until above the high watermark, go on in OnDrain), must not wait for each
// other for ever: above the watermark neither reads, so nothing falls below it.
func TestBothWriteFromOnDrain(t *testing.T) {
	srv := newServer(t, ecdsa13.serverConfig(t), 4096)
	s := srv.expect(newParty(false, false, 4_000_000))
	p := newParty(true, false, 4_000_000).set(false, true)
	attach(t, newLoop(t), srv.addr, clientContext(t, ecdsa13.clientConfig()), localhost, 4096, p)
	p.wait(t)
	s.wait(t)
}

// old is what OpenSSL needs for TLS 1.0 and 1.1.
const old = "DEFAULT:@SECLEVEL=0"

// legacy are the rows for old peers: TLS 1.0 and 1.1, and finite field Diffie-Hellman.
var legacy = []combo{
	{feature{name: "RSA", cert: "rsa", ciphers: old}, cssl.TLS10},
	{feature{name: "ECDSA, mTLS and resumption", cert: "ecdsa", mtls: true, resume: true, ciphers: old}, cssl.TLS10},
	{feature{name: "static RSA", cert: "rsa", ciphers: "AES128-SHA:@SECLEVEL=0"}, cssl.TLS10},
	{feature{name: "DHE", cert: "rsa", ciphers: "DHE-RSA-AES256-SHA:@SECLEVEL=0"}, cssl.TLS11},
	{feature{name: "ALPN", cert: "ecdsa", alpn: true, ciphers: old}, cssl.TLS11},
	{feature{name: "SNI", cert: "ecdsa", sni: true, ciphers: old}, cssl.TLS10},
	{feature{name: "resumption", cert: "rsa", resume: true, ciphers: old}, cssl.TLS11},
	{feature{name: "DHE", cert: "rsa", ciphers: "DHE-RSA-AES128-GCM-SHA256"}, cssl.TLS12},
	// The ECDSA suite is never used. Without one OpenSSL 4.0's client names no curve, so that its certificate's is refused.
	{feature{name: "DHE, mTLS and resumption", cert: "rsa", mtls: true, resume: true,
		ciphers: "DHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"}, cssl.TLS12},
}

// TestLegacy: old versions and DHE, with the openssl program at either end and between our ends.
func TestLegacy(t *testing.T) {
	for name, f := range map[string]func(*testing.T, combo){"s_client": sClient, "s_server": sServer, "ours": oursWithOurs} {
		t.Run(name, func(t *testing.T) {
			for _, c := range legacy {
				t.Run(c.version.String()+"/"+c.name, func(t *testing.T) { f(t, c) })
			}
		})
	}
}
