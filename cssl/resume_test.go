package cssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestResumption resumes by ticket and by the server's cache, with and without client certificates (P22).
func TestResumption(t *testing.T) {
	tests := []struct {
		name   string
		change func(c, s *Config)
		want   [2]bool // TLS 1.2, 1.3
	}{
		{"ticket", func(c, s *Config) {}, [2]bool{true, true}},
		{"no tickets", func(c, s *Config) { s.NoTickets = true }, [2]bool{false, false}},
		{"no tickets for the client", func(c, s *Config) { c.NoTickets = true }, [2]bool{false, true}},
		{"cache", func(c, s *Config) { s.NoTickets, s.SessionCache = true, 10 }, [2]bool{true, false}},
		{"mTLS", func(c, s *Config) {
			s.CAFile, s.Verify = testcerts.Path("root.pem"), VerifyRequire
			c.Certificates = serverConfig("client").Certificates
		}, [2]bool{true, true}},
	}
	for _, tt := range tests {
		for i, version := range versions {
			t.Run(tt.name+"/"+version.String(), func(t *testing.T) {
				c, s := clientUpTo(version), serverConfig("ecdsa")
				tt.change(&c, &s)
				cx, sx := mustClient(t, c), mustServer(t, s)
				p := newPair(t, cx, sx).opened()
				if p.client.State().Resumed || p.server.State().Resumed {
					t.Error("the first handshake is said to be resumed")
				}
				q := p.again(cx, sx, "localhost")
				if q.client.State().Resumed != tt.want[i] || q.server.State().Resumed != tt.want[i] {
					t.Errorf("client resumed %v, server %v, want %v", q.client.State().Resumed, q.server.State().Resumed, tt.want[i])
				}
				chain, err := q.server.State().PeerCertificates()
				if err != nil || (len(chain) > 0) != (tt.name == "mTLS") {
					t.Errorf("the server knows %d certificates after the resumption: %v", len(chain), err)
				}
				if q.client.State().VerifyError != nil || q.server.State().VerifyError != nil {
					t.Errorf("verify results: %v, %v", q.client.State().VerifyError, q.server.State().VerifyError)
				}
			})
		}
	}
}

// TestTicketCount: a server sends as many tickets as it is told to, each in a record of its own behind the handshake.
func TestTicketCount(t *testing.T) {
	for want, change := range map[int]func(*Config){
		0: func(c *Config) { c.NoTickets = true },
		1: func(c *Config) {},
		2: func(c *Config) { c.Tickets = 2 },
		4: func(c *Config) { c.Tickets = 4 },
	} {
		s := serverConfig("ecdsa")
		change(&s)
		p := newPair(t, mustClient(t, clientConfig()), mustServer(t, s))
		p.client.Handshake()
		p.move(p.client, p.server)
		p.server.Handshake()
		p.move(p.server, p.client)
		p.client.Handshake()
		p.move(p.client, p.server)
		if r := p.server.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
			t.Fatalf("the handshake is not done: %+v", r)
		}
		n := 0
		for left := p.buf[:p.server.Take(p.buf)]; len(left) > 5; n++ { // a record: type, version, length, content
			left = left[5+(int(left[3])<<8|int(left[4])):]
		}
		if n != want {
			t.Errorf("%d tickets, want %d", n, want)
		}
	}
}

// TestNoTicketsNoGrowth: with NoTickets and a cache, sessions of TLS 1.3 are not put into the cache,
// which would grow without a bound (P24, CVE-2024-2511).
func TestNoTicketsNoGrowth(t *testing.T) {
	s := serverConfig("ecdsa")
	s.NoTickets, s.SessionCache = true, 1000
	cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
	for range 20 {
		p := newPair(t, cx, sx).opened()
		if p.client.Session() != nil {
			t.Fatal("a session can be resumed")
		}
	}
	if n := sx.cached(); n != 0 {
		t.Errorf("%d sessions are cached", n)
	}
}

// TestCacheIsBounded: the cache for TLS 1.2 holds no more than it was given (P24).
func TestCacheIsBounded(t *testing.T) {
	s := serverConfig("ecdsa")
	s.NoTickets, s.SessionCache, s.MaxVersion = true, 3, TLS12
	cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
	for range 20 {
		newPair(t, cx, sx).handshake()
	}
	if n := sx.cached(); n < 1 || n > 3 {
		t.Errorf("%d sessions are cached, want 1 to 3", n)
	}
}

// TestNoResumptionAcrossNames: a session with one name, offered for another name, must
// not make the client believe that it talks to the other (P22).
func TestNoResumptionAcrossNames(t *testing.T) {
	for _, version := range versions {
		for _, verify := range []VerifyMode{VerifyDefault, VerifyNone} {
			c := clientConfig()
			c.MaxVersion, c.Verify = version, verify
			cx := mustClient(t, c)
			other := mustServer(t, serverConfig("wrongname")) // is for other.test
			s := serverConfig("ecdsa")
			s.SNI = map[string]*Context{"other.test": other}
			sx := mustServer(t, s)
			p := newPair(t, cx, sx).opened()
			q := p.again(cx, sx, "other.test")
			if q.client.State().Resumed {
				t.Errorf("%v: the session is resumed for another name", version)
			}
			if chain, err := q.client.State().PeerCertificates(); err != nil || len(chain) == 0 || chain[0].VerifyHostname("other.test") != nil {
				t.Errorf("%v: other.test has the identity %v", version, chain)
			}
			// The same server without a choice of names: only the client can tell.
			cc := engineConn(t, cx, ConnConfig{ServerName: "other.test", Session: p.client.Session()})
			r := newPair(t, cx, mustServer(t, serverConfig("ecdsa")))
			r.client = cc
			if cerr, _ := r.try(); (cerr == nil) != (verify == VerifyNone) {
				t.Errorf("%v: the handshake for another name: %v", version, cerr)
			}
		}
	}
}

// TestNoResumptionAcrossDemands: a session that was made without checks does not help past them.
func TestNoResumptionAcrossDemands(t *testing.T) {
	for _, version := range versions {
		lax := Config{Verify: VerifyNone, MaxVersion: version}
		sx := mustServer(t, serverConfig("ecdsa"))
		p := newPair(t, mustClient(t, lax), sx).opened()
		strict := clientUpTo(version)
		if q := p.again(mustClient(t, strict), sx, "localhost"); q.client.State().Resumed {
			t.Errorf("%v: resumed", version)
		}
	}
}

// TestNoResumptionAcrossTrust: a session whose peer only the system's CAs vouch for is
// not resumed by a Context that does not trust those (P22).
func TestNoResumptionAcrossTrust(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", writeFile(t, "system.pem", string(testcerts.Read(t, "root.pem"))))
	other := testcerts.Read(t, "other-root.pem")
	lax := mustClient(t, Config{CAPEM: other, SystemCAs: true})
	sx := mustServer(t, serverConfig("ecdsa"))
	for name, strict := range map[string]Config{
		"other CAs":    {CAPEM: other},
		"lesser depth": {CAPEM: other, SystemCAs: true, VerifyDepth: 1},
		"other rules":  {CAPEM: other, SystemCAs: true, SignatureAlgorithms: "ECDSA+SHA256"},
	} {
		p, _, _ := shakeAs(t, mustClient(t, strict), sx, ConnConfig{ServerName: "localhost", Session: ticketOf(t, lax, sx)})
		if p.client.State().Resumed {
			t.Errorf("%s: resumed", name)
		}
	}
}

// TestVerifyPeerResumed: nobody is asked about a session that is resumed, and where there is nobody to ask, or somebody else, it is not resumed.
func TestVerifyPeerResumed(t *testing.T) {
	for _, v := range versions {
		asked, mine := 0, errors.New("not here")
		server, client := mutual(v)
		server.TicketKeys = [][]byte{ticketKey(1, 80)}
		plain := mustServer(t, server)
		server.VerifyPeer = func(v *PeerVerification) { asked++; go v.Accept() }
		sx, other := mustServer(t, server), mustServer(t, server)
		server.VerifyPeer = func(v *PeerVerification) { v.Refuse(mine) }
		server.SNI = map[string]*Context{"localhost": sx}
		strict := mustServer(t, server)
		cx := mustClient(t, client)
		session := ticketOf(t, cx, sx)
		for name, x := range map[string]*Context{"the same": sx, "another one": other, "one that does not ask": plain} {
			asked = 0
			if resumed, cerr, serr := resumes(t, cx, x, session); cerr != nil || serr != nil || resumed != (x != plain) || asked != 0 {
				t.Errorf("%v, %s: resumed %v, asked %d times, %v, %v", v, name, resumed, asked, cerr, serr)
			}
		}
		session = ticketOf(t, cx, strict)
		if resumed, cerr, serr := resumes(t, cx, strict, session); cerr != nil || serr != nil || !resumed {
			t.Errorf("%v, the same name: resumed %v, %v, %v", v, resumed, cerr, serr)
		}
		p, _, err := shakeAs(t, cx, strict, ConnConfig{InsecureSkipNameCheck: true, Session: session})
		if p.server.State().Resumed || !errors.Is(err, mine) {
			t.Errorf("%v, another name: resumed %v, %v", v, p.server.State().Resumed, err)
		}
	}
}

// ticketKey is a key of n bytes.
func ticketKey(seed byte, n int) []byte { return bytes.Repeat([]byte{seed}, n) }

// TestTicketKeys: servers that share keys resume each other's sessions, also behind a change by server name; an older key still
// decrypts, a foreign one leads to a full handshake.
func TestTicketKeys(t *testing.T) {
	a, b, c := byte(1), byte(2), byte(3)
	for _, tt := range []struct {
		name          string
		issuer, later []byte
		resumed       bool
	}{
		{"shared", []byte{a}, []byte{a}, true},
		{"announced", []byte{a}, []byte{a, b}, true},
		{"rotated", []byte{a}, []byte{b, a}, true},
		{"rotated out", []byte{a}, []byte{c, b}, false},
	} {
		for _, version := range versions {
			for _, size := range []int{48, 80} {
				for _, name := range []string{"localhost", "sni.test"} {
					server := func(seeds []byte) *Context {
						s := serverConfig("ecdsa")
						for _, seed := range seeds {
							s.TicketKeys = append(s.TicketKeys, ticketKey(seed, size))
						}
						s.SNI = map[string]*Context{"sni.test": mustServer(t, serverConfig("ecdsa"))}
						return mustServer(t, s)
					}
					client := clientConfig()
					client.MaxVersion, client.Verify = version, VerifyNone
					cx := mustClient(t, client)
					p := newPair(t, cx, server(tt.issuer), ConnConfig{ServerName: name}).opened()
					q := p.again(cx, server(tt.later), name)
					if r := q.server.State().Resumed; r != tt.resumed || q.client.State().Resumed != r {
						t.Errorf("%s, %v, %d bytes, %s: resumed %v", tt.name, version, size, name, r)
					}
				}
			}
		}
	}
}

// TestTicketsOfOneContext: without keys a ticket is good for the Context that made it, and no other.
func TestTicketsOfOneContext(t *testing.T) {
	cx := mustClient(t, clientConfig())
	p := newPair(t, cx, mustServer(t, serverConfig("ecdsa"))).opened()
	if p.again(cx, mustServer(t, serverConfig("ecdsa")), "localhost").server.State().Resumed {
		t.Error("resumed")
	}
}

// ocspResponse is the outside of an OCSP response with the given status.
func ocspResponse(t *testing.T, status asn1.Enumerated) []byte {
	t.Helper()
	type body struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	der, err := asn1.Marshal(struct {
		Status asn1.Enumerated
		Body   body `asn1:"explicit,tag:0"`
	}{status, body{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}, []byte("signed by nobody")}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestStaple: a client gets the response that belongs to the certificate that it gets, and none where there is none.
func TestStaple(t *testing.T) {
	withOCSP := serverConfig("ecdsa").Certificates[0]
	withOCSP.OCSP = ocspResponse(t, 0)
	s := Config{Certificates: []Certificate{serverConfig("rsa").Certificates[0], withOCSP}}
	s.SNI = map[string]*Context{"sni.test": mustServer(t, serverConfig("ecdsa"))}
	sx := mustServer(t, s)
	for _, tt := range []struct {
		name  string
		suite uint16
		want  bool
	}{
		{"localhost", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{"localhost", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, false},
		{"sni.test", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false},
	} {
		c := &tls.Config{InsecureSkipVerify: true, ServerName: tt.name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tt.suite}}
		var want []byte
		if tt.want {
			want = withOCSP.OCSP
		}
		if got := readWithGo(t, sx, c).OCSPResponse; !bytes.Equal(got, want) {
			t.Errorf("%s, %s: stapled %x, want %x", tt.name, tls.CipherSuiteName(tt.suite), got, want)
		}
	}
}

// TestTicketsAndStaplesRefused: what cannot be used is refused with the setting's name, and no key is in the message.
func TestTicketsAndStaplesRefused(t *testing.T) {
	staple := func(der []byte) Config {
		c := serverConfig("ecdsa")
		c.Certificates[0].OCSP = der
		return c
	}
	keys := func(keys ...[]byte) Config {
		c := serverConfig("ecdsa")
		c.TicketKeys = keys
		return c
	}
	missing := serverConfig("ecdsa")
	missing.Certificates[0].OCSPFile = testcerts.Path("no-such-file.der")
	for name, tt := range map[string]struct {
		c       Config
		setting string
	}{
		"short key":      {keys([]byte("SECRET")), "TicketKeys[0]"},
		"mixed lengths":  {keys(ticketKey('S', 48), ticketKey('S', 80)), "TicketKeys[1]"},
		"not DER":        {staple([]byte("nonsense")), "Certificates[0].OCSP"},
		"try later":      {staple(ocspResponse(t, 3)), "Certificates[0].OCSP"},
		"more behind it": {staple(append(ocspResponse(t, 0), 0)), "Certificates[0].OCSP"},
		"no such file":   {missing, "Certificates[0].OCSPFile"},
		"file and memory": {func() Config {
			c := missing
			c.Certificates = []Certificate{missing.Certificates[0]}
			c.Certificates[0].OCSP = []byte{1}
			return c
		}(), "Certificates[0].OCSPFile"},
	} {
		checkRefused(t, name, true, tt.c, tt.setting)
		if _, err := NewServerContext(tt.c); err != nil && (strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "SSSS")) {
			t.Errorf("%s: a key is in %v", name, err)
		}
	}
	for setting, c := range map[string]Config{"TicketKeys": keys(ticketKey(1, 48)), "Certificates[0].OCSP": staple(ocspResponse(t, 0))} {
		checkRefused(t, "a client's "+setting, false, c, setting)
	}
}

// TestRenewal: a session is good after a renewal of certificates and revocation lists, of either side, and ends when names, trust or demands change (P39).
func TestRenewal(t *testing.T) {
	rootKey, interKey := newKey(t), newKey(t)
	root := newAuthority(t, "root", nil, rootKey)
	rootAgain := newAuthority(t, "root", nil, rootKey)
	impostor := newAuthority(t, "root", nil, newKey(t)) // the same name, another key
	inter := newAuthority(t, "intermediate", root, interKey)
	interAgain := newAuthority(t, "intermediate 2", root, newKey(t))
	names := x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "a.example"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	turned := names
	turned.DNSNames = []string{"a.example", "localhost"}
	plain := names
	plain.Subject = pkix.Name{}
	more := names
	more.DNSNames = append([]string{"b.example"}, names.DNSNames...)
	alice, bob := x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}}
	aliceHere, bobHere := alice, bob
	aliceHere.DNSNames, bobHere.DNSNames = []string{"here.example"}, []string{"here.example"}
	nameless := x509.Certificate{}
	both := func(a, b []byte) []byte { return append(append([]byte{}, a...), b...) }
	// OpenSSL reads a certificate behind such a prefix, and encoding/pem does not.
	mark, longLine := []byte("\xef\xbb\xbf"), bytes.Repeat([]byte("#"), 254)
	attribute := pem.EncodeToMemory(&pem.Block{Type: "ATTRIBUTE CERTIFICATE", Bytes: []byte("x")}) // no leaf: OpenSSL skips it
	behind := func(prefix []byte, c Certificate) []Certificate {
		c.ChainPEM = both(prefix, c.ChainPEM)
		return []Certificate{c}
	}
	later := time.Now().Add(500 * time.Hour)
	leaf := inter.issue(names, inter)
	renewed := inter.issue(names, inter)
	client := inter.issue(alice, inter)
	one := big.NewInt(1)

	type configs = func(c, s *Config)
	for _, tt := range []struct {
		name         string
		before, then configs // on top of what is usual
		want         bool
	}{
		{"nothing", nil, nil, true},
		{"a server's certificate", nil, func(c, s *Config) { s.Certificates = []Certificate{renewed} }, true},
		{"by another CA", nil, func(c, s *Config) { s.Certificates = []Certificate{interAgain.issue(names, interAgain)} }, true},
		{"names in another order", nil, func(c, s *Config) { s.Certificates = []Certificate{inter.issue(turned, inter)} }, true},
		{"without the common name", nil, func(c, s *Config) { s.Certificates = []Certificate{inter.issue(plain, inter)} }, true},
		{"one more of the same names", nil, func(c, s *Config) { s.Certificates = append(s.Certificates, inter.issueFor(rsaKey(t), names, inter)) }, true},
		{"one more name", nil, func(c, s *Config) { s.Certificates = []Certificate{inter.issue(more, inter)} }, false},
		{"one more of other names", nil, func(c, s *Config) { s.Certificates = append(s.Certificates, inter.issueFor(rsaKey(t), more, inter)) }, false},
		{"a server's CA", nil, func(c, s *Config) { s.CAPEM = rootAgain.pem }, true},
		{"a CA of that name", nil, func(c, s *Config) { s.CAPEM = both(impostor.pem, nil) }, false},
		{"a CA of that key", nil, func(c, s *Config) { s.CAPEM = both(newAuthority(t, "root 2", nil, rootKey).pem, nil) }, false},
		{"another CA behind a byte order mark", func(c, s *Config) { s.CAPEM = both(mark, root.pem) },
			func(c, s *Config) { s.CAPEM = both(mark, impostor.pem) }, false},
		{"one more CA behind a long line", nil, func(c, s *Config) { s.CAPEM = both(root.pem, both(longLine, impostor.pem)) }, false},
		{"the same CA behind a byte order mark", func(c, s *Config) { s.CAPEM = both(mark, root.pem) }, func(c, s *Config) { s.CAPEM = both(mark, root.pem) }, true},
		{"one more name behind a byte order mark", func(c, s *Config) { s.Certificates = behind(mark, leaf) },
			func(c, s *Config) { s.Certificates = behind(mark, inter.issue(more, inter)) }, false},
		{"another client behind a byte order mark", func(c, s *Config) { c.Certificates = behind(mark, client) },
			func(c, s *Config) { c.Certificates = behind(mark, inter.issue(bob, inter)) }, false},
		{"one more name behind a block of another kind", func(c, s *Config) { s.Certificates = behind(attribute, leaf) },
			func(c, s *Config) { s.Certificates = behind(attribute, inter.issue(more, inter)) }, false},
		{"one more CA", nil, func(c, s *Config) { s.CAPEM = both(root.pem, testcerts.Read(t, "root.pem")) }, false},
		{"CAs in another order", func(c, s *Config) { s.CAPEM = both(root.pem, testcerts.Read(t, "root.pem")) },
			func(c, s *Config) { s.CAPEM = both(testcerts.Read(t, "root.pem"), root.pem) }, true},
		{"a list of revocations", func(c, s *Config) { s.CRLPEM = inter.revoke(later) }, func(c, s *Config) { s.CRLPEM = inter.revoke(later, one) }, true},
		{"lists are looked at", nil, func(c, s *Config) { s.CRLPEM = inter.revoke(later) }, false},
		{"lists are no longer looked at", func(c, s *Config) { s.CRLPEM = inter.revoke(later) }, nil, false},
		{"lists that are out of date", func(c, s *Config) { s.CRLPEM = inter.revoke(later) },
			func(c, s *Config) { s.CRLPEM = inter.revoke(time.Now().Add(-time.Hour)) }, false},
		{"lists of somebody else", func(c, s *Config) { s.CRLPEM = inter.revoke(later) },
			func(c, s *Config) { s.CRLPEM = root.revoke(later) }, false},
		{"demands", nil, func(c, s *Config) { s.Verify = VerifyOptional }, false},
		{"ciphers", nil, func(c, s *Config) { s.CipherList = "ECDHE+AESGCM" }, false},
		{"signatures", nil, func(c, s *Config) { s.SignatureAlgorithms = "ECDSA+SHA256:RSA-PSS+SHA256" }, false},
		{"protocols", nil, func(c, s *Config) { s.ALPN = []string{"h2"} }, false},
		{"the system's CAs too", nil, func(c, s *Config) { s.SystemCAs = true }, false},
		{"properties", nil, func(c, s *Config) { s.Properties = "?provider=default" }, false},
		{"depth", nil, func(c, s *Config) { s.VerifyDepth = 9 }, false},
		{"a client's certificate", nil, func(c, s *Config) { c.Certificates = []Certificate{inter.issue(alice, inter)} }, true},
		{"another client", nil, func(c, s *Config) { c.Certificates = []Certificate{inter.issue(bob, inter)} }, false},
		{"another client of the same alternative name", func(c, s *Config) { c.Certificates = []Certificate{inter.issue(aliceHere, inter)} },
			func(c, s *Config) { c.Certificates = []Certificate{inter.issue(bobHere, inter)} }, false},
		{"another client without a name", func(c, s *Config) { c.Certificates = []Certificate{inter.issue(nameless, inter)} },
			func(c, s *Config) { c.Certificates = []Certificate{inter.issue(nameless, inter)} }, false},
		{"a client's CA", nil, func(c, s *Config) { c.CAPEM = rootAgain.pem }, true},
		{"a client's CA of that name", nil, func(c, s *Config) { c.CAPEM = both(impostor.pem, nil) }, false},
		{"a client's list of revocations", func(c, s *Config) { c.CRLPEM = inter.revoke(later) }, func(c, s *Config) { c.CRLPEM = inter.revoke(later, one) }, true},
		{"a client's list that is out of date", func(c, s *Config) { c.CRLPEM = inter.revoke(later) },
			func(c, s *Config) { c.CRLPEM = inter.revoke(time.Now().Add(-time.Hour)) }, false},
	} {
		for _, version := range versions {
			build := func(changes ...configs) (cx, sx *Context) {
				c := Config{CAPEM: root.pem, Certificates: []Certificate{client}, MaxVersion: version}
				s := Config{CAPEM: root.pem, Certificates: []Certificate{leaf}, Verify: VerifyRequire, TicketKeys: [][]byte{ticketKey(1, 80)}}
				for _, f := range changes {
					if f != nil {
						f(&c, &s)
					}
				}
				return mustClient(t, c), mustServer(t, s)
			}
			cx, sx := build(tt.before)
			session := ticketOf(t, cx, sx)
			cx, sx = build(tt.before, tt.then)
			if tt.then == nil {
				cx, sx = build()
			}
			if resumed, cerr, serr := resumes(t, cx, sx, session); resumed != tt.want {
				t.Errorf("%s, %v: resumed %v (client: %v, server: %v)", tt.name, version, resumed, cerr, serr)
			}
		}
	}
}

// TestRevokedSession: whose certificate was revoked meanwhile is not known again by a session, but shows it, and is refused (P39).
func TestRevokedSession(t *testing.T) {
	ca := newAuthority(t, "ca", nil, newKey(t))
	serial := big.NewInt(1234567)
	until := time.Now().Add(500 * time.Hour)
	server := ca.issue(x509.Certificate{SerialNumber: serial, DNSNames: []string{"localhost"}})
	client := ca.issue(x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "client"}})
	for _, version := range versions {
		for _, who := range []string{"client", "server"} {
			build := func(lists ...[]byte) (cx, sx *Context) {
				c := Config{CAPEM: ca.pem, Certificates: []Certificate{client}, MaxVersion: version}
				s := Config{CAPEM: ca.pem, Certificates: []Certificate{server}, Verify: VerifyRequire, TicketKeys: [][]byte{ticketKey(1, 80)}}
				if who == "client" {
					s.CRLPEM = bytes.Join(lists, nil)
				} else {
					c.CRLPEM = bytes.Join(lists, nil)
				}
				return mustClient(t, c), mustServer(t, s)
			}
			none, revoked := ca.revoke(until), ca.revoke(until, big.NewInt(7), serial)
			cx, sx := build(none)
			session := ticketOf(t, cx, sx)
			cx, sx = build(ca.revoke(until, big.NewInt(7)))
			if resumed, cerr, serr := resumes(t, cx, sx, session); !resumed {
				t.Errorf("%v, another than the %s is revoked: not resumed (client: %v, server: %v)", version, who, cerr, serr)
			}
			for _, lists := range [][][]byte{{none, revoked}, {revoked, none}} { // OpenSSL chooses one for the full handshake
				cx, sx = build(lists...)
				if resumed, _, _ := resumes(t, cx, sx, session); resumed {
					t.Errorf("%v, the %s is revoked by one of two lists: resumed", version, who)
				}
			}
			cx, sx = build(revoked)
			_, cerr, serr := resumes(t, cx, sx, session)
			refusal := serr
			if who == "server" {
				refusal = cerr
			}
			failedWith(t, refusal, tlsio.AlertCertificateRevoked)
		}
	}
}
