package cssl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
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
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewLibrary(tt.c)
			checkConfigError(t, tt.name, err, tt.setting, tt.says...)
			t.Log(err)
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
	s := serverConfig("rsa")
	s.Library, s.TicketKeys = mustLibrary(t, LibraryConfig{}), [][]byte{bytes.Repeat([]byte{1}, 80)}
	server := mustServer(t, s)
	for _, v := range versions {
		newPair(t, mustClient(t, clientUpTo(v)), server).handshake()
	}
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
		if !errors.As(err, &e) || e.Setting != "Properties" || e.Value != properties ||
			!strings.Contains(err.Error(), "no active provider has the algorithms of TLS with these properties") {
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
