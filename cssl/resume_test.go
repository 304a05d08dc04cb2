package cssl

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestResumption resumes by ticket and by the server's cache, with and without client certificates (P22).
func TestResumption(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(c, s *Config)
		want   [2]bool // TLS 1.2, 1.3
	}{
		{"ticket", func(c, s *Config) {}, [2]bool{true, true}},
		{"no tickets", func(c, s *Config) { s.NoTickets = true }, [2]bool{false, false}},
		{"no tickets for the client", func(c, s *Config) { c.NoTickets = true }, [2]bool{false, false}},
		{"cache", func(c, s *Config) { s.NoTickets, s.SessionCache = true, 10 }, [2]bool{true, false}},
		{"mTLS", func(c, s *Config) {
			s.CAFile, s.Verify = testcerts.Path("root.pem"), VerifyRequire
			c.Certificates = serverConfig("client").Certificates
		}, [2]bool{true, true}},
	} {
		for i, version := range versions {
			t.Run(tt.name+"/"+version.String(), func(t *testing.T) {
				c, s := clientUpTo(version), serverConfig("ecdsa")
				tt.change(&c, &s)
				cx, sx := mustClient(t, c), mustServer(t, s)
				p := newPair(t, cx, sx).opened()
				check(t, !p.client.State().Resumed && !p.server.State().Resumed, "the first handshake is said to be resumed")
				q := p.again(cx, sx, "localhost")
				check(t, q.client.State().Resumed == tt.want[i] && q.server.State().Resumed == tt.want[i],
					"client resumed %v, server %v, want %v", q.client.State().Resumed, q.server.State().Resumed, tt.want[i])
				equal(t, knows(t, q.server) > 0, tt.name == "mTLS", "the server knows the client after the resumption")
				check(t, q.client.State().VerifyError == nil && q.server.State().VerifyError == nil,
					"verify results: %v, %v", q.client.State().VerifyError, q.server.State().VerifyError)
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
		wants(t, "the handshake is not done", p.server.Handshake(), tlsio.WantNone)
		equal(t, len(records(t, p.buf[:p.server.Take(p.buf)])), want, "tickets")
	}
}

// TestCacheIsBounded: the cache for TLS 1.2 holds no more than it was given. Sessions of TLS 1.3 are not put into it with
// NoTickets, since it would grow without a bound (P24, CVE-2024-2511).
func TestCacheIsBounded(t *testing.T) {
	for _, version := range versions {
		s := serverConfig("ecdsa")
		s.NoTickets, s.SessionCache, s.MaxVersion = true, 3, version
		cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
		for range 20 {
			p := newPair(t, cx, sx).opened()
			equal(t, p.client.Session() != nil, version == TLS12, "%v: a session can be resumed", version)
		}
		n := sx.cached()
		check(t, version == TLS12 && n > 0 && n <= 3 || version == TLS13 && n == 0, "%v: %d sessions are cached", version, n)
	}
}

// TestNoResumptionAcrossNames: a session with one name, offered for another name, must
// not make the client believe that it talks to the other (P22).
func TestNoResumptionAcrossNames(t *testing.T) {
	for _, version := range versions {
		for _, verify := range []VerifyMode{VerifyDefault, VerifyNone} {
			c, s := clientUpTo(version), serverConfig("ecdsa")
			c.Verify = verify
			cx := mustClient(t, c)
			s.SNI = map[string]*Context{"other.test": mustServer(t, serverConfig("wrongname"))} // which is for other.test
			sx := mustServer(t, s)
			p := newPair(t, cx, sx).opened()
			q := p.again(cx, sx, "other.test")
			check(t, !q.client.State().Resumed, "%v: the session is resumed for another name", version)
			tlstest.Must(t, leaf(t, q.client).VerifyHostname("other.test"))
			// The same server without a choice of names: only the client can tell.
			sx = mustServer(t, serverConfig("ecdsa"))
			_, cerr, _ := shakeAs(t, cx, sx, ConnConfig{ServerName: "other.test", Session: p.client.Session()})
			check(t, (cerr == nil) == (verify == VerifyNone), "%v: the handshake for another name: %v", version, cerr)
		}
	}
}

// TestNoResumptionAcrossDemands: a session that was made without checks does not help past them, and one whose peer only the
// system's CAs vouch for is not resumed by a Context that does not trust those (P22).
func TestNoResumptionAcrossDemands(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", writeFile(t, "system.pem", string(testcerts.Read(t, "root.pem"))))
	other, sx := testcerts.Read(t, "other-root.pem"), mustServer(t, serverConfig("ecdsa"))
	trusting := Config{CAPEM: other, SystemCAs: true}
	for name, tt := range map[string]struct{ lax, strict Config }{
		"checks in TLS 1.2": {Config{Verify: VerifyNone, MaxVersion: TLS12}, clientUpTo(TLS12)},
		"checks in TLS 1.3": {Config{Verify: VerifyNone}, clientConfig()},
		"other CAs":         {trusting, Config{CAPEM: other}},
		"lesser depth":      {trusting, Config{CAPEM: other, SystemCAs: true, VerifyDepth: 1}},
		"other rules":       {trusting, Config{CAPEM: other, SystemCAs: true, SignatureAlgorithms: "ECDSA+SHA256"}},
	} {
		session := ticketOf(t, mustClient(t, tt.lax), sx)
		p, _, _ := shakeAs(t, mustClient(t, tt.strict), sx, ConnConfig{ServerName: "localhost", Session: session})
		check(t, !p.client.State().Resumed, "%s: resumed", name)
	}
}

// TestVerifyPeerResumed: nobody is asked about a session that is resumed, and where there is nobody to ask, or
// somebody else, it is not resumed.
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
			resumed, cerr, serr := resumes(t, cx, x, session)
			noErrors(t, cerr, serr)
			check(t, resumed == (x != plain) && asked == 0, "%v, %s: resumed %v, asked %d times", v, name, resumed, asked)
		}
		session = ticketOf(t, cx, strict)
		resumed, cerr, serr := resumes(t, cx, strict, session)
		check(t, resumed, "%v, the same name: not resumed: %v, %v", v, cerr, serr)
		p, _, err := shakeAs(t, cx, strict, ConnConfig{InsecureSkipNameCheck: true, Session: session})
		check(t, !p.server.State().Resumed && errors.Is(err, mine), "%v, another name: resumed %v, %v", v, p.server.State().Resumed, err)
	}
}

// ticketKey is a key of n bytes.
func ticketKey(seed byte, n int) []byte { return bytes.Repeat([]byte{seed}, n) }

// TestTicketKeys: servers that share keys resume each other's sessions, also behind a change by server name; an older key still
// decrypts, a foreign one leads to a full handshake. Without keys a ticket is good for the Context that made it, and no other.
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
		{"none", nil, nil, false},
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
					cx := mustClient(t, Config{MaxVersion: version, Verify: VerifyNone})
					p := newPair(t, cx, server(tt.issuer), ConnConfig{ServerName: name}).opened()
					q := p.again(cx, server(tt.later), name)
					for _, c := range []*Conn{q.client, q.server} {
						equal(t, c.State().Resumed, tt.resumed, "%s, %v, %d bytes, %s: resumed", tt.name, version, size, name)
					}
				}
			}
		}
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
	tlstest.Must(t, err)
	return der
}

// TestStaple: a client gets the response that belongs to the certificate that it gets, and none where there is none.
func TestStaple(t *testing.T) {
	withOCSP := serverConfig("ecdsa").Certificates[0]
	withOCSP.OCSP = ocspResponse(t, 0)
	s := Config{Certificates: []Certificate{serverConfig("rsa").Certificates[0], withOCSP}}
	s.SNI = map[string]*Context{"sni.test": mustServer(t, serverConfig("ecdsa"))}
	sx := mustServer(t, s)
	const ecdsa, rsa = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	for _, tt := range []struct {
		name  string
		suite uint16
		want  []byte
	}{{"localhost", ecdsa, withOCSP.OCSP}, {"localhost", rsa, nil}, {"sni.test", ecdsa, nil}} {
		c := &tls.Config{InsecureSkipVerify: true, ServerName: tt.name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tt.suite}}
		got := readWithGo(t, sx, c).OCSPResponse
		check(t, bytes.Equal(got, tt.want), "%s, %s: stapled %x, want %x", tt.name, tls.CipherSuiteName(tt.suite), got, tt.want)
	}
}

// TestChainStaples: a client of TLS 1.3 gets the response about each certificate of the chain, one of TLS 1.2 that about the leaf. Where OpenSSL
// has no such thing, more than one response is refused.
func TestChainStaples(t *testing.T) {
	root := newAuthority(t, "root", nil, newKey(t))
	upper := newAuthority(t, "upper", root, newKey(t))
	lower := newAuthority(t, "lower", upper, newKey(t))
	cert := lower.issue(x509.Certificate{DNSNames: []string{"localhost"}}, lower, upper)
	der := make([][]byte, 3)
	for i := range der {
		der[i] = ocspResponse(t, 0)
		der[i][len(der[i])-1] = byte('0' + i)
	}
	client := Config{CAPEM: root.pem, Staples: true}
	for _, n := range []int{1, 2, 3, 4} {
		cert.OCSP = bytes.Join(append(der, der[0])[:n], nil)
		s := Config{Certificates: []Certificate{cert}}
		if linked.Run.series() < 0x306 && n > 1 {
			_, err := NewServerContext(s)
			var lacks *VersionError
			check(t, errors.As(err, &lacks) && lacks.Needs == "3.6", "%d responses: %v", n, err)
			checkConfigError(t, "responses", err, "Certificates[0].OCSP")
			continue
		}
		if n > len(der) {
			wantConfigError(t, s, "Certificates[0].OCSP", "has 4 responses for a chain of 3")
			continue
		}
		for _, version := range versions {
			client.MaxVersion = version
			got := pairOf(t, client, s).shaken().client.State()
			check(t, bytes.Equal(got.OCSP, der[0]), "%v, %d responses: the leaf's is %q", version, n, got.OCSP)
			want := der[1:n]
			if version == TLS12 {
				want = nil
			}
			check(t, len(got.ChainOCSP) >= len(want) && bytes.Equal(bytes.Join(got.ChainOCSP, nil), bytes.Join(want, nil)),
				"%v, %d responses: the others are %q", version, n, got.ChainOCSP)
		}
	}
}

// TestTicketsAndStaplesRefused: what cannot be used is refused with the setting's name, and no key is in the message.
func TestTicketsAndStaplesRefused(t *testing.T) {
	staple := func(der []byte) func(*Config) { return func(c *Config) { c.Certificates[0].OCSP = der } }
	keys := func(keys ...[]byte) func(*Config) { return func(c *Config) { c.TicketKeys = keys } }
	missing := func(c *Config) { c.Certificates[0].OCSPFile = testcerts.Path("no-such-file.der") }
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"short key", keys([]byte("SECRET")), "TicketKeys[0]", ""},
		{"mixed lengths", keys(ticketKey('S', 48), ticketKey('S', 80)), "TicketKeys[1]", ""},
		{"not DER", staple([]byte("nonsense")), "Certificates[0].OCSP", ""},
		{"try later", staple(ocspResponse(t, 3)), "Certificates[0].OCSP", ""},
		{"more behind it", staple(append(ocspResponse(t, 0), 0)), "Certificates[0].OCSP", ""},
		{"no such file", missing, "Certificates[0].OCSPFile", ""},
		{"file and memory", func(c *Config) {
			missing(c)
			staple([]byte{1})(c)
		}, "Certificates[0].OCSPFile", ""},
	}, "SECRET", "SSSS")
	client := clientConfig()
	client.Certificates = serverConfig("client").Certificates
	checkRefusals(t, false, client, []wrongConfig{
		{"a client's keys", keys(ticketKey(1, 48)), "TicketKeys", ""},
		{"a client's staple", staple(ocspResponse(t, 0)), "Certificates[0].OCSP", ""},
	})
}

// TestRenewal: a session is good after a renewal of certificates and revocation lists, of either side, and ends when
// names, trust or demands change (P39).
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
			resumed, cerr, serr := resumes(t, cx, sx, session)
			check(t, resumed == tt.want, "%s, %v: resumed %v (client: %v, server: %v)", tt.name, version, resumed, cerr, serr)
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
			resumed, cerr, serr := resumes(t, cx, sx, session)
			check(t, resumed, "%v, another than the %s is revoked: not resumed: %v, %v", version, who, cerr, serr)
			for _, lists := range [][][]byte{{none, revoked}, {revoked, none}} { // OpenSSL chooses one for the full handshake
				cx, sx = build(lists...)
				resumed, _, _ = resumes(t, cx, sx, session)
				check(t, !resumed, "%v, the %s is revoked by one of two lists: resumed", version, who)
			}
			cx, sx = build(revoked)
			_, cerr, serr = resumes(t, cx, sx, session)
			failedWith(t, map[string]error{"client": serr, "server": cerr}[who], tlsio.AlertCertificateRevoked)
		}
	}
}

// stores are the ways in which a server keeps sessions.
var stores = []struct {
	name    string
	version TLSVersion
	change  func(s *Config)
}{
	{"ticket", TLS12, func(s *Config) {}},
	{"ticket", TLS13, func(s *Config) {}},
	{"cache", TLS12, func(s *Config) { s.NoTickets, s.SessionCache = true, 10 }},
	{"cache for early data", TLS13, func(s *Config) { s.MaxEarlyData = 100 }},
}

// TestSessionEndsWithCertificate: nobody resumes whose certificate, or one of a CA above it, has run out; here it has
// from the beginning, and the application accepts it all the same (P40).
func TestSessionEndsWithCertificate(t *testing.T) {
	past := x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	root := newAuthority(t, "root", nil, newKey(t))
	good := newAuthority(t, "intermediate", root, newKey(t))
	old := *good
	template := past
	template.Subject, template.IsCA, template.BasicConstraintsValid, template.KeyUsage = good.cert.Subject, true, true, x509.KeyUsageCertSign
	old.cert, old.pem = root.sign(&template, good.key)
	names := x509.Certificate{Subject: pkix.Name{CommonName: "client"}, DNSNames: []string{"localhost"}}
	ended := names
	ended.NotBefore, ended.NotAfter = past.NotBefore, past.NotAfter
	for what, cert := range map[string]Certificate{
		"valid": good.issue(names, good), "leaf": good.issue(ended, good), "CA": old.issue(names, &old),
	} {
		for _, store := range stores {
			for _, who := range []string{"client", "server"} {
				asked := 0
				accept := func(v *PeerVerification) { asked++; v.Accept() }
				c := Config{CAPEM: root.pem, Certificates: []Certificate{good.issue(names, good)}, MaxVersion: store.version}
				s := Config{CAPEM: root.pem, Certificates: []Certificate{good.issue(names, good)}, Verify: VerifyRequire}
				judged, judge := &c, &s
				if who == "server" {
					judged, judge = &s, &c
				}
				judged.Certificates = []Certificate{cert}
				judge.Verify, judge.VerifyPeer = VerifyApplication, accept
				store.change(&s)
				cx, sx := mustClient(t, c), mustServer(t, s)
				session := ticketOf(t, cx, sx)
				demand(t, asked == 1, "asked %d times", asked)
				resumed, cerr, serr := resumes(t, cx, sx, session)
				if cerr != nil || serr != nil || resumed != (what == "valid") || resumed == (asked == 2) {
					t.Errorf("%v %s, %s of the %s: resumed %v, asked %d times, client: %v, server: %v",
						store.version, store.name, what, who, resumed, asked, cerr, serr)
				}
			}
		}
	}
}

// TestSessionOutlivesUnverified: a certificate that nobody verifies does not end a
// session when it runs out.
func TestSessionOutlivesUnverified(t *testing.T) {
	ca := newAuthority(t, "ca", nil, newKey(t))
	ended := ca.issue(x509.Certificate{DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for _, store := range stores {
		s := Config{Certificates: []Certificate{ended}}
		store.change(&s)
		cx, sx := mustClient(t, Config{Verify: VerifyNone, MaxVersion: store.version}), mustServer(t, s)
		resumed, cerr, serr := resumes(t, cx, sx, ticketOf(t, cx, sx))
		check(t, resumed, "%v %s: not resumed (client: %v, server: %v)", store.version, store.name, cerr, serr)
	}
}

// clockShift is the variable of the environment by which the clock of a process
// with shiftedClock is ahead, in seconds.
const clockShift = "CSSL_CLOCK_SHIFT"

// shiftedClock is C's clock, which OpenSSL and cssl look at and Go does not.
const shiftedClock = `
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + atol(getenv("` + clockShift + `"));
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	if (t != NULL)
		*t = now.tv_sec;
	return now.tv_sec;
}
`

// TestSessionLifetime: sessions that are resumed again and again, each time with
// the ticket that came last, end all the same, on whichever side the bound is
// (P40). It runs this test's program with a clock that it shifts.
func TestSessionLifetime(t *testing.T) {
	if os.Getenv(clockShift) == "" {
		out, err := runPreloaded(t, sharedObject(t, "clock.so", shiftedClock), clockShift+"=0")
		check(t, err == nil, "%v\n%s", err, out)
		return
	}
	const step = 25 * time.Minute
	for _, store := range stores {
		for _, who := range []string{"client", "server"} {
			t.Run(fmt.Sprintf("%v %s, %s", store.version, store.name, who), func(t *testing.T) {
				t.Setenv(clockShift, "0")
				c, s := clientUpTo(store.version), serverConfig("ecdsa")
				store.change(&s)
				if who == "client" {
					c.SessionLifetime = time.Hour
				} else {
					s.SessionLifetime = time.Hour
				}
				cx, sx := mustClient(t, c), mustServer(t, s)
				session := ticketOf(t, cx, sx)
				for age := step; age <= 3*step; age += step {
					t.Setenv(clockShift, strconv.Itoa(int(age/time.Second)))
					p := earlyPair(t, cx, sx, session)
					p.opened()
					equal(t, p.server.State().Resumed, age < time.Hour, "after %v: resumed", age)
					session = p.client.Session()
					p.client.Close()
					p.server.Close()
				}
			})
		}
	}
}

// element finds an optional field in the ASN.1 form of an SSL_SESSION; what is written to it changes the session.
func element(t testing.TB, der []byte, tag int) []byte {
	t.Helper()
	var seq asn1.RawValue
	tlstest.Value(asn1.Unmarshal(der, &seq))(t)
	for rest := seq.Bytes; len(rest) > 0; {
		var e, inner asn1.RawValue
		rest = tlstest.Value(asn1.Unmarshal(rest, &e))(t)
		if e.Class == asn1.ClassContextSpecific && e.Tag == tag {
			tlstest.Value(asn1.Unmarshal(e.Bytes, &inner))(t)
			return inner.Bytes
		}
	}
	t.Fatalf("the session has no element %d", tag)
	return nil
}

// The fields that a test changes or reads.
const (
	tagLifetimeHint = 9
	tagTicket       = 10
	tagLife         = 18 // when the session began, and until when its certificates are valid
)

// withTicket lets f change the session in a ticket that was encrypted with key.
func withTicket(t testing.TB, ticket, key []byte, f func(der []byte)) {
	t.Helper()
	block := tlstest.Value(aes.NewCipher(key[48:80]))(t)
	iv, sealed, tag := ticket[16:32], ticket[32:len(ticket)-32], ticket[len(ticket)-32:]
	mac := hmac.New(sha256.New, key[16:48])
	mac.Write(ticket[:len(ticket)-32])
	demand(t, bytes.Equal(mac.Sum(nil), tag), "the ticket is of another key")
	der := bytes.Clone(sealed)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(der, der)
	f(der)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, der)
	mac.Reset()
	mac.Write(ticket[:len(ticket)-32])
	copy(tag, mac.Sum(nil))
}

// TestSessionAge: a session that is older than it may be, or whose certificates have run out, is not offered by a
// client, and not resumed by a server; a ticket that renews another one carries its age on (P40).
func TestSessionAge(t *testing.T) {
	key, newer := ticketKey(1, 80), ticketKey(2, 80)
	for _, tt := range []struct {
		lifetime, age, left time.Duration // left is what the certificates have; 0: as long as they have
		want                bool
	}{
		{0, 0, 0, true},
		{0, 23 * time.Hour, 0, true},
		{0, 25 * time.Hour, 0, false},
		{time.Hour, 50 * time.Minute, 0, true},
		{time.Hour, 70 * time.Minute, 0, false},
		{7 * 24 * time.Hour, 167 * time.Hour, 0, true},
		{7 * 24 * time.Hour, 169 * time.Hour, 0, false},
		{0, time.Hour, 10 * time.Minute, true},
		{0, time.Hour, -time.Minute, false},
	} {
		for _, version := range versions {
			for _, who := range []string{"client", "server"} {
				s, c := mutual(version)
				s.TicketKeys = [][]byte{key}
				c.SessionLifetime, s.SessionLifetime = tt.lifetime, tt.lifetime
				cx, sx := mustClient(t, c), mustServer(t, s)
				s.TicketKeys = [][]byte{newer, key} // so that a ticket is renewed
				sx2 := mustServer(t, s)
				// life lets f change what the client or the server knows of a session's life.
				life := func(s *Session, key []byte, f func(life []byte)) {
					if who == "client" {
						f(element(t, s.der, tagLife))
					} else {
						withTicket(t, element(t, s.der, tagTicket), key, func(der []byte) { f(element(t, der, tagLife)) })
					}
				}
				session := ticketOf(t, cx, sx)
				var was, is []byte
				life(session, key, func(p []byte) {
					binary.BigEndian.PutUint64(p, binary.BigEndian.Uint64(p)-uint64(tt.age/time.Second))
					if tt.left != 0 {
						binary.BigEndian.PutUint64(p[8:], uint64(time.Now().Add(tt.left).Unix()))
					}
					was = bytes.Clone(p)
				})
				p := earlyPair(t, cx, sx2, session)
				p.opened()
				resumed := p.server.State().Resumed
				check(t, resumed == tt.want, "%v, %s: %+v: resumed %v", version, who, tt, resumed)
				if !resumed {
					continue
				}
				next := p.client.Session()
				life(next, newer, func(p []byte) { is = p })
				check(t, bytes.Equal(is, was), "%s: %+v: the new ticket has the life %x, the old one %x", who, tt, is, was)
				if who == "client" || version == TLS12 { // in which the hint is not repeated
					continue
				}
				most := cmp.Or(tt.lifetime, 24*time.Hour) - tt.age
				if tt.left != 0 {
					most = tt.left
				}
				hint := time.Duration(new(big.Int).SetBytes(element(t, next.der, tagLifetimeHint)).Int64()) * time.Second
				if hint <= 0 || hint > min(most, 2*time.Hour)+time.Second { // C's clock may be a tick behind Go's
					t.Errorf("%+v: the client is told %v", tt, hint)
				}
			}
		}
	}
}

// TestSessionLifetimeRefused: what is no life of a session is refused.
func TestSessionLifetimeRefused(t *testing.T) {
	for _, d := range []time.Duration{-time.Second, time.Millisecond, 7*24*time.Hour + 1} {
		checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
			{d.String(), func(c *Config) { c.SessionLifetime = d }, "SessionLifetime", ""}})
	}
}
