package cssl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

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
		_, err := NewLibrary(tt.c)
		checkConfigError(t, tt.name, err, tt.setting, tt.says...)
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
		for _, r := range e.Reasons {
			number, is := strings.CutPrefix(r.Data, "line ")
			_, err := strconv.Atoi(number)
			check(t, r.Data == "" || (is && err == nil), "%s: %q is said of what is in the file", name, r.Data)
		}
		check(t, name != "behind other lines" || strings.Contains(err.Error(), "line 3"), "%v does not name line 3", err)
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
		equal(t, strings.Join(names, " "), tt.want, "providers")
	}
	var system *Library
	check(t, len(system.Providers()) != 0, "the process's default library context has no provider")
}

// TestLibraryMixed: Contexts of different Libraries talk to each other, but one does not hand connections to another.
func TestLibraryMixed(t *testing.T) {
	s := serverConfig("rsa")
	s.Library, s.TicketKeys = mustLibrary(t, LibraryConfig{}), [][]byte{bytes.Repeat([]byte{1}, 80)}
	server := mustServer(t, s)
	for _, v := range versions {
		newPair(t, mustClient(t, clientUpTo(v)), server).handshake()
	}
	other := serverConfig("ecdsa")
	other.SNI = map[string]*Context{"a.example": server}
	fails(NewServerContext(other))(t, "of another Library", "another Library")
}

// TestProperties: what is asked of algorithms and no provider has is refused when the Context is built.
func TestProperties(t *testing.T) {
	for _, properties := range []string{"provider=nosuch", "fips=yes", "no query !"} {
		c := serverConfig("rsa")
		c.Library, c.Properties = mustLibrary(t, LibraryConfig{}), properties
		checkRefused(t, properties, true, c, "Properties", strconv.Quote(properties),
			"no active provider has the algorithms of TLS with these properties")
	}
	c := serverConfig("rsa")
	c.Properties = "?fips=yes"
	newPair(t, mustClient(t, clientConfig()), mustServer(t, c)).handshake()
	c.Properties = "a\x00b"
	fails(NewServerContext(c))(t, "a NUL byte was let through")
}

// TestLibraryWarning runs this test's program with a second libcrypto, and without.
func TestLibraryWarning(t *testing.T) {
	const second, name = "CSSL_SECOND_LIBCRYPTO", "libcrypto.so.0"
	switch err := mustLibrary(t, LibraryConfig{Providers: []string{"default"}}).Warning(); {
	case os.Getenv(second) != "":
		check(t, err != nil && strings.Contains(err.Error(), name) && strings.Contains(err.Error(), linked.Run.String()),
			"with a second libcrypto: %v", err)
		t.Log(err)
	default:
		out, err := runPreloaded(t, sharedObject(t, name, "int nothing;\n"), second+"=1")
		tlstest.Must(t, err)
		says(t, "warning", errors.New(out), "2 libcrypto libraries are loaded", "active providers are default")
	}
}

// fipsLibrary has the fips and base providers alone.
func fipsLibrary(t testing.TB) *Library {
	t.Helper()
	return mustLibrary(t, LibraryConfig{ConfigFile: testtoken.FIPSConfig(t)})
}

// TestFIPS: with the fips and base providers, our defaults serve in both versions, with tickets of our keys, and nothing that is
// not approved is negotiated.
func TestFIPS(t *testing.T) {
	l := fipsLibrary(t)
	names := l.Providers()
	slices.Sort(names)
	demand(t, slices.Equal(names, []string{"base", "fips"}), "%v", names)
	for _, cert := range []string{"ecdsa", "rsa"} {
		for _, v := range []TLSVersion{TLS12, TLS13} {
			t.Run(cert+" "+v.String(), func(t *testing.T) {
				s, c := serverConfig(cert), clientConfig()
				s.Library, s.Properties, s.TicketKeys = l, "fips=yes", [][]byte{bytes.Repeat([]byte{1}, 80)}
				s.CAFile, s.CRLFile, s.Verify = testcerts.Path("root.pem"), testcerts.Path("crl.pem"), VerifyOptional
				c.MinVersion, c.MaxVersion = v, v
				server := mustServer(t, s)
				p := newPair(t, mustClient(t, c), server).shaken()
				check(t, !strings.Contains(p.server.State().Cipher, "CHACHA20"), "%v", p.server.State().Cipher)
				c.Library, c.Properties = l, "fips=yes"
				client := mustClient(t, c)
				p = newPair(t, client, server).opened()
				p = p.again(client, server, "localhost")
				p.handshake()
				check(t, p.client.State().Resumed, "not resumed")
			})
		}
	}
}

// TestFIPSRefused: what is not approved is refused when the Context is built.
func TestFIPSRefused(t *testing.T) {
	l := fipsLibrary(t)
	small := smallRSA(t, "1024")
	for _, properties := range []string{"fips=yes", ""} {
		c := serverConfig("ecdsa")
		c.Library, c.Properties = l, properties
		checkRefusals(t, true, c, []wrongConfig{
			{"suites", func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256" }, "CipherSuites", ""},
			{"list", func(c *Config) { c.CipherList = "ECDHE-ECDSA-CHACHA20-POLY1305" }, "CipherList", ""},
			{"groups", func(c *Config) { c.Groups = "X25519" }, "Groups", ""},
			{"small key", func(c *Config) { c.Certificates[0] = small }, "Certificates[0]", ""},
		})
	}
}

// TestFIPSSmallKey: where the security level lets a small RSA key through, its handshakes fail all the same.
func TestFIPSSmallKey(t *testing.T) {
	const weak = "DEFAULT:@SECLEVEL=0"
	key := smallRSA(t, "1024")
	for _, l := range []*Library{nil, fipsLibrary(t)} {
		for _, v := range versions {
			client := mustClient(t, Config{Verify: VerifyNone, CipherList: weak, MaxVersion: v})
			err := handshakeError(newPair(t, client, mustServer(t, Config{Library: l, CipherList: weak, Certificates: []Certificate{key}})))
			check(t, (err == nil) == (l == nil), "%v, %v: %v", l.Providers(), v, err)
		}
	}
}

func openssl(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command("openssl", args...).CombinedOutput()
	demand(t, err == nil, "openssl %s: %v\n%s", strings.Join(args, " "), err, out)
}

// smallRSA is a certificate of an RSA key of so many bits.
func smallRSA(t testing.TB, bits string) Certificate {
	t.Helper()
	dir := t.TempDir()
	c := Certificate{ChainFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	openssl(t, "req", "-x509", "-newkey", "rsa:"+bits, "-nodes", "-subj", "/CN=localhost", "-keyout", c.KeyFile, "-out", c.ChainFile)
	return c
}

// TestVersion: what is linked has a number and a text that agree, and is no mismatch.
func TestVersion(t *testing.T) {
	v := Version()
	for _, l := range []Release{v.Build, v.Run} {
		check(t, strings.HasPrefix(l.Text, "OpenSSL "+l.String()) && l.series() >= 0x300, "%#x %q", l.Number, l.Text)
	}
	err := v.Mismatch()
	check(t, err == nil && strings.HasPrefix(v.String(), v.Run.Text), "%v: %v", v, err)
}

// TestMismatch: which differences matter.
func TestMismatch(t *testing.T) {
	lib := func(major, minor, patch uint32) Release {
		l := Release{Number: major<<28 | minor<<20 | patch<<4}
		l.Text = "OpenSSL " + l.String()
		return l
	}
	for _, tt := range []struct {
		build, run Release
		want       string // part of the error; empty: none
	}{
		{lib(3, 0, 19), lib(3, 0, 19), ""},
		{lib(3, 0, 19), lib(3, 0, 2), ""},
		{lib(3, 0, 19), lib(3, 5, 9), ""},
		{lib(3, 5, 9), lib(3, 0, 19), "built with OpenSSL 3.5.9, but 3.0.19 is linked, which is older; install OpenSSL 3.5 or newer"},
		{lib(3, 5, 0), lib(4, 0, 0), "major versions have different ABIs"},
		{lib(4, 0, 3), lib(4, 0, 0), ""},
		{lib(4, 0, 3), lib(4, 1, 0), ""},
		{lib(4, 1, 0), lib(4, 0, 3), "install OpenSSL 4.1 or newer"},
		{lib(4, 0, 0), lib(3, 5, 0), "major versions have different ABIs"},
	} {
		v := Versions{tt.build, tt.run}
		err := v.Mismatch()
		check(t, (err == nil) == (tt.want == "") && (err == nil || strings.Contains(err.Error(), tt.want)), "%v: %v", v, err)
		other := tt.build != tt.run
		check(t, strings.Contains(v.String(), "built with") == other, "%v", v)
	}
}

// TestOtherLibraryAtRunTime runs this test's program with a libcrypto that says it is another version. A Context is refused
// with both versions, and nothing crashes.
func TestOtherLibraryAtRunTime(t *testing.T) {
	const is = "CSSL_OTHER_LIBRARY"
	if os.Getenv(is) != "" {
		_, err := NewServerContext(serverConfig("ecdsa"))
		var c *ConfigError
		demand(t, errors.As(err, &c) && c.Setting == "OpenSSL" && live.Contexts() == 0, "%v", err)
		t.Log(err)
		return
	}
	b := linked.Build.Number
	others := []Release{{Number: b&^0xfffffff - 1<<28 | 15<<20}, {Number: b&^0xfffffff + 1<<28}} // the major versions before and after
	if b>>20&0xff > 0 {
		others = append(others, Release{Number: b&^0xfffff - 1<<20}) // an older minor one
	}
	for _, other := range others {
		shim := sharedObject(t, "shim.so", fmt.Sprintf("unsigned long OpenSSL_version_num(void) { return %#x; }\n", other.Number))
		out, err := runPreloaded(t, shim, is+"=1")
		check(t, err == nil && strings.Contains(out, "tls config: OpenSSL: built with OpenSSL "+linked.Build.String()) &&
			strings.Contains(out, other.String()+" is linked"), "%v: %v\n%s", other, err, out)
	}
}

// sharedObject compiles C and returns the file.
func sharedObject(t *testing.T, name, source string) string {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "source.c"), filepath.Join(dir, name)
	tlstest.Must(t, os.WriteFile(from, []byte(source), 0o600))
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", to, from).CombinedOutput()
	demand(t, err == nil, "%v\n%s", err, out)
	return to
}

// runPreloaded runs this test alone, with a shared object before all others, and returns what it says.
func runPreloaded(t *testing.T, object, env string) (string, error) {
	t.Helper()
	return runAlone(t, env, "LD_PRELOAD="+object, "ASAN_OPTIONS=verify_asan_link_order=0")
}

// runAlone runs this test in a process of its own, and returns what it says.
func runAlone(t *testing.T, env ...string) (string, error) {
	t.Helper()
	self := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	self.Env = append(os.Environ(), env...)
	out, err := self.CombinedOutput()
	return string(out), err
}
