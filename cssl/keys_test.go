package cssl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

const tokenPIN = "1234"

// tokenLibrary is a token with the keys "ec" and "rsa" behind a PIN, and a Library that reads it.
func tokenLibrary(t testing.TB) (*testtoken.Token, *Library) {
	t.Helper()
	tok := testtoken.Build(t, map[string][]byte{"ec": testcerts.Read(t, "ecdsa.key"), "rsa": testcerts.Read(t, "rsa.key"),
		"client": testcerts.Read(t, "client.key")})
	tok.PIN(t, tokenPIN)
	return tok, mustLibrary(t, LibraryConfig{Providers: []string{"default", testtoken.Provider}, ProviderPath: tok.Dir})
}

func mustLibrary(t testing.TB, c LibraryConfig) *Library {
	t.Helper()
	return tlstest.Value(NewLibrary(c))(t)
}

// pin answers one PIN.
func pin(s string) func(string) ([]byte, error) {
	return func(string) ([]byte, error) { return []byte(s), nil }
}

// uriConfig is a server with one of the test PKI's certificates and a key by URI.
func uriConfig(cert, uri string, ask func(string) ([]byte, error), l *Library) Config {
	return Config{Library: l, Certificates: []Certificate{{ChainFile: testcerts.Path(cert + ".pem"), KeyURI: uri, PIN: ask}}}
}

// manyHandshakes makes 64 handshakes from 16 goroutines at once.
func manyHandshakes(t *testing.T, client, server *Context) {
	t.Helper()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 4 {
				c, cerr := client.NewEngineConn(ConnConfig{ServerName: "localhost"})
				s, serr := server.NewEngineConn(ConnConfig{})
				if cerr != nil || serr != nil {
					t.Error(cerr, serr)
					return
				}
				defer c.Close()
				defer s.Close()
				err := handshakeError(&pair{t: t, client: c, server: s, buf: make([]byte, 1<<16)})
				check(t, err == nil, "%v", err)
			}
		})
	}
	all.Wait()
}

// TestTokenHandshakes: keys that never leave their token serve in both versions, and each handshake is a signature of the token.
func TestTokenHandshakes(t *testing.T) {
	tok, l := tokenLibrary(t)
	client := map[TLSVersion]*Context{TLS12: mustClient(t, clientUpTo(TLS12)), TLS13: mustClient(t, clientConfig())}
	for cert, key := range map[string]string{"ecdsa": "ec", "rsa": "rsa"} {
		asked := 0
		server := mustServer(t, uriConfig(cert, "token:"+key, func(uri string) ([]byte, error) {
			if asked++; uri != "token:"+key {
				t.Errorf("asked for the PIN of %s", uri)
			}
			return []byte(tokenPIN), nil
		}, l))
		for v, c := range client {
			before := tok.Signatures(t)
			p := newPair(t, c, server).shaken()
			equal(t, p.client.State().Version, v, "%s", cert)
			equal(t, tok.Signatures(t)-before, 1, "%s, %v: signatures", cert, v)
		}
		check(t, asked == 1, "%s: the PIN was asked for %d times", cert, asked)
	}
}

// TestTokenClient: a client's key can be in a token too.
func TestTokenClient(t *testing.T) {
	tok, l := tokenLibrary(t)
	s, c := serverConfig("rsa"), uriConfig("client", "token:client", pin(tokenPIN), l)
	s.Verify, s.CAFile, c.CAFile = VerifyRequire, testcerts.Path("root.pem"), testcerts.Path("root.pem")
	p := newPair(t, mustClient(t, c), mustServer(t, s)).shaken()
	equal(t, tok.Signatures(t), 1, "signatures")
	check(t, knows(t, p.server) > 0, "the server saw no certificate")
}

// TestTokenGone: while the token is gone, handshakes fail with its reason, and the Context and what it has serve on; when it is
// back, so are they.
func TestTokenGone(t *testing.T) {
	tok, l := tokenLibrary(t)
	server, client := mustServer(t, uriConfig("ecdsa", "token:ec", pin(tokenPIN), l)), mustClient(t, clientConfig())
	old := newPair(t, client, server)
	old.handshake()
	tok.Gone(t, true)
	for range 3 {
		err := handshakeError(newPair(t, client, server))
		var e *tlsio.Error
		demand(t, errors.As(err, &e) && e.Errno == 0 && e.Err == nil && strings.Contains(err.Error(), "the token is gone"),
			"handshake: %v", err)
	}
	fails(NewServerContext(uriConfig("ecdsa", "token:ec", pin(tokenPIN), l)))(t, "a new Context", "the token is gone")
	send(t, old.server, "still here")
	old.move(old.server, old.client)
	reads(t, old.client, "still here")
	tok.Gone(t, false)
	newPair(t, client, server).handshake()
}

// TestTokenParallel: many goroutines have handshakes with one token at once.
func TestTokenParallel(t *testing.T) {
	tok, l := tokenLibrary(t)
	server, client := mustServer(t, uriConfig("ecdsa", "token:ec", pin(tokenPIN), l)), mustClient(t, clientConfig())
	manyHandshakes(t, client, server)
	equal(t, tok.Signatures(t), 64, "signatures")
}

// TestFileURI: file: names a key in PEM too, encrypted or not.
func TestFileURI(t *testing.T) {
	client := mustClient(t, clientConfig())
	for _, l := range []*Library{nil, mustLibrary(t, LibraryConfig{})} {
		plain := uriConfig("ecdsa", "file:"+testcerts.Path("ecdsa.key"), func(string) ([]byte, error) {
			t.Error("asked for a passphrase")
			return nil, nil
		}, l)
		newPair(t, client, mustServer(t, plain)).handshake()
		asked, given := 0, []byte("secret")
		encrypted := uriConfig("ecdsa", "file:"+testcerts.Path("encrypted.key"), func(string) ([]byte, error) { asked++; return given, nil }, l)
		newPair(t, client, mustServer(t, encrypted)).handshake()
		check(t, asked == 1 && bytes.Equal(given, make([]byte, len(given))), "asked %d times; afterwards it is %q", asked, given)
	}
}

// TestKeyURIRefused: what is wrong with a key by URI comes back as *ConfigError that says what, and never shows what a PIN is in.
func TestKeyURIRefused(t *testing.T) {
	tok, l := tokenLibrary(t)
	errPIN := errors.New("no terminal")
	noTerminal := func(string) ([]byte, error) { return nil, errPIN }
	key := func(uri string, ask func(string) ([]byte, error)) func(*Config) {
		return func(c *Config) { c.Certificates = uriConfig("ecdsa", uri, ask, l).Certificates }
	}
	const keyURI, ask = "Certificates[0].KeyURI", "Certificates[0].PIN"
	checkRefusals(t, true, Config{Library: l}, []wrongConfig{
		{"wrong PIN", key("token:ec", pin("4321")), keyURI, "wrong PIN"},
		{"empty PIN", key("token:ec", pin("")), keyURI, "wrong PIN"},
		{"no PIN", key("token:ec", nil), ask, "PIN is not set"},
		{"PIN fails", key("token:ec", noTerminal), ask, "no terminal"},
		{"PIN panics", key("token:ec", func(string) ([]byte, error) { panic("4321") }), ask, "PIN panicked"},
		{"long PIN", key("token:ec", pin(strings.Repeat("4321", 10000))), ask, "40000 bytes"},
		{"no such key", key("token:other", pin(tokenPIN)), keyURI, "no such"},
		{"two keys", key("token:", pin(tokenPIN)), keyURI, "names 3 private keys"},
		{"other key", func(c *Config) { *c = uriConfig("rsa", "token:ec", pin(tokenPIN), l) }, "Certificates[0]", ""},
		{"no provider", func(c *Config) { *c = uriConfig("ecdsa", "token:ec", pin(tokenPIN), nil) }, keyURI, "no provider reads token: URIs"},
		{"no pkcs11", key("pkcs11:object=a;type=private?pin-source=file:/etc/pin", pin(tokenPIN)), keyURI, "no provider reads pkcs11:"},
		{"no scheme", key(testcerts.Path("ecdsa.key"), nil), keyURI, "no scheme"},
		{"pin-value", key("pkcs11:object=a?pin-value=4321", nil), keyURI, "use PIN, or pin-source"},
		{"pin-value in the path", key("token:ec;pin-value=4321", nil), keyURI, "use PIN, or pin-source"},
		{"pin-value in disguise", key("pkcs11:object=a?x=1&PIN%2Dvalue=4321?4321", nil), keyURI, "use PIN, or pin-source"},
		{"NUL", key("token:ec\x00", nil), keyURI, "NUL"},
		{"missing file", key("file:/no/such/key", nil), keyURI, "no such file"},
		{"no key in the file", key("file:"+testcerts.Path("root.pem"), nil), keyURI, "no such private key"},
		{"wrong passphrase", key("file:"+testcerts.Path("encrypted.key"), pin("4321")), keyURI, "or the PIN is wrong"},
		{"a file too", func(c *Config) {
			key("token:ec", pin(tokenPIN))(c)
			c.Certificates[0].KeyFile = testcerts.Path("ecdsa.key")
		}, keyURI, "use one"},
	}, "4321", "/etc/pin")
	_, err := NewServerContext(uriConfig("ecdsa", "token:ec", noTerminal, l))
	tlstest.IsError(t, "cause", err, errPIN)
	equal(t, tok.Signatures(t), 0, "signatures")
}

// inForm is c with its key in the form of old ("EC PRIVATE KEY", "RSA PRIVATE KEY").
func inForm(t testing.TB, c Certificate) Certificate {
	t.Helper()
	block, _ := pem.Decode(c.KeyPEM)
	key := tlstest.Value(x509.ParsePKCS8PrivateKey(block.Bytes))(t)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		block = &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	case *ecdsa.PrivateKey:
		der := tlstest.Value(x509.MarshalECPrivateKey(k))(t)
		block = &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	}
	c.KeyPEM = pem.EncodeToMemory(block)
	return c
}

// TestPlainKeys: a key in the clear is read with its chain, in whatever form it is, and not by OpenSSL's search through all decoders,
// which costs more than all the rest (P58).
func TestPlainKeys(t *testing.T) {
	const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	ec, rsa, ed := selfSigned(t, "EC", "ec"), selfSigned(t, "RSA", "rsa"), selfSigned(t, "ED25519", "ed")
	with := func(chain Certificate, key string) *loaded {
		return &loaded{from: &Certificate{}, chain: chain.ChainPEM, key: []byte(key)}
	}
	ca := testcerts.Read(t, "intermediate.pem")
	x := mustServer(t, Config{Certificates: []Certificate{ec}})
	none := noneMore(t)
	s := &certificates{byText: map[content]*certificate{}, reading: map[content]*reading{}}
	tlstest.Must(t, s.start(x.ptr, 1))
	for name, tt := range map[string]struct {
		l    *loaded
		want bool
	}{
		"EC":                   {with(ec, string(ec.KeyPEM)), true},
		"RSA":                  {with(rsa, string(rsa.KeyPEM)), true},
		"Ed25519":              {with(ed, string(ed.KeyPEM)), true},
		"SEC 1":                {with(ec, string(inForm(t, ec).KeyPEM)), true},
		"SEC 1, parameters":    {with(ec, parameters+string(inForm(t, ec).KeyPEM)), true},
		"PKCS #1":              {with(rsa, string(inForm(t, rsa).KeyPEM)), true},
		"text before":          {with(rsa, "Bag Attributes\r\n"+string(inForm(t, rsa).KeyPEM)), true},
		"behind a chain":       {with(ec, string(ec.ChainPEM)+string(ca)+string(inForm(t, ec).KeyPEM)), true},
		"of another type":      {with(ec, string(rsa.KeyPEM)), false},
		"the other type first": {with(ec, string(rsa.KeyPEM)+string(ec.KeyPEM)), false},
		"encrypted":            {with(ec, string(testcerts.Read(t, "encrypted.key"))), false},
		"encrypted first":      {with(ec, string(testcerts.Read(t, "encrypted.key"))+string(ec.KeyPEM)), false},
		"none":                 {with(ec, string(ca)), false},
		"empty":                {with(ec, ""), false},
	} {
		r := s.begin(tt.l)
		<-r.parsed
		demand(t, r.ptr != nil, "%s: the chain is refused", name)
		equal(t, r.ptr.key != nil, tt.want, "%s: read with its chain", name)
	}
	s.done()
	none("plain keys")
}

// softHSM is SoftHSM's token with the keys of "ecdsa" and "rsa", and a Library that reads it.
func softHSM(t testing.TB) (testtoken.SoftHSM, *Library) {
	t.Helper()
	hsm := testtoken.UseSoftHSM(t, map[string]string{"ecdsa": testcerts.Path("ecdsa.key"), "rsa": testcerts.Path("rsa.key")})
	return hsm, mustLibrary(t, LibraryConfig{ConfigFile: hsm.ConfigFile})
}

// TestPKCS11: keys in SoftHSM, by the pkcs11 provider, serve in both versions and with all paddings, alone and from
// many goroutines at once.
func TestPKCS11(t *testing.T) {
	hsm, l := softHSM(t)
	demand(t, slices.Contains(l.Providers(), "pkcs11"), "%v", l.Providers())
	for _, tt := range []struct {
		cert    string
		version TLSVersion
		sigalgs string
	}{
		{"ecdsa", TLS12, ""},
		{"ecdsa", TLS13, ""},
		{"rsa", TLS12, "rsa_pss_rsae_sha256"},
		{"rsa", TLS12, "RSA+SHA256"},
		{"rsa", TLS13, ""},
	} {
		t.Run(tt.cert+" "+tt.version.String()+" "+tt.sigalgs, func(t *testing.T) {
			asked := 0
			server := mustServer(t, uriConfig(tt.cert, hsm.URI(tt.cert), func(string) ([]byte, error) {
				asked++
				return []byte(testtoken.SoftHSMPIN), nil
			}, l))
			c := clientUpTo(tt.version)
			c.MinVersion = tt.version
			c.SignatureAlgorithms = tt.sigalgs
			client := mustClient(t, c)
			newPair(t, client, server).handshake()
			manyHandshakes(t, client, server)
			check(t, asked <= 1, "the PIN was asked for %d times", asked)
		})
	}
}

// TestPKCS11Chain: a chain in SoftHSM is read without a PIN, and sent in order.
func TestPKCS11Chain(t *testing.T) {
	hsm, l := softHSM(t)
	hsm.Certificates(t, "chain", chainOf(t, "intermediate", "ecdsa")...)
	uri := "pkcs11:token=" + testtoken.SoftHSMToken + ";object=chain;type=cert"
	shows(t, true, Config{Library: l, Certificates: []Certificate{{ChainURI: uri, KeyFile: testcerts.Path("ecdsa.key")}}}, chainOf(t, "ecdsa"))
	key := Certificate{ChainURI: uri, KeyURI: hsm.URI("ecdsa"), PIN: pin(testtoken.SoftHSMPIN)}
	shows(t, true, Config{Library: l, Certificates: []Certificate{key}}, chainOf(t, "ecdsa"))
}

// TestPKCS11Refused: what is wrong with a key in SoftHSM is said when the Context is built, and does not harm the token. It runs in
// a process of its own, because a process that has logged in is not asked for a PIN any more.
func TestPKCS11Refused(t *testing.T) {
	const child = "GO_OPENSSL_NOT_LOGGED_IN"
	if os.Getenv(child) == "" {
		softHSM(t) // or skip
		out, err := runAlone(t, child+"=1")
		demand(t, err == nil, "%v\n%s", err, out)
		// A provider that brings a libcrypto along asks the terminal, and that is said.
		asked, said := strings.Contains(out, "Enter PIN"), strings.Contains(out, "libcrypto libraries are loaded")
		check(t, !asked || said, "it asked the terminal")
		return
	}
	hsm, l := softHSM(t)
	for _, tt := range []struct {
		name, uri string
		ask       func(string) ([]byte, error)
		says      string
	}{
		{"no PIN", hsm.URI("ecdsa"), nil, "PIN is not set"},
		{"wrong PIN", hsm.URI("ecdsa"), pin("4321"), "PIN is wrong"},
		{"no such token", "pkcs11:token=nosuch;object=ecdsa", pin(testtoken.SoftHSMPIN), "no such private key"},
		{"no such key", hsm.URI("nosuch"), pin(testtoken.SoftHSMPIN), "no such private key"},
		{"more than one", "pkcs11:token=" + testtoken.SoftHSMToken, pin(testtoken.SoftHSMPIN), "names 2 private keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewServerContext(uriConfig("ecdsa", tt.uri, tt.ask, l))
			var e *ConfigError
			check(t, errors.As(err, &e) && strings.Contains(err.Error(), tt.says) && !strings.Contains(err.Error(), "4321"), "%v", err)
			t.Log(err)
		})
	}
	newPair(t, mustClient(t, clientConfig()), mustServer(t, uriConfig("ecdsa", hsm.URI("ecdsa"), pin(testtoken.SoftHSMPIN), l))).handshake()
	t.Log(l.Warning())
}
