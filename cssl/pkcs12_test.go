package cssl

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// pkcs12 is a file that openssl pkcs12 -export makes.
func pkcs12(t testing.TB, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.p12")
	openssl(t, append([]string{"pkcs12", "-export", "-out", file}, args...)...)
	return file
}

// siteIn are the arguments for the certificate and key of a name of the test PKI.
func siteIn(name string) []string {
	return []string{"-in", testcerts.Path(name + ".pem"), "-inkey", testcerts.Path(name + ".key")}
}

func site(t testing.TB, name string, args ...string) string {
	t.Helper()
	return pkcs12(t, append(siteIn(name), args...)...)
}

// plainSite is a file whose content is not encrypted, and which has no MAC.
func plainSite(t testing.TB, name string, args ...string) string {
	t.Helper()
	return site(t, name, append(args, "-nomac", "-keypbe", "NONE", "-certpbe", "NONE", "-passout", "pass:")...)
}

// passphraseOf gives s, and demands that it was asked for once, and that what it gave is wiped.
func passphraseOf(t *testing.T, s string) func() ([]byte, error) {
	given, asked := []byte(s), 0
	t.Cleanup(func() {
		check(t, asked == 1 && bytes.Equal(given, make([]byte, len(given))), "asked %d times; afterwards it is %q", asked, given)
	})
	return func() ([]byte, error) { asked++; return given, nil }
}

// chainOf are the certificates in PEM files of the test PKI, one behind the other.
func chainOf(t testing.TB, names ...string) (chain [][]byte) {
	t.Helper()
	for _, name := range names {
		rest := testcerts.Read(t, name+".pem")
		for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
			chain = append(chain, block.Bytes)
		}
	}
	return chain
}

// shows demands that a handshake of each version shows this chain.
func shows(t *testing.T, isServer bool, c Config, want [][]byte) {
	t.Helper()
	other := Config{CAPEM: slices.Concat(testcerts.Read(t, "root.pem"), testcerts.Read(t, "intermediate.pem"))}
	build := mustServer
	if !isServer {
		other.Certificates, other.Verify = serverConfig("rsa").Certificates, VerifyRequire
		build = mustClient
	}
	x := build(t, c)
	for _, v := range []TLSVersion{TLS12, TLS13} {
		other.MaxVersion = v
		var seen *Conn
		if isServer {
			seen = newPair(t, mustClient(t, other), x).shaken().client
		} else {
			seen = newPair(t, x, mustServer(t, other)).shaken().server
		}
		chain := tlstest.Value(seen.State().PeerCertificates())(t)
		same := slices.EqualFunc(chain, want, func(x *x509.Certificate, der []byte) bool { return bytes.Equal(x.Raw, der) })
		check(t, same, "%v: another chain of %d", v, len(chain))
	}
}

// indefinite is DER with the outermost length left out, as in BER.
func indefinite(t testing.TB, file string) string {
	t.Helper()
	p := tlstest.Value(os.ReadFile(file))(t)
	demand(t, p[1] == 0x82, "a length of another form")
	p = slices.Concat([]byte{p[0], 0x80}, p[4:], []byte{0, 0})
	return writeFile(t, "ber.p12", string(p))
}

// TestPKCS12: a PKCS#12 file is a chain and its key, however it was made, for servers and clients. The chain is sent in order.
func TestPKCS12(t *testing.T) {
	const utf8 = "pässwörd€"
	cas := writeFile(t, "cas.pem", string(testcerts.Read(t, "root.pem"))+string(testcerts.Read(t, "intermediate.pem")))
	leaf := writeFile(t, "leaf.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chainOf(t, "ecdsa")[0]})))
	alone := func(args ...string) string {
		return pkcs12(t, append([]string{"-in", leaf, "-inkey", testcerts.Path("ecdsa.key"), "-passout", "pass:secret"}, args...)...)
	}
	with := func(args ...string) string { return site(t, "ecdsa", append(args, "-passout", "pass:secret")...) }
	short, long := chainOf(t, "ecdsa"), chainOf(t, "ecdsa", "root")
	for name, tt := range map[string]struct {
		file, pass string
		want       [][]byte
	}{
		"as openssl makes it":   {with(), "secret", short},
		"-chain":                {alone("-chain", "-CAfile", testcerts.Path("root.pem"), "-untrusted", testcerts.Path("intermediate.pem")), "secret", long},
		"root first":            {alone("-certfile", cas), "secret", long},
		"the leaf alone":        {alone(), "secret", short[:1]},
		"an intermediate twice": {with("-certfile", testcerts.Path("intermediate.pem")), "secret", short},
		"3DES":                  {with("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "SHA1"), "secret", short},
		"a plain key":           {with("-keypbe", "NONE"), "secret", short},
		"a MAC alone":           {with("-keypbe", "NONE", "-certpbe", "NONE"), "secret", short},
		"with a name":           {with("-name", "site"), "secret", short},
		"UTF-8":                 {site(t, "ecdsa", "-passout", "pass:"+utf8), utf8, short},
		"an empty passphrase":   {site(t, "ecdsa", "-passout", "pass:"), "", short},
		"all plain":             {plainSite(t, "ecdsa"), "", short},
		"BER":                   {indefinite(t, plainSite(t, "ecdsa")), "", short},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []Certificate{{ChainFile: tt.file}, {ChainPEM: tlstest.Value(os.ReadFile(tt.file))(t)}} {
				if tt.pass != "" {
					c.Passphrase = passphraseOf(t, tt.pass)
				}
				shows(t, true, Config{Certificates: []Certificate{c}}, tt.want)
			}
		})
	}
	client := Certificate{ChainFile: site(t, "client", "-passout", "pass:secret"), Passphrase: passphraseOf(t, "secret")}
	shows(t, false, Config{Certificates: []Certificate{client}, CAFile: testcerts.Path("root.pem")}, chainOf(t, "client"))
}

// TestPKCS12OtherKey: a key that is set takes precedence over that of the file, which needs none then.
func TestPKCS12OtherKey(t *testing.T) {
	tok, l := tokenLibrary(t)
	key, want := testcerts.Path("ecdsa.key"), chainOf(t, "ecdsa")
	noKey := pkcs12(t, "-in", testcerts.Path("ecdsa.pem"), "-nokeys", "-passout", "pass:secret")
	for _, file := range []string{noKey, site(t, "ecdsa", "-passout", "pass:secret")} {
		for _, c := range []Certificate{{KeyFile: key}, {KeyPEM: testcerts.Read(t, "ecdsa.key")}, {KeyURI: "token:ec", PIN: pin(tokenPIN)}} {
			c.ChainFile, c.Passphrase = file, passphraseOf(t, "secret")
			shows(t, true, Config{Library: l, Certificates: []Certificate{c}}, want)
		}
	}
	check(t, tok.Signatures(t) == 4, "%d signatures", tok.Signatures(t))
	checkRefused(t, "another key", true, Config{Certificates: []Certificate{{ChainFile: plainSite(t, "ecdsa"), KeyFile: testcerts.Path("rsa.key")}}},
		"Certificates[0]", "mismatch")
}

// legacyLibrary has the legacy provider. The test is skipped where that is not installed.
func legacyLibrary(t testing.TB) *Library {
	t.Helper()
	l, err := NewLibrary(LibraryConfig{Providers: []string{"default", "legacy"}})
	if err != nil {
		t.Skip(err)
	}
	return l
}

// TestPKCS12Legacy: RC2, as OpenSSL before 3.0 used it, needs the legacy provider, in the Library of the Context.
func TestPKCS12Legacy(t *testing.T) {
	l := legacyLibrary(t)
	c := Config{Certificates: []Certificate{{ChainFile: site(t, "ecdsa", "-legacy", "-passout", "pass:secret"), Passphrase: func() ([]byte, error) { return []byte("secret"), nil }}}}
	checkRefused(t, "default provider", true, c, "Certificates[0].ChainFile", "active providers are default", `"legacy" in Providers`, "RC2-40-CBC")
	c.Library = l
	shows(t, true, c, chainOf(t, "ecdsa"))
}

// TestPKCS12WithoutMAC: an encrypted file without a MAC is read by OpenSSL 3.2; before, the error says so.
func TestPKCS12WithoutMAC(t *testing.T) {
	c := Config{Certificates: []Certificate{{ChainFile: site(t, "ecdsa", "-nomac", "-passout", "pass:secret"), Passphrase: func() ([]byte, error) { return []byte("secret"), nil }}}}
	if Version().Run.Number < 0x30200000 {
		checkRefused(t, "no MAC", true, c, "Certificates[0].ChainFile", "without a MAC needs OpenSSL 3.2")
		return
	}
	shows(t, true, c, chainOf(t, "ecdsa"))
	c.Certificates[0].Passphrase = func() ([]byte, error) { return []byte("wrong"), nil }
	checkRefused(t, "wrong passphrase", true, c, "Certificates[0].ChainFile", "the passphrase may be wrong")
}

// TestPKCS12FIPS: the Library decrypts: with the FIPS provider alone, files whose MAC is not approved are refused, and others read.
func TestPKCS12FIPS(t *testing.T) {
	l := fipsLibrary(t)
	served := func(args ...string) Config {
		file := site(t, "ecdsa", append(args, "-passout", "pass:secret secret")...)
		return Config{Library: l, Properties: "fips=yes", Certificates: []Certificate{{ChainFile: file, Passphrase: func() ([]byte, error) { return []byte("secret secret"), nil }}}}
	}
	checkRefused(t, "PKCS12KDF", true, served(), "Certificates[0].ChainFile", "needs an algorithm that no provider has with the properties fips=yes", "PKCS12KDF")
	if Version().Run.Number >= 0x30200000 {
		shows(t, true, served("-nomac"), chainOf(t, "ecdsa"))
	}
	if Version().Run.Number >= 0x30400000 {
		shows(t, true, served("-pbmac1_pbkdf2"), chainOf(t, "ecdsa"))
	}
}

// TestPKCS12PBMAC1: OpenSSL 3.4 reads the MAC of RFC 9579.
func TestPKCS12PBMAC1(t *testing.T) {
	if Version().Run.Number < 0x30400000 {
		t.Skip("OpenSSL ", Version().Run)
	}
	c := Certificate{ChainFile: site(t, "ecdsa", "-pbmac1_pbkdf2", "-passout", "pass:secret"), Passphrase: passphraseOf(t, "secret")}
	shows(t, true, Config{Certificates: []Certificate{c}}, chainOf(t, "ecdsa"))
}

// manyRounds is a PKCS#12 file whose MAC is said to have 2^31-1 rounds.
func manyRounds(t testing.TB, file string) []byte {
	t.Helper()
	p := tlstest.Value(os.ReadFile(file))(t)
	at := bytes.LastIndex(p, []byte{2, 2, 8, 0})
	demand(t, p[1] == 0x82 && at == len(p)-4, "lengths of another form")
	p = append(p[:at], 2, 4, 0x7f, 0xff, 0xff, 0xff)
	for i := at - 2; ; i-- { // MacData, whose length is one byte
		if p[i] == 0x30 && int(p[i+1]) == at+4-i-2 {
			p[i+1] += 2
			break
		}
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)-4))
	return p
}

// otherKey is a file that is not encrypted, with another key in place of its own.
func otherKey(t testing.TB, file string) []byte {
	t.Helper()
	block, _ := pem.Decode(testcerts.Read(t, "ecdsa.key"))
	p, other := tlstest.Value(os.ReadFile(file))(t), tlstest.Value(x509.MarshalPKCS8PrivateKey(newKey(t)))(t)
	demand(t, bytes.Count(p, block.Bytes) == 1 && len(other) == len(block.Bytes), "the key is not to be found")
	return bytes.Replace(p, block.Bytes, other, 1)
}

// TestPKCS12Refused: what is wrong with a PKCS#12 file is said, with the setting and without a secret, and nothing is left.
func TestPKCS12Refused(t *testing.T) {
	whole := site(t, "ecdsa", "-passout", "pass:4321")
	content := tlstest.Value(os.ReadFile(whole))(t)
	errAsk := errors.New("no terminal")
	says := func(pass string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(pass), nil } }
	set := func(file string, pass func() ([]byte, error)) func(*Config) {
		return func(c *Config) { c.Certificates = []Certificate{{ChainFile: file, Passphrase: pass}} }
	}
	given := func(p []byte, pass string) func(*Config) {
		return func(c *Config) { c.Certificates = []Certificate{{ChainPEM: p, Passphrase: says(pass)}} }
	}
	const file, inMemory, passphrase = "Certificates[0].ChainFile", "Certificates[0].ChainPEM", "Certificates[0].Passphrase"
	rows := []wrongConfig{
		{"wrong passphrase", set(whole, says("wrong 1234")), file, whole + "|cannot be decrypted: the passphrase may be wrong|mac verify failure"},
		{"empty passphrase", set(whole, says("")), file, "the passphrase may be wrong"},
		{"none", set(whole, nil), file, whole + "|the PKCS#12 file is encrypted and Passphrase is not set"},
		{"asking fails", set(whole, func() ([]byte, error) { return nil, errAsk }), passphrase, "no terminal"},
		{"NUL", set(whole, says("4321\x00")), passphrase, "NUL"},
		{"bytes", given(content, "wrong 1234"), inMemory, "the passphrase may be wrong"},
		{"no key", set(pkcs12(t, "-in", testcerts.Path("ecdsa.pem"), "-nokeys", "-passout", "pass:4321"), says("4321")), file, "has no private key, and no other key is set"},
		{"no certificate", set(pkcs12(t, "-inkey", testcerts.Path("ecdsa.key"), "-nocerts", "-passout", "pass:4321"), says("4321")), file, "has no certificate"},
		{"two leaves", set(site(t, "ecdsa", "-certfile", testcerts.Path("rsa.pem"), "-passout", "pass:4321"), says("4321")), file, "1 certificates that are not in the chain"},
		{"another key", given(otherKey(t, plainSite(t, "ecdsa")), ""), "Certificates[0]", "mismatch"},
		{"rounds", given(manyRounds(t, whole), "4321"), inMemory, "has a MAC of more than 10000000 rounds"},
		{"two of a type", func(c *Config) {
			set(plainSite(t, "ecdsa"), nil)(c)
			c.Certificates = append(c.Certificates, c.Certificates[0])
		}, "Certificates[1]", "site.p12|same type"},
	}
	for i := 8; i < len(content); i += 101 {
		rows = append(rows, wrongConfig{fmt.Sprintf("cut off after %d bytes", i), given(content[:i], "4321"), inMemory, "the PKCS#12 file is damaged"})
	}
	checkRefusals(t, true, Config{}, rows, "4321", "1234")
	_, err := NewServerContext(Config{Certificates: []Certificate{{ChainFile: whole, Passphrase: func() ([]byte, error) { return nil, errAsk }}}})
	tlstest.IsError(t, "cause", err, errAsk)
}

// TestPKCS12Reload: the next Context reads the file again, and asks again, but the certificate is shared with the one before.
func TestPKCS12Reload(t *testing.T) {
	file := site(t, "ecdsa", "-passout", "pass:secret")
	build := func(before *Context) *Context {
		own, named := Certificate{ChainFile: file, Passphrase: passphraseOf(t, "secret")}, Certificate{ChainFile: file, Passphrase: passphraseOf(t, "secret")}
		return mustServer(t, Config{Certificates: []Certificate{own}, Names: map[string][]Certificate{"a.example": {named}, "b.example": {named}},
			Previous: before, TicketKeys: [][]byte{make([]byte, 80)}})
	}
	before := live.Certificates()
	first := build(nil)
	second := build(first)
	equal(t, live.Certificates()-before, 1, "certificates")
	client := mustClient(t, clientConfig())
	s := ticketOf(t, client, first)
	resumed, cerr, serr := resumes(t, client, second, s)
	check(t, resumed && cerr == nil && serr == nil, "resumed %v: %v, %v", resumed, cerr, serr)
}

// TestChainURI: a URI names a chain, and its key too if no key is set. The chain is sent in order.
func TestChainURI(t *testing.T) {
	tok, l := tokenLibrary(t)
	want := chainOf(t, "ecdsa")
	block, _ := pem.Decode(testcerts.Read(t, "ecdsa.key"))
	signer := tlstest.Value(x509.ParsePKCS8PrivateKey(block.Bytes))(t).(crypto.Signer)
	swapped := slices.Concat(testcerts.Read(t, "intermediate.pem"), testcerts.Read(t, "ecdsa.pem"))
	tok.Certificates(t, "ec", swapped)
	file := "file:" + writeFile(t, "chain.pem", string(swapped))
	p12 := "file:" + site(t, "ecdsa", "-passout", "pass:secret")
	for name, tt := range map[string]struct {
		c     Certificate
		asked int
	}{
		"chain and key in a token": {Certificate{ChainURI: "token:ec", KeyURI: "token:ec", PIN: pin(tokenPIN)}, 1},
		"one URI for both":         {Certificate{ChainURI: "token:ec", PIN: pin(tokenPIN)}, 1},
		"key in a file":            {Certificate{ChainURI: "token:ec", KeyFile: testcerts.Path("ecdsa.key")}, 0},
		"key in a Signer":          {Certificate{ChainURI: "token:ec", Signer: signer}, 0},
		"file":                     {Certificate{ChainURI: file, KeyURI: "file:" + testcerts.Path("ecdsa.key")}, 0},
		"file, key in a token":     {Certificate{ChainURI: file, KeyURI: "token:ec", PIN: pin(tokenPIN)}, 1},
		"PKCS#12":                  {Certificate{ChainURI: p12, PIN: pin("secret")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			asked, ask := 0, tt.c.PIN
			tt.c.PIN = func(uri string) ([]byte, error) { asked++; return ask(uri) }
			before := tok.Signatures(t)
			shows(t, true, Config{Library: l, Certificates: []Certificate{tt.c}}, want)
			equal(t, asked, tt.asked, "times asked")
			inToken := strings.HasPrefix(tt.c.keyURI(), "token:")
			equal(t, tok.Signatures(t)-before, map[bool]int{false: 0, true: 2}[inToken], "signatures")
			equal(t, len(tlstest.Value(tt.c.ReadChain(l))(t)), len(want), "ReadChain: certificates")
		})
	}
}

// TestReadChain: the certificates of a file or of bytes are those that are sent, of PKCS#12 in order.
func TestReadChain(t *testing.T) {
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	openssl(t, "x509", "-in", testcerts.Path("ecdsa.pem"), "-trustout", "-setalias", "site", "-out", trusted)
	both := slices.Concat(testcerts.Read(t, "ecdsa.key"), testcerts.Read(t, "ecdsa.pem"))
	for name, tt := range map[string]struct {
		c    Certificate
		want [][]byte
	}{
		"PEM":     {Certificate{ChainFile: testcerts.Path("ecdsa.pem")}, chainOf(t, "ecdsa")},
		"bytes":   {Certificate{ChainPEM: both}, chainOf(t, "ecdsa")},
		"trusted": {Certificate{ChainFile: trusted}, chainOf(t, "ecdsa")[:1]},
		"PKCS#12": {Certificate{ChainFile: plainSite(t, "ecdsa", "-certfile", testcerts.Path("root.pem"))}, chainOf(t, "ecdsa", "root")},
	} {
		got := tlstest.Value(tt.c.ReadChain(nil))(t)
		check(t, slices.EqualFunc(got, tt.want, bytes.Equal), "%s: another chain of %d", name, len(got))
	}
	check(t, bytes.Contains(both, []byte("PRIVATE KEY")), "the caller's bytes are overwritten")
	fails((&Certificate{ChainPEM: []byte("-----BEGIN CERTIFICATE-----\nMAUC\n-----END CERTIFICATE-----\n")}).ReadChain(nil))(t, "cut off", "Certificate")
	_, err := (&Certificate{ChainFile: "/no/such/chain"}).ReadChain(nil)
	checkConfigError(t, "no file", err, "Certificate.ChainFile", "no such file")
}

// TestChainURIRefused: what is wrong with a chain by URI is said, and no PIN or its place is shown.
func TestChainURIRefused(t *testing.T) {
	tok, l := tokenLibrary(t)
	tok.Certificates(t, "rsa", slices.Concat(testcerts.Read(t, "rsa.pem"), testcerts.Read(t, "ecdsa.pem")))
	tok.Certificates(t, "client", testcerts.Read(t, "client.pem"))
	chain := func(uri string) func(*Config) {
		return func(c *Config) { c.Certificates = []Certificate{{ChainURI: uri, PIN: pin("4321")}} }
	}
	damaged := writeFile(t, "damaged.pem", string(testcerts.Read(t, "ecdsa.pem"))+"-----BEGIN CERTIFICATE-----\n4321\n-----END CERTIFICATE-----\n")
	const chainURI = "Certificates[0].ChainURI"
	checkRefusals(t, true, Config{Library: l}, []wrongConfig{
		{"no such certificate", chain("token:ec"), chainURI, "there is no such certificate"},
		{"two leaves", chain("token:rsa"), chainURI, "1 certificates that are not in the chain"},
		{"wrong PIN of the key", chain("token:client"), chainURI, "wrong PIN"},
		{"no scheme", chain(testcerts.Path("ecdsa.pem")), chainURI, "no scheme|use ChainFile"},
		{"no provider", chain("pkcs11:object=a?pin-source=file:/etc/pin"), chainURI, "no provider reads pkcs11:"},
		{"pin-value", chain("token:client?pin-value=4321"), chainURI, "pin-value"},
		{"no such file", chain("file:/no/such/chain"), chainURI, "no such file"},
		{"a key", chain("file:" + testcerts.Path("ecdsa.key")), chainURI, "want a certificate, found PRIVATE KEY in PEM"},
		{"no key", chain("file:" + testcerts.Path("ecdsa.pem")), chainURI, "want a private key, found CERTIFICATE (2) in PEM"},
		{"damaged", chain("file:" + damaged), chainURI, "there is no such certificate|CERTIFICATE (3) in PEM"},
		{"a file too", func(c *Config) {
			c.Certificates = []Certificate{{ChainURI: "token:client?pin-source=file:/etc/pin", ChainFile: testcerts.Path("client.pem")}}
		}, chainURI, "token:client\"|use one"},
		{"nothing", func(c *Config) { c.Certificates = []Certificate{{}} }, "Certificates[0]", "neither ChainFile nor ChainPEM nor ChainURI"},
		{"a key for another", func(c *Config) {
			c.Certificates = []Certificate{{ChainURI: "token:client", KeyFile: testcerts.Path("ecdsa.key")}}
		}, "Certificates[0]", "token:client, " + testcerts.Path("ecdsa.key") + "|mismatch"},
	}, "4321", "/etc/pin")
	_, err := (&Certificate{ChainURI: "token:ec"}).ReadChain(l)
	checkConfigError(t, "ReadChain", err, "Certificate.ChainURI", "no such certificate")
}
