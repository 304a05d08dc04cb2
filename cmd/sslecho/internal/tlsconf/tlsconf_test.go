package tlsconf

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// of is a certificate of the test PKI.
func of(name string) (chain, key string) {
	return testcerts.Path(name + ".pem"), testcerts.Path(name + ".key")
}

// with are TLS settings with certificates.
func with(names ...string) config.TLS {
	var t config.TLS
	for _, n := range names {
		chain, key := of(n)
		t.Certs, t.Keys = append(t.Certs, chain), append(t.Keys, key)
	}
	return t
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	tlstest.Must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	return string(tlstest.Value(os.ReadFile(path))(t))
}

// first is the first certificate of a file, in DER.
func first(t *testing.T, path string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, path)))
	return block.Bytes
}

// build is what settings make. Its context is closed.
func build(t *testing.T, c config.TLS) *Built {
	t.Helper()
	var b Builder
	built := tlstest.Value(b.Build(&c))(t)
	built.Context.Close()
	return built
}

// TestBuild: each certificate is known by name, serial and date; without one, one is made and stays the same.
func TestBuild(t *testing.T) {
	var b Builder
	c := with("ecdsa", "rsa")
	chain, key := of("ed25519")
	c.SNI = []config.ServerName{{Name: "*.example", Certificates: []config.Certificate{{Chain: chain, Key: key}}}}
	built := tlstest.Value(b.Build(&c))(t)
	defer built.Context.Close()
	if len(built.Certificates) != 3 || built.Fingerprint != "" {
		t.Fatalf("%d certificates, fingerprint %q", len(built.Certificates), built.Fingerprint)
	}
	for _, f := range built.Certificates {
		if f.Name == "" || f.Serial == "" || f.NotAfter.IsZero() || f.File == "" {
			t.Errorf("%+v", f)
		}
	}
	prints := map[string]bool{}
	for range 2 {
		made := tlstest.Value(b.Build(&config.TLS{}))(t)
		made.Context.Close()
		prints[made.Fingerprint] = true
	}
	if len(prints) != 1 || prints[""] {
		t.Errorf("fingerprints %v", prints)
	}
}

// p12 packs a file of PEM, a chain and its key, as PKCS#12.
func p12(t *testing.T, in, passphrase string, more ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "site.p12")
	args := append([]string{"pkcs12", "-export", "-in", in, "-out", out, "-passout", "pass:" + passphrase}, more...)
	if text, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl pkcs12: %v\n%s", err, text)
	}
	return out
}

// pairFile is a certificate of the test PKI with its key behind it.
func pairFile(t *testing.T, name string) string {
	t.Helper()
	chain, key := of(name)
	return file(t, name+".pem", read(t, chain)+read(t, key))
}

// TestBuildPacked: PKCS#12 and URIs are known by name, serial and date as PEM is, with the key in them or another one.
func TestBuildPacked(t *testing.T) {
	chain, _ := of("ecdsa")
	key := file(t, "key.pem", read(t, testcerts.Path("ecdsa.key")))
	pass, pin := file(t, "pass", "secret\n"), file(t, "pin", "4321\n")
	var b Builder
	plain := with("ecdsa")
	want := tlstest.Value(b.Build(&plain))(t)
	want.Context.Close()
	secret, numbered := p12(t, pairFile(t, "ecdsa"), "secret"), p12(t, pairFile(t, "ecdsa"), "4321")
	for _, files := range []config.Certificate{
		{Chain: secret}, {Chain: secret, Key: key}, {Chain: secret, Key: "file:" + key},
		{Chain: "file:" + numbered}, {Chain: "file:" + numbered, Key: key}, {Chain: "file:" + chain, Key: key},
	} {
		c := config.TLS{Certs: []string{files.Chain}, Keys: []string{files.Key}, PassphraseFile: pass, PINFile: pin,
			SNI: []config.ServerName{{Name: "a.example", Certificates: []config.Certificate{files}}}}
		built := tlstest.Value(b.Build(&c))(t)
		built.Context.Close()
		if len(built.Certificates) != 2 || len(built.Warnings) != 0 {
			t.Fatalf("%v: %d certificates, warnings %q", files, len(built.Certificates), built.Warnings)
		}
		for _, got := range built.Certificates {
			if got.File != files.Chain || got.Serial != want.Certificates[0].Serial || !got.NotAfter.Equal(want.Certificates[0].NotAfter) ||
				len(got.chain) != 2 {
				t.Errorf("%v: %+v", files, got)
			}
		}
	}
}

// TestLegacyPacked: a file with RC2 is refused with the flag for its provider; with that it is read.
func TestLegacyPacked(t *testing.T) {
	legacy := cssl.LibraryConfig{Providers: []string{"default", "legacy"}}
	if _, err := cssl.NewLibrary(legacy); err != nil {
		t.Skip(err)
	}
	c := config.TLS{Certs: []string{p12(t, pairFile(t, "ecdsa"), "secret", "-legacy")}, PassphraseFile: file(t, "pass", "secret\n")}
	var b Builder
	if _, err := b.Build(&c); err == nil || !strings.Contains(err.Error(), `"legacy" in --providers`) || !strings.Contains(err.Error(), "RC2-40-CBC") {
		t.Error(err)
	}
	c.Library = legacy
	built := build(t, c)
	if len(built.Certificates) != 1 || built.Certificates[0].Serial == "" || len(built.Warnings) != 0 {
		t.Errorf("%+v, warnings %q", built.Certificates, built.Warnings)
	}
}

// echError is what is wrong with a file that is no key for Encrypted Client Hello.
func echError(file string) []string {
	if v := cssl.Version().Run; v.Number < 0x40000000 {
		return []string{"--ech-key: Encrypted Client Hello needs OpenSSL 4.0 or newer, " + v.String()}
	}
	return []string{"--ech-key \"" + file, "want a PRIVATE KEY and its ECHCONFIG in PEM", "found PRIVATE KEY in PEM"}
}

// TestFaults: each fault is told with its flag and file, and what is wrong. Of two
// certificates of a type, both are named (P47).
func TestFaults(t *testing.T) {
	ecdsa, ecdsaKey := of("ecdsa")
	missing := filepath.Join(t.TempDir(), "missing")
	encrypted := testcerts.Path("encrypted.key")
	dir, der := t.TempDir(), file(t, "c.der", "\x30\x82\x01\x00")
	packed := p12(t, pairFile(t, "ecdsa"), "SECRET")
	const certs, ticketKey = "want certificates in PEM, leaf first", "want keys of 48 or 80 bytes"
	const sharedKey = "client:53454352455453454352455453454352\n"
	sni := func(chain, key string) func(*config.TLS) {
		return func(c *config.TLS) {
			c.SNI = []config.ServerName{{Name: "a.example", Certificates: []config.Certificate{{Chain: chain, Key: key}}}}
		}
	}
	for name, tt := range map[string]struct {
		change func(*config.TLS)
		want   []string
	}{
		"no chain":              {func(c *config.TLS) { c.Certs[0] = missing }, []string{"--cert \"", missing, "no such file", certs}},
		"chain is a directory":  {func(c *config.TLS) { c.Certs[0] = dir }, []string{"--cert \"", dir, "is a directory", certs}},
		"no key":                {func(c *config.TLS) { c.Keys[0] = missing }, []string{"--key", missing, "no such file"}},
		"mismatch":              {func(c *config.TLS) { c.Keys[0] = testcerts.Path("rsa.key") }, []string{"--cert", ecdsa, "--key", testcerts.Path("rsa.key"), "mismatch"}},
		"garbage chain":         {func(c *config.TLS) { c.Certs[0] = file(t, "c", "garbage") }, []string{"--cert", "want certificates in PEM", "found text"}},
		"garbage key":           {func(c *config.TLS) { c.Keys[0] = file(t, "k", "garbage") }, []string{"--key \"", "want a private key in PEM", "found text"}},
		"no passphrase":         {func(c *config.TLS) { c.Keys[0] = encrypted }, []string{"--key \"" + encrypted, "encrypted", "--key-passphrase-file"}},
		"wrong phrase":          {func(c *config.TLS) { c.Keys[0], c.PassphraseFile = encrypted, file(t, "p", "wrong SECRET\n") }, []string{"--key \"" + encrypted, "the passphrase may be wrong", "bad decrypt"}},
		"phrase missing":        {func(c *config.TLS) { c.Keys[0], c.PassphraseFile = encrypted, missing }, []string{"--key-passphrase-file", missing, "no such file", "want a passphrase on one line"}},
		"packed, no passphrase": {func(c *config.TLS) { c.Certs, c.Keys = []string{packed}, nil }, []string{"--cert \"" + packed, "encrypted", "--key-passphrase-file"}},
		"packed, wrong phrase": {func(c *config.TLS) {
			c.Certs, c.Keys, c.PassphraseFile = []string{packed}, nil, file(t, "p", "wrong SECRET\n")
		}, []string{"--cert \"" + packed, "the passphrase may be wrong"}},
		"packed, another key": {func(c *config.TLS) {
			c.Certs[0], c.PassphraseFile = packed, file(t, "p", "SECRET\n")
			c.Keys[0] = testcerts.Path("rsa.key")
		}, []string{"--cert \"" + packed, "--key", testcerts.Path("rsa.key"), "mismatch"}},
		"no chain by URI":           {func(c *config.TLS) { c.Certs[0] = "file:" + missing }, []string{"--cert \"file:" + missing, "no such certificate", "no such file"}},
		"no key by URI":             {func(c *config.TLS) { c.Certs, c.Keys = []string{"file:" + ecdsa}, nil }, []string{"--cert \"file:" + ecdsa, "no such private key"}},
		"no provider for the URI":   {func(c *config.TLS) { c.Certs[0] = "pkcs11:object=a?pin-source=file:/SECRET" }, []string{"--cert \"pkcs11:object=a\"", "no provider reads pkcs11: URIs"}},
		"a PIN for the URI":         {func(c *config.TLS) { c.Certs[0] = "file:" + packed }, []string{"--pin-file", "not set"}},
		"cipher":                    {func(c *config.TLS) { c.CipherList = "NOPE" }, []string{"--ciphers", "NOPE", "no cipher match"}},
		"suite":                     {func(c *config.TLS) { c.CipherSuites = "NOPE" }, []string{"--ciphersuites", "NOPE"}},
		"group":                     {func(c *config.TLS) { c.Groups = "NOPE" }, []string{"--groups", "NOPE"}},
		"sigalgs":                   {func(c *config.TLS) { c.SignatureAlgorithms = "NOPE" }, []string{"--sigalgs", "NOPE"}},
		"ALPN":                      {func(c *config.TLS) { c.ALPN = []string{""} }, []string{"--alpn"}},
		"CA":                        {func(c *config.TLS) { c.CAFile = missing }, []string{"--client-ca", missing}},
		"CRL":                       {func(c *config.TLS) { c.CRLFile = ecdsa }, []string{"--client-crl", ecdsa, "want revocation lists in PEM", "found CERTIFICATE (2) in PEM"}},
		"OCSP":                      {func(c *config.TLS) { c.OCSPFiles = []string{ecdsa} }, []string{"--ocsp-file", ecdsa, "DER", "found CERTIFICATE (2) in PEM", "(openssl ocsp -respout writes one)"}},
		"OCSP is a DER certificate": {func(c *config.TLS) { c.OCSPFiles = []string{file(t, "o", string(first(t, ecdsa)))} }, []string{"--ocsp-file", "found a certificate in DER; ", "(openssl ocsp -respout writes one)"}},
		"keylog":                    {func(c *config.TLS) { c.KeyLogFile = missing + "/x" }, []string{"--keylog", missing}},
		"ticket keys":               {func(c *config.TLS) { c.TicketKeysFile = missing }, []string{"--ticket-keys", missing, ticketKey}},
		"ticket keys directory":     {func(c *config.TLS) { c.TicketKeysFile = dir }, []string{"--ticket-keys", dir, "is a directory", ticketKey}},
		"short key":                 {func(c *config.TLS) { c.TicketKeysFile = file(t, "t", "U0VDUkVU\n") }, []string{"--ticket-keys", "line 1", "48 or 80"}},
		"key in place of phrase":    {func(c *config.TLS) { c.Keys[0], c.PassphraseFile = encrypted, ecdsaKey }, []string{"--key-passphrase-file", ecdsaKey, "want a passphrase on one line", "found PRIVATE KEY in PEM"}},
		"empty phrase":              {func(c *config.TLS) { c.Keys[0], c.PassphraseFile = encrypted, file(t, "p", "\n") }, []string{"--key-passphrase-file", "found nothing but white space"}},
		"ticket keys are a key":     {func(c *config.TLS) { c.TicketKeysFile = ecdsaKey }, []string{"--ticket-keys", ecdsaKey, "found PRIVATE KEY in PEM"}},
		"empty ticket keys":         {func(c *config.TLS) { c.TicketKeysFile = file(t, "t", "") }, []string{"--ticket-keys", "found nothing"}},
		"PSKs":                      {func(c *config.TLS) { c.PSKFile = missing }, []string{"--psk-file", missing, "want lines of identity:hexkey"}},
		"PSKs, short key":           {func(c *config.TLS) { c.PSKFile = file(t, "p", "# a\n\na:00112233445566778899aabbccddee\n") }, []string{"--psk-file", "/p: line 3 ", "16 to 256"}},
		"PSKs, no hexadecimal":      {func(c *config.TLS) { c.PSKFile = file(t, "p", sharedKey+"a:SECRETSECRETSECRETSECRETSECRETSE\n") }, []string{"--psk-file", "/p: line 2 "}},
		"PSKs, no identity":         {func(c *config.TLS) { c.PSKFile = file(t, "p", sharedKey+sharedKey[len("client"):]) }, []string{"--psk-file", "/p: line 2 "}},
		"PSKs, no colon":            {func(c *config.TLS) { c.PSKFile = file(t, "p", "SECRET\n") }, []string{"--psk-file", "/p: line 1 "}},
		"PSKs, long identity":       {func(c *config.TLS) { c.PSKFile = file(t, "p", strings.Repeat("a", 1024)+sharedKey) }, []string{"--psk-file", "1 to 1024"}},
		"PSKs, identity twice":      {func(c *config.TLS) { c.PSKFile = file(t, "p", sharedKey+"\n"+sharedKey) }, []string{"--psk-file", "/p: line 3 has the identity of line 1"}},
		"PSKs are a key":            {func(c *config.TLS) { c.PSKFile = ecdsaKey }, []string{"--psk-file", ecdsaKey, "found PRIVATE KEY in PEM"}},
		"no PSK at all":             {func(c *config.TLS) { c.PSKFile = file(t, "p", "# nothing\n") }, []string{"--psk-file", "no key"}},
		"PSKs, old TLS": {func(c *config.TLS) { c.PSKFile, c.MaxVersion = file(t, "p", sharedKey), cssl.TLS12 },
			[]string{"--psk-file: need TLS 1.3, but --max-version is lower"}},
		"PSKs, no suite": {func(c *config.TLS) { c.PSKFile, c.CipherSuites = file(t, "p", sharedKey), "TLS_AES_256_GCM_SHA384" },
			[]string{"--psk-file \"", "no cipher suite with this hash", "--ciphersuites"}},
		"ECH key":          {func(c *config.TLS) { c.ECHKeyFiles = []string{ecdsaKey} }, echError(ecdsaKey)},
		"DER chain":        {func(c *config.TLS) { c.Certs[0] = file(t, "c", "\x30\x82\x01\x00") }, []string{"--cert", "want certificates in PEM", "found data in DER"}},
		"CA is a key":      {func(c *config.TLS) { c.CAFile = ecdsaKey }, []string{"--client-ca \"" + ecdsaKey, "want CA certificates in PEM", "found PRIVATE KEY in PEM"}},
		"directory":        {func(c *config.TLS) { c.Keys[0] = filepath.Dir(ecdsaKey) }, []string{"--key", filepath.Dir(ecdsaKey), "is a directory", "want a private key"}},
		"no key at all":    {func(c *config.TLS) { c.TicketKeysFile = file(t, "t", "# nothing\n") }, []string{"--ticket-keys", "no key"}},
		"SNI":              {sni(ecdsa, missing), []string{"--sni a.example", missing}},
		"SNI, no chain":    {sni(missing, ecdsaKey), []string{"--sni a.example \"", missing, "no such file", certs}},
		"SNI, directory":   {sni(dir, ecdsaKey), []string{"--sni a.example \"", dir, "is a directory", certs}},
		"SNI, DER":         {sni(der, ecdsaKey), []string{"--sni a.example \"" + der, certs, "found data in DER"}},
		"SNI, key":         {sni(ecdsaKey, ecdsaKey), []string{"--sni a.example \"" + ecdsaKey, certs, "found PRIVATE KEY in PEM"}},
		"SNI, garbage key": {sni(ecdsa, der), []string{"--sni a.example \"" + der, "want a private key in PEM", "found data in DER"}},
		"SNI with a dot": {func(c *config.TLS) {
			n := config.ServerName{Name: "a.example", Certificates: []config.Certificate{{Chain: ecdsa, Key: ecdsaKey}}}
			c.SNI = []config.ServerName{n, {Name: "a.example.", Certificates: n.Certificates}}
		}, []string{"--sni", "a.example", "another spelling"}},
		"SNI, two of a type": {func(c *config.TLS) {
			s := names(t, 2, "ecdsa")
			s[0].Certificates = append(s[0].Certificates, s[1].Certificates...)
			c.SNI = s[:1]
		}, []string{"--sni h0.example", "1.pem", "0.pem", "same type"}},
		"SNI, bad name":         {func(c *config.TLS) { c.SNI = names(t, 1, "ecdsa"); c.SNI[0].Name = "a*.example" }, []string{"--sni", "a*.example"}},
		"SNI, another spelling": {func(c *config.TLS) { c.SNI = names(t, 2, "ecdsa"); c.SNI[0].Name = "H1.example." }, []string{"--sni", "another spelling"}},
		"two of a type":         {func(c *config.TLS) { c.Certs, c.Keys = append(c.Certs, ecdsa), append(c.Keys, ecdsaKey) }, []string{"--cert", ecdsa, "same type"}},
		"session's life":        {func(c *config.TLS) { c.SessionLifetime = 200 * time.Hour }, []string{"--session-lifetime", "200h", "7 days"}},
	} {
		c := with("ecdsa")
		tt.change(&c)
		var b Builder
		built, err := b.Build(&c)
		b.Close()
		if err == nil {
			built.Context.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "5345435245") {
			t.Errorf("%s: a secret in the message: %v", name, err)
		}
	}
}

// TestPassphrase: a key that is encrypted is read with the passphrase of the file, whose line end does not count.
func TestPassphrase(t *testing.T) {
	c := with("ecdsa")
	c.Keys[0] = testcerts.Path("encrypted.key")
	c.PassphraseFile = file(t, "p", "secret\r\n")
	build(t, c)
}

// TestTicketKeys: both forms of the file, and comments.
func TestTicketKeys(t *testing.T) {
	random := func(n int) []byte {
		p := make([]byte, n)
		rand.Read(p)
		p[0] = 0 // never text
		return p
	}
	line := func(p []byte) string { return base64.StdEncoding.EncodeToString(p) + "\n" }
	a, b, long := random(48), random(48), random(80)
	for name, tt := range map[string]struct {
		content string
		want    [][]byte
	}{
		"binary, short": {string(a), [][]byte{a}},
		"binary, long":  {string(long), [][]byte{long}},
		"lines":         {"# the newest one first\n" + line(a) + "\n" + line(b), [][]byte{a, b}},
		"long lines":    {line(long), [][]byte{long}},
	} {
		keys, err := ticketKeys(file(t, "keys", tt.content))
		if err != nil || !slices.EqualFunc(keys, tt.want, bytes.Equal) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

// TestSharedKeys: the lines of a file are pre-shared keys, but for comments and empty ones.
func TestSharedKeys(t *testing.T) {
	keys := tlstest.Value(sharedKeys(file(t, "psk", "# device: 1\r\n\nurn:dev:7:000102030405060708090A0b0c0d0e0f\r\n  b:"+strings.Repeat("ff", 256))))(t)
	want := []cssl.PSK{
		{Identity: []byte("urn:dev:7"), Key: []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")},
		{Identity: []byte("b"), Key: bytes.Repeat([]byte{0xff}, 256)},
	}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("%x, want %x", keys, want)
	}
}

// TestKeyLog: it is opened once, for its owner alone, and what is in it stays.
func TestKeyLog(t *testing.T) {
	c := with("ecdsa")
	c.KeyLogFile = file(t, "keys", "# before\n")
	var b Builder
	for range 2 {
		built := tlstest.Value(b.Build(&c))(t)
		built.Context.Close()
	}
	b.Close()
	if s := read(t, c.KeyLogFile); s != "# before\n" {
		t.Errorf("it holds %q", s)
	}
}

// TestCheck: dates, order and completeness of chains, each told with its file.
func TestCheck(t *testing.T) {
	pemOf := func(name string) []string {
		var out []string
		for _, p := range strings.SplitAfter(read(t, testcerts.Path(name)), "-----END CERTIFICATE-----\n") {
			if i := strings.Index(p, "-----BEGIN CERTIFICATE-----"); i >= 0 {
				out = append(out, p[i:])
			}
		}
		return out
	}
	chain := pemOf("ecdsa.pem")
	for name, tt := range map[string]struct {
		chain string
		want  string
	}{
		"complete":     {strings.Join(chain, ""), ""},
		"with root":    {strings.Join(append(chain, pemOf("root.pem")...), ""), ""},
		"leaf alone":   {chain[0], "may be incomplete"},
		"wrong order":  {chain[0] + pemOf("root.pem")[0] + chain[1], "was not issued by the one behind it"},
		"wrong issuer": {chain[0] + pemOf("other-root.pem")[0], "was not issued by the one behind it"},
	} {
		c := with("ecdsa")
		c.Certs[0] = file(t, "chain.pem", tt.chain)
		err := build(t, c).Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), c.Certs[0])) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestWarningsOfKeys: that everybody can read a key is told with the setting
// that names its file.
func TestWarningsOfKeys(t *testing.T) {
	chain, key := of("ecdsa")
	open := func(content string) string {
		name := file(t, "open", content)
		tlstest.Must(t, os.Chmod(name, 0o644))
		return name
	}
	psks, tickets := open("client:"+strings.Repeat("5a", 16)), open(strings.Repeat("t", 48))
	alone, both := open(read(t, key)), open(read(t, key)+read(t, chain))
	for name, tt := range map[string]struct {
		settings config.TLS
		want     string
	}{
		"key":          {config.TLS{Certs: []string{chain}, Keys: []string{alone}}, "--key " + alone},
		"in the chain": {config.TLS{Certs: []string{both}}, "--cert " + both},
		"server name": {config.TLS{SNI: []config.ServerName{{Name: "a.example", Certificates: []config.Certificate{{Chain: chain, Key: alone}}}}},
			"--sni a.example " + alone},
		"PSKs":        {config.TLS{PSKFile: psks}, "--psk-file " + psks},
		"ticket keys": {config.TLS{TicketKeysFile: tickets}, "--ticket-keys " + tickets},
	} {
		if all := strings.Join(build(t, tt.settings).Warnings, "\n"); !strings.Contains(all, tt.want+": everybody can read it") {
			t.Errorf("%s: %q, want %q in it", name, all, tt.want)
		}
	}
}
