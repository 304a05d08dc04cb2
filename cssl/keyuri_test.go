package cssl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"strconv"
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
	l := tlstest.Value(NewLibrary(c))(t)
	return l
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
				c, err := client.NewEngineConn(ConnConfig{ServerName: "localhost"})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				s, err := server.NewEngineConn(ConnConfig{})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if err := handshakeError(&pair{t: t, client: c, server: s, buf: make([]byte, 1<<16)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestTokenHandshakes: keys that never leave their token serve in both versions, and each handshake is a signature of the token.
func TestTokenHandshakes(t *testing.T) {
	tok, l := tokenLibrary(t)
	client := map[TLSVersion]*Context{}
	for _, v := range []TLSVersion{TLS12, TLS13} {
		c := clientConfig()
		c.MinVersion, c.MaxVersion = v, v
		client[v] = mustClient(t, c)
	}
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
			p := newPair(t, c, server)
			p.handshake()
			if got := p.client.State().Version; got != v {
				t.Errorf("%s: %v", cert, got)
			}
			if n := tok.Signatures(t) - before; n != 1 {
				t.Errorf("%s, %v: %d signatures", cert, v, n)
			}
		}
		if asked != 1 {
			t.Errorf("%s: the PIN was asked for %d times", cert, asked)
		}
	}
}

// TestTokenClient: a client's key can be in a token too.
func TestTokenClient(t *testing.T) {
	tok, l := tokenLibrary(t)
	s, c := serverConfig("rsa"), uriConfig("client", "token:client", pin(tokenPIN), l)
	s.Verify, s.CAFile, c.CAFile = VerifyRequire, testcerts.Path("root.pem"), testcerts.Path("root.pem")
	p := newPair(t, mustClient(t, c), mustServer(t, s))
	p.handshake()
	if chain, err := p.server.State().PeerCertificates(); tok.Signatures(t) != 1 || len(chain) == 0 {
		t.Errorf("%d signatures, the server saw %d certificates (%v)", tok.Signatures(t), len(chain), err)
	}
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
		if !errors.As(err, &e) || e.Errno != 0 || e.Err != nil || !strings.Contains(err.Error(), "the token is gone") {
			t.Fatalf("handshake: %v", err)
		}
	}
	if _, err := NewServerContext(uriConfig("ecdsa", "token:ec", pin(tokenPIN), l)); err == nil || !strings.Contains(err.Error(), "the token is gone") {
		t.Errorf("a new Context: %v", err)
	}
	if r := old.server.Write([]byte("still here")); r.Err != nil || r.N != 10 {
		t.Errorf("Write: %+v", r)
	}
	old.move(old.server, old.client)
	buf := make([]byte, 32)
	if r := old.client.Read(buf); string(buf[:r.N]) != "still here" {
		t.Errorf("Read: %q %v", buf[:r.N], r.Err)
	}
	tok.Gone(t, false)
	newPair(t, client, server).handshake()
}

// TestTokenParallel: many goroutines have handshakes with one token at once.
func TestTokenParallel(t *testing.T) {
	tok, l := tokenLibrary(t)
	server, client := mustServer(t, uriConfig("ecdsa", "token:ec", pin(tokenPIN), l)), mustClient(t, clientConfig())
	manyHandshakes(t, client, server)
	if n := tok.Signatures(t); n != 64 {
		t.Errorf("%d signatures", n)
	}
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
		if asked != 1 || !bytes.Equal(given, make([]byte, len(given))) {
			t.Errorf("asked %d times; afterwards it is %q", asked, given)
		}
	}
}

// TestKeyURIRefused: what is wrong with a key by URI comes back as *ConfigError that says what, and never shows what a PIN is in.
func TestKeyURIRefused(t *testing.T) {
	tok, l := tokenLibrary(t)
	errPIN := errors.New("no terminal")
	for _, tt := range []struct {
		name, cert, uri string
		ask             func(string) ([]byte, error)
		lib             *Library
		setting, says   string
		is              error
	}{
		{"wrong PIN", "ecdsa", "token:ec", pin("4321"), l, "KeyURI", "wrong PIN", nil},
		{"empty PIN", "ecdsa", "token:ec", pin(""), l, "KeyURI", "wrong PIN", nil},
		{"no PIN", "ecdsa", "token:ec", nil, l, "PIN", "PIN is not set", nil},
		{"PIN fails", "ecdsa", "token:ec", func(string) ([]byte, error) { return nil, errPIN }, l, "PIN", "no terminal", errPIN},
		{"PIN panics", "ecdsa", "token:ec", func(string) ([]byte, error) { panic("4321") }, l, "PIN", "PIN panicked", nil},
		{"long PIN", "ecdsa", "token:ec", pin(strings.Repeat("4321", 10000)), l, "PIN", "40000 bytes", nil},
		{"no such key", "ecdsa", "token:other", pin(tokenPIN), l, "KeyURI", "no such", nil},
		{"two keys", "ecdsa", "token:", pin(tokenPIN), l, "KeyURI", "names 3 private keys", nil},
		{"other key", "rsa", "token:ec", pin(tokenPIN), l, "", "", nil},
		{"no provider", "ecdsa", "token:ec", pin(tokenPIN), nil, "KeyURI", "no provider reads token: URIs", nil},
		{"no pkcs11", "ecdsa", "pkcs11:object=a;type=private?pin-source=file:/etc/pin", pin(tokenPIN), l, "KeyURI", "no provider reads pkcs11:", nil},
		{"no scheme", "ecdsa", testcerts.Path("ecdsa.key"), nil, l, "KeyURI", "no scheme", nil},
		{"pin-value", "ecdsa", "pkcs11:object=a?pin-value=4321", nil, l, "KeyURI", "use PIN, or pin-source", nil},
		{"pin-value in the path", "ecdsa", "token:ec;pin-value=4321", nil, l, "KeyURI", "use PIN, or pin-source", nil},
		{"pin-value in disguise", "ecdsa", "pkcs11:object=a?x=1&PIN%2Dvalue=4321?4321", nil, l, "KeyURI", "use PIN, or pin-source", nil},
		{"NUL", "ecdsa", "token:ec\x00", nil, l, "KeyURI", "NUL", nil},
		{"missing file", "ecdsa", "file:/no/such/key", nil, l, "KeyURI", "no such file", nil},
		{"no key in the file", "ecdsa", "file:" + testcerts.Path("root.pem"), nil, l, "KeyURI", "no such private key", nil},
		{"wrong passphrase", "ecdsa", "file:" + testcerts.Path("encrypted.key"), pin("4321"), l, "KeyURI", "or the PIN is wrong", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewServerContext(uriConfig(tt.cert, tt.uri, tt.ask, tt.lib))
			var e *ConfigError
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			t.Log(err)
			setting := "Certificates[0]"
			if tt.setting != "" {
				setting += "." + tt.setting
			}
			if e.Setting != setting || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v", err)
			}
			if strings.Contains(err.Error(), "4321") || strings.Contains(err.Error(), "/etc/pin") {
				t.Errorf("it shows the PIN or its place: %v", err)
			}
		})
	}
	c := uriConfig("ecdsa", "token:ec", pin(tokenPIN), l)
	c.Certificates[0].KeyFile = testcerts.Path("ecdsa.key")
	if _, err := NewServerContext(c); err == nil || !strings.Contains(err.Error(), "use one") {
		t.Errorf("a URI and a file: %v", err)
	}
	if n := tok.Signatures(t); n != 0 {
		t.Errorf("%d signatures", n)
	}
}

// TestLibraryRefused: what cannot be loaded is named, with the place where it was looked for.
func TestLibraryRefused(t *testing.T) {
	dir := t.TempDir()
	broken := writeFile(t, "broken.so", "not a module")
	activates := func(module string) string {
		return writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nproviders = p\n[p]\nnosuch = n\n[n]\nactivate = 1\nmodule = "+module+"\n")
	}
	for _, tt := range []struct {
		name    string
		c       LibraryConfig
		setting string
		says    []string
	}{
		{"missing", LibraryConfig{Providers: []string{"default", "nosuch"}}, "Providers", []string{`"nosuch"`, modules("")}},
		{"missing there", LibraryConfig{Providers: []string{"nosuch"}, ProviderPath: dir}, "Providers", []string{`"nosuch"`, dir}},
		{"no module", LibraryConfig{Providers: []string{"broken"}, ProviderPath: strings.TrimSuffix(broken, "/broken.so")}, "Providers", []string{`"broken"`}},
		{"a path", LibraryConfig{Providers: []string{broken}}, "Providers", []string{"ProviderPath"}},
		{"no name", LibraryConfig{Providers: []string{""}}, "Providers", []string{"name"}},
		{"no directory", LibraryConfig{ProviderPath: dir + "/none"}, "ProviderPath", []string{dir + "/none"}},
		{"no file", LibraryConfig{ConfigFile: dir + "/none"}, "ConfigFile", []string{dir + "/none"}},
		{"bad file", LibraryConfig{ConfigFile: broken}, "ConfigFile", []string{broken}},
		{"NUL", LibraryConfig{ConfigFile: "a\x00b"}, "ConfigFile", []string{"NUL"}},
		{"config that is a certificate", LibraryConfig{ConfigFile: testcerts.Path("root.pem")}, "ConfigFile", []string{testcerts.Path("root.pem"), "want an OpenSSL configuration", "found CERTIFICATE in PEM"}},
		{"config that is a directory", LibraryConfig{ConfigFile: dir}, "ConfigFile", []string{dir, "is a directory"}},
		{"file for a directory", LibraryConfig{ProviderPath: broken}, "ProviderPath", []string{broken, "want a directory"}},
		{"config of a missing module", LibraryConfig{ConfigFile: activates("/none/nosuch.so")}, "ConfigFile", []string{"nosuch", "/none/nosuch.so", "cannot open shared object file"}},
		{"config of a module elsewhere", LibraryConfig{ConfigFile: activates("nosuch.so"), ProviderPath: dir}, "ConfigFile", []string{"nosuch", dir, "cannot open"}},
		{"config of a file that is no module", LibraryConfig{ConfigFile: activates(broken)}, "ConfigFile", []string{"nosuch", broken, "file too short"}},
		{"config of a missing provider", LibraryConfig{ConfigFile: writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nproviders = p\n[p]\nnosuch = n\n[n]\nactivate = 1\n")},
			"ConfigFile", []string{"nosuch"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewLibrary(tt.c)
			var e *ConfigError
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			t.Log(err)
			for _, s := range tt.says {
				if e.Setting != tt.setting || !strings.Contains(err.Error(), s) {
					t.Errorf("%s does not say %s", err, s)
				}
			}
		})
	}
}

// TestLibraryConfigSecret: what is in a file that is no configuration, such as a
// passphrase or a key, is not in the error; the line's number is.
func TestLibraryConfigSecret(t *testing.T) {
	block, _ := pem.Decode(testcerts.Read(t, "ecdsa.key"))
	for name, content := range map[string]string{
		"passphrase":            "correct horse battery staple\n",
		"behind other lines":    "a = b\nc = d\ncorrect horse battery staple\n",
		"a section":             "[correct horse battery staple\n",
		"a variable":            "a = ${correct::horse}\n",
		"a variable of its own": "a = $correct\n",
		"DER":                   string(block.Bytes),
	} {
		file := writeFile(t, "given", content)
		_, err := NewLibrary(LibraryConfig{ConfigFile: file})
		var e *ConfigError
		if !errors.As(err, &e) || e.Setting != "ConfigFile" || len(e.Reasons) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Log(err)
		for _, r := range e.Reasons {
			number, is := strings.CutPrefix(r.Data, "line ")
			if _, err := strconv.Atoi(number); r.Data != "" && (!is || err != nil) {
				t.Errorf("%s: %q is said of what is in the file", name, r.Data)
			}
		}
		if name == "behind other lines" && !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%v does not name line 3", err)
		}
	}
}

// TestLibraryProviders: a Library has what it was told to have and nothing else; legacy is never there by itself.
func TestLibraryProviders(t *testing.T) {
	config := writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nproviders = p\n[p]\nbase = b\ndefault = b\n[b]\nactivate = 1\n")
	for _, tt := range []struct {
		l    *Library
		want string
	}{
		{mustLibrary(t, LibraryConfig{}), "default"},
		{mustLibrary(t, LibraryConfig{Providers: []string{"base", "default"}}), "base default"},
		{mustLibrary(t, LibraryConfig{ConfigFile: config}), "base default"},
		{mustLibrary(t, LibraryConfig{Providers: []string{"default", "legacy"}}), "default legacy"},
	} {
		names := tt.l.Providers()
		slices.Sort(names)
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
	var system *Library
	if len(system.Providers()) == 0 {
		t.Error("the process's default library context has no provider")
	}
}

// TestLibraryMixed: Contexts of different Libraries talk to each other, but one does not hand connections to another.
func TestLibraryMixed(t *testing.T) {
	s, c := serverConfig("rsa"), clientConfig()
	s.Library, s.TicketKeys = mustLibrary(t, LibraryConfig{}), [][]byte{bytes.Repeat([]byte{1}, 80)}
	server, client := mustServer(t, s), mustClient(t, c)
	for _, v := range []TLSVersion{TLS12, TLS13} {
		c.MaxVersion = v
		p := newPair(t, mustClient(t, c), server)
		p.handshake()
	}
	newPair(t, client, server).handshake()
	other := serverConfig("ecdsa")
	other.SNI = map[string]*Context{"a.example": server}
	if _, err := NewServerContext(other); err == nil || !strings.Contains(err.Error(), "another Library") {
		t.Error(err)
	}
}

// TestProperties: what is asked of algorithms and no provider has is refused when the Context is built.
func TestProperties(t *testing.T) {
	for _, properties := range []string{"provider=nosuch", "fips=yes", "no query !"} {
		c := serverConfig("rsa")
		c.Library, c.Properties = mustLibrary(t, LibraryConfig{}), properties
		_, err := NewServerContext(c)
		var e *ConfigError
		if !errors.As(err, &e) || e.Setting != "Properties" || e.Value != properties {
			t.Errorf("%s: %v", properties, err)
		}
	}
	c := serverConfig("rsa")
	c.Properties = "?fips=yes"
	newPair(t, mustClient(t, clientConfig()), mustServer(t, c)).handshake()
	c.Properties = "a\x00b"
	if _, err := NewServerContext(c); err == nil {
		t.Error("a NUL byte was let through")
	}
}

// TestLibraryWarning runs this test's program with a second libcrypto, and without.
func TestLibraryWarning(t *testing.T) {
	const second, name = "CSSL_SECOND_LIBCRYPTO", "libcrypto.so.0"
	switch err := mustLibrary(t, LibraryConfig{Providers: []string{"default"}}).Warning(); {
	case os.Getenv(second) != "":
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), linked.Run.String()) {
			t.Errorf("with a second libcrypto: %v", err)
		}
		t.Log(err)
	default:
		out, err := runPreloaded(t, sharedObject(t, name, "int nothing;\n"), second+"=1")
		if err != nil || !strings.Contains(out, "2 libcrypto libraries are loaded") || !strings.Contains(out, "active providers are default") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
