package cssl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// selfSigned is a certificate with its subject and DNS names, for a new key of a type ("EC", "RSA", "ED25519").
func selfSigned(t testing.TB, typ, subject string, names ...string) Certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	switch typ {
	case "EC":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ED25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key = rsaKey(t)
	}
	tlstest.Must(t, err)
	leaf := x509.Certificate{Subject: pkix.Name{CommonName: subject}, DNSNames: names}
	return (&authority{t: t, cert: &leaf, key: key}).issueFor(key, leaf)
}

// inFiles is c with its PEM in files that have this name.
func inFiles(t testing.TB, c Certificate, name string) Certificate {
	t.Helper()
	return Certificate{ChainFile: writeFile(t, name+".pem", string(c.ChainPEM)), KeyFile: writeFile(t, name+".key", string(c.KeyPEM))}
}

// subject is the common name of the certificate that a client gets which asks for a name, if only with these keys: "" is any.
func subject(t testing.TB, x *Context, name, sigalgs string, version TLSVersion) string {
	t.Helper()
	return subjectFor(t, x, name, Config{MinVersion: version, MaxVersion: version, SignatureAlgorithms: sigalgs})
}

// subjectFor is subject for a client with these settings.
func subjectFor(t testing.TB, x *Context, name string, c Config) string {
	t.Helper()
	c.Verify = VerifyNone
	p := newPair(t, mustClient(t, c), x, ConnConfig{ServerName: name, InsecureSkipNameCheck: true})
	if err := handshakeError(p); err != nil {
		return "error"
	}
	return leaf(t, p.client).Subject.CommonName
}

// pick is the certificate that a client gets which asks for a name, if only with these keys.
type pick struct{ name, sigalgs, want string }

// checkPicks demands these in both versions.
func checkPicks(t testing.TB, x *Context, all ...pick) {
	t.Helper()
	for _, v := range versions {
		for _, c := range all {
			equal(t, subject(t, x, c.name, c.sigalgs, v), c.want, "%v: %q with %q", v, c.name, c.sigalgs)
		}
	}
}

// What a client says that can do with one type of key only.
const onlyEC, onlyRSA = "ECDSA+SHA256", "RSA-PSS+SHA256:RSA+SHA256"

// TestSameKeyType: of two certificates with one type of key each is chosen by the names in it, and one that nobody would get is refused
// together with the name of the other (P47).
func TestSameKeyType(t *testing.T) {
	a, b := selfSigned(t, "EC", "first", "a.example"), selfSigned(t, "EC", "second", "b.example")
	x := mustServer(t, Config{Certificates: []Certificate{a, b}})
	checkPicks(t, x, pick{"a.example", "", "first"}, pick{"b.example", "", "second"}, pick{"B.Example.", "", "second"},
		pick{"c.example", "", "first"}, pick{"", "", "first"})
	again := inFiles(t, selfSigned(t, "EC", "renewed", "a.example"), "renewed")
	old := inFiles(t, a, "old")
	has := func(certs ...Certificate) func(*Config) { return func(c *Config) { c.Certificates = certs } }
	const first, second, third = "Certificates[0]", "Certificates[1]", "Certificates[2]"
	checkRefusals(t, true, Config{}, []wrongConfig{
		{"the same names", has(old, again), second, "old.pem"},
		{"as bytes", has(a, selfSigned(t, "RSA", "x"), selfSigned(t, "EC", "y", "a.example")), third, first},
		{"fewer names", has(selfSigned(t, "EC", "x", "a.example", "b.example"), a), second, first},
		{"no names", has(a, selfSigned(t, "EC", "x")), second, first},
		{"twice", has(a, a), second, first},
		{"both by one name", func(c *Config) { c.Names = map[string][]Certificate{"a.example": {old, again}} },
			`Names["a.example"][1]`, "old.pem"},
	})
	checkRefusals(t, false, Config{}, []wrongConfig{{"a client's", has(a, b), second, first}})
}

// TestOwnNames: among certificates that have names of their own the choice is by name first, then by what the client can do with.
func TestOwnNames(t *testing.T) {
	x := mustServer(t, Config{Certificates: []Certificate{
		selfSigned(t, "EC", "wild ec", "*.example"), selfSigned(t, "RSA", "a rsa", "a.example"),
		selfSigned(t, "EC", "b ec", "b.example"), selfSigned(t, "RSA", "b rsa", "b.example"),
		selfSigned(t, "EC", "later", "b.example", "later.example", "not*good.example", "*"),
	}})
	checkPicks(t, x, []pick{
		{"x.example", "", "wild ec"}, {"a.example", onlyRSA, "a rsa"},
		{"a.example", onlyEC, "wild ec"}, {"a.example", "", "a rsa"}, // the wildcard is good for this name too, and comes after it
		{"b.example", onlyEC, "b ec"}, {"b.example", onlyRSA, "b rsa"}, {"later.example", onlyEC, "later"},
		{"x.y.example", onlyEC, "wild ec"}, {"", onlyRSA, "a rsa"},
		{"later.example", onlyRSA, "error"}, {"x.example", onlyRSA, "error"}, // none rather than a wrong one
	}...)
	// The same names in all: OpenSSL chooses, as it does for one of each type.
	same := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "ec", "a.example"), selfSigned(t, "RSA", "rsa", "a.example")}})
	checkPicks(t, same, pick{"a.example", onlyEC, "ec"}, pick{"a.example", onlyRSA, "rsa"})
}

// TestNamesByClient: where a client can do with no certificate of the name that it asks for, it gets one of another entry that is good for
// that name too: of the wildcard, or of the Context's own with the name in it. What it can do with comes first, whatever else it prefers,
// and it never gets one for another name.
func TestNamesByClient(t *testing.T) {
	x := mustServer(t, Config{
		Certificates: []Certificate{selfSigned(t, "RSA", "own rsa", "own.example", "*.own.test", "a.sub.test"), selfSigned(t, "EC", "own ec", "far.test")},
		Names: map[string][]Certificate{
			"a.example":   {selfSigned(t, "EC", "a ec")},
			"b.example":   {selfSigned(t, "RSA", "b rsa")},
			"*.example":   {selfSigned(t, "RSA", "wild rsa"), selfSigned(t, "EC", "wild ec")},
			"own.example": {selfSigned(t, "EC", "given ec")},
			"x.own.test":  {selfSigned(t, "EC", "x ec")},
			"*.sub.test":  {selfSigned(t, "EC", "sub ec")},
			"alone.test":  {selfSigned(t, "EC", "alone ec")},
		},
	})
	single := mustServer(t, Config{
		Certificates: []Certificate{selfSigned(t, "RSA", "own rsa", "a.example", "x.wild.example")},
		Names:        map[string][]Certificate{"a.example": {selfSigned(t, "EC", "a ec")}, "*.wild.example": {selfSigned(t, "EC", "wild ec")}},
	})
	ask := func(x *Context, name string, client Config, version TLSVersion, want string) {
		t.Helper()
		client.MinVersion, client.MaxVersion = version, version
		equal(t, subjectFor(t, x, name, client), want, "%v: %q with %q %q", version, name, client.SignatureAlgorithms, client.CipherList)
	}
	for _, v := range versions {
		for _, tt := range []struct{ name, both, ec, rsa string }{
			{"a.example", "a ec", "a ec", "wild rsa"},
			{"b.example", "b rsa", "wild ec", "b rsa"},
			{"own.example", "given ec", "given ec", "own rsa"},
			{"x.own.test", "x ec", "x ec", "own rsa"},
			{"y.own.test", "own rsa", "error", "own rsa"},
			{"y.sub.test", "sub ec", "sub ec", "error"},
			{"a.sub.test", "own rsa", "sub ec", "own rsa"},
			{"alone.test", "alone ec", "alone ec", "error"},
			{"far.test", "own ec", "own ec", "error"},
		} {
			ask(x, tt.name, Config{}, v, tt.both)
			ask(x, tt.name, Config{SignatureAlgorithms: onlyEC}, v, tt.ec)
			ask(x, tt.name, Config{SignatureAlgorithms: onlyRSA}, v, tt.rsa)
			if v == TLS12 { // what a client of old says by its cipher suites
				ask(x, tt.name, Config{CipherList: "ECDHE-ECDSA-AES128-GCM-SHA256"}, v, tt.ec)
				ask(x, tt.name, Config{CipherList: "ECDHE-RSA-AES128-GCM-SHA256"}, v, tt.rsa)
			}
		}
	}
	checkPicks(t, single, pick{"a.example", "", "a ec"}, pick{"a.example", onlyRSA, "own rsa"}, pick{"x.wild.example", "", "wild ec"},
		pick{"x.wild.example", onlyRSA, "own rsa"}, pick{"y.wild.example", onlyRSA, "error"})
}

// TestNames: the certificates of Config.Names are chosen exactly, by a wildcard, or not at all, whatever names are in them.
func TestNames(t *testing.T) {
	c := Config{
		Certificates: []Certificate{selfSigned(t, "EC", "default"), selfSigned(t, "RSA", "default rsa")},
		Names: map[string][]Certificate{
			"a.example.org":    {selfSigned(t, "EC", "exact"), selfSigned(t, "RSA", "exact rsa")},
			"*.example.org":    {selfSigned(t, "EC", "wild")},
			"*.A.example.org.": {selfSigned(t, "EC", "deep")},
			"Aa.example":       {inFiles(t, selfSigned(t, "EC", "file"), "file")},
			"aaa.example":      {selfSigned(t, "RSA", "only rsa")},
		},
	}
	x := mustServer(t, c)
	nothing := c
	nothing.Certificates = nil
	without := mustServer(t, nothing)
	for _, c := range []pick{
		{"a.example.org", onlyEC, "exact"}, {"a.example.org", onlyRSA, "exact rsa"}, {"A.EXAMPLE.org", onlyEC, "exact"},
		{"a.example.org.", onlyEC, "exact"}, {"b.example.org", "", "wild"}, {"x.a.example.org", "", "deep"}, {"aa.example", "", "file"},
		{"aaa.example", "", "only rsa"}, {"y.x.a.example.org", onlyEC, "default"}, {"example.org", onlyEC, "default"},
		{"other.test", onlyRSA, "default rsa"}, {"a", onlyEC, "default"}, {"", onlyEC, "default"}, {"aaa.example", onlyEC, "error"},
		{"b.example.org", onlyRSA, "error"}, {strings.Repeat("a.", 124) + "example", onlyEC, "default"},
	} {
		checkPicks(t, x, c)
		if strings.HasPrefix(c.want, "default") {
			c.want = "error"
		}
		checkPicks(t, without, c)
	}
}

// TestNamesRefused: each fault is told with the place of the setting, and leaves nothing.
func TestNamesRefused(t *testing.T) {
	good, other := selfSigned(t, "EC", "good"), selfSigned(t, "EC", "other")
	named := func(name string, certs ...Certificate) func(*Config) {
		return func(c *Config) { c.Names = map[string][]Certificate{"a.example": {other}, name: certs} }
	}
	sni := mustServer(t, Config{Certificates: []Certificate{good}})
	checkRefusals(t, true, Config{Certificates: []Certificate{good}}, []wrongConfig{
		{"bad name", named("a*.example", good), "Names", "a*.example"},
		{"another spelling", named("A.example.", good), "Names", "another spelling"},
		{"none", named("b.example"), "Names", "has no certificate"},
		{"no such file", named("b.example", Certificate{ChainFile: "/no/chain"}), `Names["b.example"][0].ChainFile`, "/no/chain"},
		{"other key", named("b.example", Certificate{ChainPEM: good.ChainPEM, KeyPEM: other.KeyPEM}), `Names["b.example"][0]`, "mismatch"},
		{"too weak", func(c *Config) {
			named("b.example", selfSigned(t, "RSA", "2048"))(c)
			c.CipherList = "DEFAULT:@SECLEVEL=3"
		}, `Names["b.example"][0]`, "too small"},
		{"in SNI too", func(c *Config) {
			named("b.example", good)(c)
			c.SNI = map[string]*Context{"B.example.": sni}
		}, "SNI", "B.example."},
		{"not a response", named("b.example", Certificate{ChainPEM: good.ChainPEM, KeyPEM: good.KeyPEM, OCSP: []byte("x")}),
			`Names["b.example"][0].OCSP`, "OCSP"},
	})
	checkRefusals(t, false, clientConfig(), []wrongConfig{{"a client", named("b.example", good), "Names", ""}})
}

// oneSession is a client's cache with room for one session, which it offers to any server.
type oneSession struct{ session *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.session, o.session != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState)    { o.session = s }

// nameResumes reports whether a client of crypto/tls resumes its session with a server; afterwards it has a new one.
func nameResumes(t *testing.T, sx *Context, name string, version TLSVersion, o *oneSession) bool {
	t.Helper()
	return readWithGo(t, sx, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: uint16(version), MaxVersion: uint16(version),
		ClientSessionCache: o}).DidResume
}

// TestNoResumptionAcrossServerNames: with one Context for many names, a session is good for the name alone that it was made with, if
// another has the same certificate too; it stays good when the Context is built anew (P22).
func TestNoResumptionAcrossServerNames(t *testing.T) {
	shared := selfSigned(t, "EC", "shared")
	s := Config{Certificates: []Certificate{shared}, TicketKeys: [][]byte{ticketKey(1, 48)},
		Names: map[string][]Certificate{"a.example": {shared}, "b.example": {shared}, "*.c.example": {shared}}}
	first := mustServer(t, s)
	s.Previous = first
	asks := s
	asks.ClientHello = func(h *ClientHello) { h.Accept(nil) }
	for how, second := range map[string]*Context{"same": first, "built anew": mustServer(t, s), "asks": mustServer(t, asks)} {
		for _, version := range versions {
			for _, tt := range []struct {
				made, offered string
				want          bool
			}{
				{"a.example", "a.example", true}, {"a.example", "A.EXAMPLE", true}, {"x.c.example", "x.c.example", true}, {"other", "other", true},
				{"a.example", "b.example", false}, {"a.example", "other", false}, {"other", "a.example", false},
				{"x.c.example", "a.example", false}, {"a.example", "127.0.0.1", false}, {"127.0.0.1", "a.example", false},
			} {
				var o oneSession
				demand(t, !nameResumes(t, first, tt.made, version, &o) && o.session != nil, "%v: no session was made", version)
				equal(t, nameResumes(t, second, tt.offered, version, &o), tt.want,
					"%s, %v: made for %q, offered for %q: resumed", how, version, tt.made, tt.offered)
			}
		}
	}
}

// TestNamesStaple: each name's certificate has its own OCSP response.
func TestNamesStaple(t *testing.T) {
	ca := newAuthority(t, "ca", nil, newKey(t)) // from 3.6 on OpenSSL staples nothing to what is self-signed
	own, a, b := ca.issue(x509.Certificate{}), ca.issue(x509.Certificate{}), ca.issue(x509.Certificate{})
	own.OCSP, a.OCSP = ocspResponse(t, 0), ocspResponse(t, 0)
	x := mustServer(t, Config{Certificates: []Certificate{own}, Names: map[string][]Certificate{"a.example": {a}, "b.example": {b}}})
	for _, tt := range []struct {
		name    string
		stapled bool
	}{{"a.example", true}, {"b.example", false}, {"other.example", true}} {
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := tls.Config{ServerName: tt.name, InsecureSkipVerify: true, MaxVersion: v}
			got := readWithGo(t, x, &c).OCSPResponse
			check(t, (len(got) > 0) == tt.stapled, "%s: stapled %x", tt.name, got)
		}
	}
}

// TestNamesToken: a key in a token serves by name, next to one that is none.
func TestNamesToken(t *testing.T) {
	tok, l := tokenLibrary(t)
	s := Config{Library: l, Certificates: []Certificate{selfSigned(t, "EC", "default")}, Names: map[string][]Certificate{
		"token.example": uriConfig("ecdsa", "token:ec", pin(tokenPIN), l).Certificates,
		"plain.example": {selfSigned(t, "EC", "plain")},
	}}
	x := mustServer(t, s)
	for _, v := range versions {
		before := tok.Signatures(t)
		got := subject(t, x, "token.example", "", v)
		check(t, got != "error" && got != "default" && got != "plain", "%v: the token's name gets %q", v, got)
		equal(t, tok.Signatures(t)-before, 1, "%v: signatures of the token", v)
		equal(t, subject(t, x, "plain.example", "", v), "plain", "%v: the other name", v)
	}
	s.Previous = x
	s.Names["token.example"][0].PIN = pin("wrong")
	fails(NewServerContext(s))(t, "the token is not asked again")
}

// TestNamesBehindContexts: a Context that SNI or the application chooses makes its own choice by name.
func TestNamesBehindContexts(t *testing.T) {
	inner := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "inner")},
		Names: map[string][]Certificate{"a.sub.example": {selfSigned(t, "EC", "inner a")}}})
	x := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "outer")}, SNI: map[string]*Context{"*.sub.example": inner},
		Names: map[string][]Certificate{"a.example": {selfSigned(t, "EC", "outer a")}}})
	asked := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "asked")}, ClientHello: func(h *ClientHello) { h.Accept(x) }})
	outer := []pick{{"a.example", "", "outer a"}, {"b.example", "", "outer"}}
	checkPicks(t, x, append(outer, pick{"a.sub.example", "", "inner a"}, pick{"b.sub.example", "", "inner"})...)
	checkPicks(t, asked, outer...)
}

// TestNamesFirstError: among faults of many names the first in order is told, though they are read at once; what comes later changes
// nothing, and nothing is left.
func TestNamesFirstError(t *testing.T) {
	good, other := selfSigned(t, "EC", "good"), selfSigned(t, "EC", "other")
	file := func(name string, content []byte) string { return writeFile(t, name, string(content)) }
	chain, key := file("good.pem", good.ChainPEM), file("good.key", good.KeyPEM)
	faults := []struct {
		c    Certificate
		text string
	}{
		{Certificate{ChainFile: file("no.pem", []byte("nothing")), KeyFile: key}, "no.pem"},
		{Certificate{ChainFile: chain, KeyFile: file("no.key", []byte("nothing"))}, "no.key"},
		{Certificate{ChainFile: chain, KeyFile: file("other.key", other.KeyPEM)}, "other.key"},
		{Certificate{ChainFile: "/none/missing.pem"}, "missing.pem"},
		{Certificate{ChainFile: chain, KeyFile: testcerts.Path("encrypted.key")}, "Passphrase is not set"},
	}
	none := noneMore(t)
	for first := range faults {
		s := Config{Names: map[string][]Certificate{}}
		for i := range 3 * ahead {
			s.Names[fmt.Sprintf("h%03d.example", i)] = []Certificate{selfSigned(t, "EC", "x")}
		}
		for i := range faults { // in another order each time
			s.Names[fmt.Sprintf("h%03d.example", ahead+10+i)] = []Certificate{faults[(first+i)%len(faults)].c}
		}
		s.Names["i*.example"] = []Certificate{good} // no name, and the last one
		_, err := NewServerContext(s)
		says(t, "the first fault", err, fmt.Sprintf(" Names[\"h%03d.example\"][0]", ahead+10), faults[first].text)
		none(faults[first].text)
	}
}

// TestNamesOneContext: thousands of names are one SSL_CTX, and the same files are one certificate.
func TestNamesOneContext(t *testing.T) {
	c, inFile := selfSigned(t, "EC", "default"), inFiles(t, selfSigned(t, "EC", "file"), "file")
	s := Config{Certificates: []Certificate{c}, Names: map[string][]Certificate{}}
	for i := range 3000 {
		s.Names[fmt.Sprintf("h%d.example", i)] = []Certificate{inFile}
	}
	contexts, certs := live.Contexts(), live.Certificates()
	x := mustServer(t, s)
	equal(t, live.Contexts()-contexts, 1, "SSL_CTX")
	equal(t, live.Certificates()-certs, 2, "certificates")
	checkPicks(t, x, pick{"h0.example", "", "file"}, pick{"h1500.example", "", "file"}, pick{"h2999.example", "", "file"},
		pick{"h3000.example", "", "default"}, pick{"h.example", "", "default"})
}

// TestTakenOver: a Context takes what has not changed from the one before it, so however often it is built anew there are no more
// certificates; what has changed is read.
func TestTakenOver(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) Certificate {
		return Certificate{ChainFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+".key")}
	}
	write := func(name string, c Certificate) {
		for ending, content := range map[string][]byte{".pem": c.ChainPEM, ".key": c.KeyPEM} {
			tlstest.Must(t, os.WriteFile(filepath.Join(dir, name+ending), content, 0o600))
		}
	}
	before := live.Certificates()
	s := Config{Certificates: []Certificate{selfSigned(t, "RSA", "own")}, Names: map[string][]Certificate{}}
	for i := range 20 {
		name := fmt.Sprintf("h%d", i)
		write(name, selfSigned(t, "EC", "old "+name))
		s.Names[name+".example"] = []Certificate{file(name)}
	}
	x := mustServer(t, s)
	first := live.Certificates() - before
	demand(t, first == 21, "%d certificates, want 21", first)
	for range 20 {
		s.Previous = x
		next := mustServer(t, s)
		equal(t, live.Certificates()-before, first, "certificates while there are two Contexts")
		for id, c := range x.state.certs.byText {
			check(t, next.state.certs.byText[id] == c, "a certificate is another one")
		}
		x.Close()
		x = next
	}
	write("h7", selfSigned(t, "EC", "new h7"))
	s.Previous = x
	next := mustServer(t, s)
	equal(t, live.Certificates()-before, first+1, "certificates after one has changed")
	checkPicks(t, next, pick{"h6.example", "", "old h6"}, pick{"h7.example", "", "new h7"})
	checkPicks(t, x, pick{"h7.example", "", "old h7"})
	x.Close()
	s.Previous = x // closed: all is read again
	again := mustServer(t, s)
	checkPicks(t, again, pick{"h7.example", "", "new h7"})
	// What is refused gives back what it took.
	s.Previous = next
	checkRefusals(t, true, s, []wrongConfig{
		{"nonsense", func(c *Config) { c.CipherList = "NONSENSE" }, "CipherList", ""},
		{"an empty protocol", func(c *Config) { c.ALPN = []string{""} }, "ALPN", ""},
	})
}

// TestSharedIntermediates: chains with the same intermediates share them, more kinds of them than are kept, and chains without.
func TestSharedIntermediates(t *testing.T) {
	var certs []Certificate
	for i := range 40 {
		c := selfSigned(t, "EC", fmt.Sprint(i))
		c.ChainPEM = bytes.Join([][]byte{c.ChainPEM, selfSigned(t, "EC", "ca").ChainPEM, testcerts.Read(t, "intermediate.pem")}[:1+i%3], nil)
		certs = append(certs, c, c)
	}
	s := Config{Certificates: certs[:1], Names: map[string][]Certificate{}}
	for i, c := range certs {
		s.Names[fmt.Sprintf("h%d.example", i)] = []Certificate{c}
	}
	x := mustServer(t, s)
	for i := range certs {
		state := readWithGo(t, x, &tls.Config{ServerName: fmt.Sprintf("h%d.example", i), InsecureSkipVerify: true})
		equal(t, len(state.PeerCertificates), 1+i/2%3, "h%d: certificates", i)
		equal(t, state.PeerCertificates[0].Subject.CommonName, fmt.Sprint(i/2), "h%d", i)
	}
}

// TestEncryptedKeyReadAgain: a reload fails as the next start would if the
// passphrase of an encrypted key is wrong by now.
func TestEncryptedKeyReadAgain(t *testing.T) {
	pass, asked := "secret", 0
	c := Certificate{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("encrypted.key"),
		Passphrase: func() ([]byte, error) { asked++; return []byte(pass), nil }}
	s := Config{Certificates: []Certificate{c}, Names: map[string][]Certificate{"a.example": {c}}}
	s.Previous = mustServer(t, s)
	mustServer(t, s)
	check(t, asked == 2, "asked %d times for two Contexts", asked)
	pass = "wrong"
	checkRefused(t, "with a wrong passphrase", true, s, "Certificates[0].KeyFile")
}

// TestPreviousClosedMeanwhile: the Context before can be closed while another is built that takes its certificates over, even if that
// waits.
func TestPreviousClosedMeanwhile(t *testing.T) {
	c := selfSigned(t, "EC", "taken over")
	s := Config{Certificates: []Certificate{c}}
	previous := mustServer(t, s)
	before := live.Certificates()
	s.Names = map[string][]Certificate{"a.example": {{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("encrypted.key"),
		Passphrase: func() ([]byte, error) { previous.Close(); return []byte("secret"), nil }}}}
	s.Previous = previous
	x := mustServer(t, s)
	equal(t, live.Certificates()-before, 1, "new certificates")
	equal(t, subject(t, x, "other", "", TLS13), "taken over", "got")
}
