package cssl

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

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
	serial := tlstest.Value(rand.Int(rand.Reader, big.NewInt(1<<62)))(t)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: subject}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	keyDER := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(t)
	return Certificate{ChainPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})}
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
	chain, err := p.client.State().PeerCertificates()
	if err != nil || len(chain) == 0 {
		t.Fatalf("%q: %v", name, err)
	}
	return chain[0].Subject.CommonName
}

// TestSameKeyType: of two certificates with one type of key each is chosen by the names in it, and one that nobody would get is refused
// together with the name of the other (P47).
func TestSameKeyType(t *testing.T) {
	a, b := selfSigned(t, "EC", "first", "a.example"), selfSigned(t, "EC", "second", "b.example")
	x := mustServer(t, Config{Certificates: []Certificate{a, b}})
	for _, v := range versions {
		for name, want := range map[string]string{"a.example": "first", "b.example": "second", "B.Example.": "second", "c.example": "first", "": "first"} {
			if got := subject(t, x, name, "", v); got != want {
				t.Errorf("%v: %q gets %s, want %s", v, name, got, want)
			}
		}
	}
	again := inFiles(t, selfSigned(t, "EC", "renewed", "a.example"), "renewed")
	old := inFiles(t, a, "old")
	for name, tt := range map[string]struct {
		server      bool
		c           Config
		setting, in string
	}{
		"the same names":   {true, Config{Certificates: []Certificate{old, again}}, "Certificates[1]", "old.pem"},
		"as bytes":         {true, Config{Certificates: []Certificate{a, selfSigned(t, "RSA", "x"), selfSigned(t, "EC", "y", "a.example")}}, "Certificates[2]", "Certificates[0]"},
		"fewer names":      {true, Config{Certificates: []Certificate{selfSigned(t, "EC", "x", "a.example", "b.example"), a}}, "Certificates[1]", "Certificates[0]"},
		"no names":         {true, Config{Certificates: []Certificate{a, selfSigned(t, "EC", "x")}}, "Certificates[1]", "Certificates[0]"},
		"twice":            {true, Config{Certificates: []Certificate{a, a}}, "Certificates[1]", "Certificates[0]"},
		"a client's":       {false, Config{Certificates: []Certificate{a, b}}, "Certificates[1]", "Certificates[0]"},
		"both by one name": {true, Config{Names: map[string][]Certificate{"a.example": {old, again}}}, `Names["a.example"][1]`, "old.pem"},
	} {
		none := noneMore(t)
		checkRefused(t, name, tt.server, tt.c, tt.setting, tt.in)
		none(name)
	}
}

// TestOwnNames: among certificates that have names of their own the choice is by name first, then by what the client can do with.
func TestOwnNames(t *testing.T) {
	const ec, rsa = "ECDSA+SHA256", "RSA-PSS+SHA256:RSA+SHA256"
	x := mustServer(t, Config{Certificates: []Certificate{
		selfSigned(t, "EC", "wild ec", "*.example"), selfSigned(t, "RSA", "a rsa", "a.example"),
		selfSigned(t, "EC", "b ec", "b.example"), selfSigned(t, "RSA", "b rsa", "b.example"),
		selfSigned(t, "EC", "later", "b.example", "later.example", "not*good.example", "*"),
	}})
	for _, v := range versions {
		for _, tt := range []struct{ name, sigalgs, want string }{
			{"x.example", "", "wild ec"}, {"a.example", rsa, "a rsa"},
			{"a.example", ec, "wild ec"}, {"a.example", "", "a rsa"}, // the wildcard is good for this name too, and comes after it
			{"b.example", ec, "b ec"}, {"b.example", rsa, "b rsa"}, {"later.example", ec, "later"},
			{"x.y.example", ec, "wild ec"}, {"", rsa, "a rsa"},
			{"later.example", rsa, "error"}, {"x.example", rsa, "error"}, // none rather than a wrong one
		} {
			if got := subject(t, x, tt.name, tt.sigalgs, v); got != tt.want {
				t.Errorf("%v: %q with %q gets %s, want %s", v, tt.name, tt.sigalgs, got, tt.want)
			}
		}
	}
	// The same names in all: OpenSSL chooses, as it does for one of each type.
	same := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "ec", "a.example"), selfSigned(t, "RSA", "rsa", "a.example")}})
	for sigalgs, want := range map[string]string{ec: "ec", rsa: "rsa"} {
		if got := subject(t, same, "a.example", sigalgs, TLS13); got != want {
			t.Errorf("%s gets %s", sigalgs, got)
		}
	}
}

// TestNamesByClient: where a client can do with no certificate of the name that it asks for, it gets one of another entry that is good for
// that name too: of the wildcard, or of the Context's own with the name in it. What it can do with comes first, whatever else it prefers,
// and it never gets one for another name.
func TestNamesByClient(t *testing.T) {
	const ec, rsa = "ECDSA+SHA256", "RSA-PSS+SHA256:RSA+SHA256"
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
		if got := subjectFor(t, x, name, client); got != want {
			t.Errorf("%v: %q with %q %q gets %s, want %s", version, name, client.SignatureAlgorithms, client.CipherList, got, want)
		}
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
			ask(x, tt.name, Config{SignatureAlgorithms: ec}, v, tt.ec)
			ask(x, tt.name, Config{SignatureAlgorithms: rsa}, v, tt.rsa)
			if v == TLS12 { // what a client of old says by its cipher suites
				ask(x, tt.name, Config{CipherList: "ECDHE-ECDSA-AES128-GCM-SHA256"}, v, tt.ec)
				ask(x, tt.name, Config{CipherList: "ECDHE-RSA-AES128-GCM-SHA256"}, v, tt.rsa)
			}
		}
		ask(single, "a.example", Config{}, v, "a ec")
		ask(single, "a.example", Config{SignatureAlgorithms: rsa}, v, "own rsa")
		ask(single, "x.wild.example", Config{}, v, "wild ec")
		ask(single, "x.wild.example", Config{SignatureAlgorithms: rsa}, v, "own rsa")
		ask(single, "y.wild.example", Config{SignatureAlgorithms: rsa}, v, "error")
	}
}

// TestNames: the certificates of Config.Names are chosen exactly, by a wildcard, or not at all, whatever names are in them.
func TestNames(t *testing.T) {
	const ec, rsa = "ECDSA+SHA256", "RSA-PSS+SHA256:RSA+SHA256"
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
	for _, v := range versions {
		for _, tt := range []struct{ name, sigalgs, want string }{
			{"a.example.org", ec, "exact"}, {"a.example.org", rsa, "exact rsa"}, {"A.EXAMPLE.org", ec, "exact"}, {"a.example.org.", ec, "exact"},
			{"b.example.org", "", "wild"}, {"x.a.example.org", "", "deep"}, {"aa.example", "", "file"}, {"aaa.example", "", "only rsa"},
			{"y.x.a.example.org", ec, "default"}, {"example.org", ec, "default"}, {"other.test", rsa, "default rsa"}, {"a", ec, "default"},
			{"", ec, "default"}, {"aaa.example", ec, "error"}, {"b.example.org", rsa, "error"},
			{strings.Repeat("a.", 124) + "example", ec, "default"},
		} {
			if got := subject(t, x, tt.name, tt.sigalgs, v); got != tt.want {
				t.Errorf("%v: %q with %q gets %s, want %s", v, tt.name, tt.sigalgs, got, tt.want)
			}
			want := tt.want
			if strings.HasPrefix(want, "default") {
				want = "error"
			}
			if got := subject(t, without, tt.name, tt.sigalgs, v); got != want {
				t.Errorf("%v, without a default: %q with %q gets %s, want %s", v, tt.name, tt.sigalgs, got, want)
			}
		}
	}
}

// TestNamesRefused: each fault is told with the place of the setting, and leaves nothing.
func TestNamesRefused(t *testing.T) {
	good, other := selfSigned(t, "EC", "good"), selfSigned(t, "EC", "other")
	named := func(name string, certs ...Certificate) Config {
		return Config{Certificates: []Certificate{good}, Names: map[string][]Certificate{"a.example": {other}, name: certs}}
	}
	weak := named("b.example", selfSigned(t, "RSA", "2048"))
	weak.CipherList = "DEFAULT:@SECLEVEL=3"
	sni := named("b.example", good)
	sni.SNI = map[string]*Context{"B.example.": mustServer(t, Config{Certificates: []Certificate{good}})}
	for name, tt := range map[string]struct {
		c             Config
		setting, text string
	}{
		"bad name":         {named("a*.example", good), "Names", "a*.example"},
		"another spelling": {named("A.example.", good), "Names", "another spelling"},
		"none":             {named("b.example"), "Names", "has no certificate"},
		"no such file":     {named("b.example", Certificate{ChainFile: "/no/chain"}), `Names["b.example"][0].ChainFile`, "/no/chain"},
		"other key":        {named("b.example", Certificate{ChainPEM: good.ChainPEM, KeyPEM: other.KeyPEM}), `Names["b.example"][0]`, "mismatch"},
		"too weak":         {weak, `Names["b.example"][0]`, "too small"},
		"in SNI too":       {sni, "SNI", "B.example."},
		"not a response":   {named("b.example", Certificate{ChainPEM: good.ChainPEM, KeyPEM: good.KeyPEM, OCSP: []byte("x")}), `Names["b.example"][0].OCSP`, "OCSP"},
	} {
		none := noneMore(t)
		checkRefused(t, name, true, tt.c, tt.setting, tt.text)
		none(name)
	}
	c := clientConfig()
	c.Names = map[string][]Certificate{"a.example": {good}}
	checkRefused(t, "a client", false, c, "Names")
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
				if nameResumes(t, first, tt.made, version, &o) || o.session == nil {
					t.Fatalf("%v: no session was made", version)
				}
				if got := nameResumes(t, second, tt.offered, version, &o); got != tt.want {
					t.Errorf("%s, %v: made for %q, offered for %q: resumed %v", how, version, tt.made, tt.offered, got)
				}
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
			if got := readWithGo(t, x, &c).OCSPResponse; (len(got) > 0) != tt.stapled {
				t.Errorf("%s: stapled %x", tt.name, got)
			}
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
		if got := subject(t, x, "token.example", "", v); got == "error" || got == "default" || got == "plain" {
			t.Errorf("%v: the token's name gets %q", v, got)
		}
		if n := tok.Signatures(t) - before; n != 1 {
			t.Errorf("%v: %d signatures of the token, want 1", v, n)
		}
		if got := subject(t, x, "plain.example", "", v); got != "plain" {
			t.Errorf("%v: the other name gets %q", v, got)
		}
	}
	s.Previous = x
	s.Names["token.example"][0].PIN = pin("wrong")
	if _, err := NewServerContext(s); err == nil {
		t.Error("the token is not asked again")
	}
}

// TestNamesBehindContexts: a Context that SNI or the application chooses makes its own choice by name.
func TestNamesBehindContexts(t *testing.T) {
	inner := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "inner")},
		Names: map[string][]Certificate{"a.sub.example": {selfSigned(t, "EC", "inner a")}}})
	x := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "outer")}, SNI: map[string]*Context{"*.sub.example": inner},
		Names: map[string][]Certificate{"a.example": {selfSigned(t, "EC", "outer a")}}})
	asked := mustServer(t, Config{Certificates: []Certificate{selfSigned(t, "EC", "asked")}, ClientHello: func(h *ClientHello) { h.Accept(x) }})
	for _, v := range versions {
		for name, want := range map[string]string{"a.example": "outer a", "a.sub.example": "inner a", "b.sub.example": "inner", "b.example": "outer"} {
			if got := subject(t, x, name, "", v); got != want {
				t.Errorf("%v: %s gets %s, want %s", v, name, got, want)
			}
			if strings.Contains(name, "sub") {
				continue
			}
			if got := subject(t, asked, name, "", v); got != want {
				t.Errorf("%v, asked: %s gets %s, want %s", v, name, got, want)
			}
		}
	}
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
		var e *ConfigError
		if !errors.As(err, &e) || !strings.HasPrefix(e.Setting, fmt.Sprintf("Names[\"h%03d.example\"][0]", ahead+10)) || !strings.Contains(err.Error(), faults[first].text) {
			t.Errorf("%v, want a fault of name %d that has %q", err, ahead+10, faults[first].text)
		}
		none(faults[first].text)
	}
}
