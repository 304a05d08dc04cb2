package cssl

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// resumes makes a handshake for localhost that offers a session, and answers whether it was resumed, and how each side failed.
func resumes(t *testing.T, cx, sx *Context, s *Session) (resumed bool, cerr, serr error) {
	t.Helper()
	p, cerr, serr := shakeAs(t, cx, sx, ConnConfig{ServerName: "localhost", Session: s})
	if cerr != nil || serr != nil {
		return false, cerr, serr
	}
	c, s2 := p.client.State().Resumed, p.server.State().Resumed
	if c != s2 {
		t.Errorf("the client says resumed %v, the server %v", c, s2)
	}
	return c, nil, nil
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
