package config

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// mustLoad wants a configuration.
func mustLoad(t *testing.T, args, environ []string) *Config {
	t.Helper()
	c, err := Load(args, environ, io.Discard)
	if err != nil {
		t.Fatalf("%q %q: %v", args, environ, err)
	}
	return c
}

// write makes a configuration file and answers its name.
func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sslecho.yaml")
	tlstest.Must(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// samples has a value that is not the default for each setting, as a variable has it, and flags that it needs to make
// sense.
var samples = map[string]struct {
	text string
	with []string
}{
	"listen":              {"127.0.0.1:0, unix:/run/s", nil},
	"loops":               {"3", nil},
	"service":             {"chargen", nil},
	"cert":                {"a.pem,b.pem", nil},
	"key":                 {"a.key,b.key", []string{"--cert=a.pem", "--cert=b.pem"}},
	"sni":                 {"a.example=a.pem,a.key;*.b.example=b.pem,b.key,c.pem,c.key", nil},
	"key-passphrase-file": {"/run/pass", nil},
	"pin-file":            {"/run/pin", []string{"--cert=a.pem", "--key=pkcs11:object=a"}},
	"providers":           {"default,pkcs11", nil},
	"provider-path":       {"/usr/lib/modules", nil},
	"openssl-config":      {"/etc/sslecho/openssl.cnf", nil},
	"properties":          {"fips=yes", nil},
	"min-version":         {"1.3", nil},
	"max-version":         {"1.2", nil},
	"ciphers":             {"ECDHE+AESGCM:@SECLEVEL=2", nil},
	"ciphersuites":        {"TLS_AES_128_GCM_SHA256", nil},
	"groups":              {"X25519:P-256", nil},
	"sigalgs":             {"ecdsa_secp256r1_sha256", nil},
	"alpn":                {"h2,http/1.1", nil},
	"renegotiation":       {"true", nil},
	"records":             {"direct", nil},
	"ocsp-file":           {",b.der", []string{"--cert=a.pem", "--cert=b.pem"}},
	"keylog":              {"keys.log", nil},
	"client-auth":         {"require", []string{"--client-ca=ca.pem"}},
	"client-ca":           {"ca.pem", []string{"--client-auth=none"}},
	"client-crl":          {"crl.pem", []string{"--client-auth=none"}},
	"client-verify-depth": {"2", nil},
	"tickets":             {"4", nil},
	"no-tickets":          {"true", nil},
	"ticket-keys":         {"tickets.keys", nil},
	"session-lifetime":    {"12h0m0s", nil},
	"session-cache":       {"1000", nil},
	"max-conns":           {"5000", nil},
	"max-conns-per-addr":  {"50", nil},
	"max-handshakes":      {"500", nil},
	"new-conns-rate":      {"2.5", nil},
	"new-conns-burst":     {"20", []string{"--new-conns-rate=2"}},
	"max-queue":           {"64MiB", nil},
	"max-queued":          {"1GiB", nil},
	"handshake-timeout":   {"3s", nil},
	"idle-timeout":        {"1m0s", nil},
	"write-timeout":       {"30s", nil},
	"close-timeout":       {"2s", nil},
	"keep-alive":          {"1m0s", nil},
	"drain-delay":         {"7s", nil},
	"drain-wait":          {"8s", nil},
	"drain-timeout":       {"1m30s", nil},
	"reload-timeout":      {"5s", nil},
	"proxy-protocol":      {"true", []string{"--proxy-trusted=::1"}},
	"proxy-trusted":       {"10.0.0.0/8,fd00::/8", []string{"--proxy-protocol=false"}},
	"admin":               {"unix:/run/admin", nil},
	"pprof":               {"true", []string{"--admin=127.0.0.1:9000"}},
	"log-level":           {"debug", nil},
	"log-format":          {"json", nil},
	"trace":               {"true", nil},
	"user":                {"nobody:nogroup", nil},
	"pid-file":            {"/run/s.pid", nil},
	"watch":               {"true", nil},
	"check":               {"true", nil},
	"print-config":        {"true", []string{"--check"}},
	"config":              {"", nil}, // a file that exists: see place
}

// row is a setting of c.
func row(c *Config, name string) *setting {
	all := c.settings()
	return all[slices.IndexFunc(all, func(s *setting) bool { return s.name == name })]
}

// has reports whether the field of a setting has the value of one text of a
// variable.
func has(t *testing.T, c *Config, s *setting, text string) bool {
	t.Helper()
	want := row(&Config{}, s.name)
	if bad, err := want.set(s.split(text)); err != nil {
		t.Fatalf("%s: %q: %v", s.name, bad, err)
	}
	return reflect.DeepEqual(row(c, s.name).to, want.to)
}

// place gives a setting a value in each of the sources that are in texts, beside what it needs.
func place(t *testing.T, s *setting, texts map[source]string) (args, environ []string) {
	t.Helper()
	args = slices.DeleteFunc(slices.Clone(samples[s.name].with), func(arg string) bool {
		return arg == "--"+s.name || strings.HasPrefix(arg, "--"+s.name+"=")
	})
	for from, text := range texts {
		switch from {
		case byFlag:
			if s.repeat && text != "" {
				for _, element := range s.split(text) {
					args = append(args, "--"+s.name, element)
				}
			} else {
				args = append(args, "--"+s.name+"="+text)
			}
		case byEnvironment:
			environ = append(environ, variable(s.name)+"="+text)
		case byFile:
			var content any = text
			if s.list {
				content = s.split(text)
			}
			b := tlstest.Value(yaml.Marshal(map[string]any{s.name: content}))(t)
			args = append(args, "--config", write(t, string(b)))
		}
	}
	return args, environ
}

// TestEverySource: each setting can be set as a flag, as a variable and in the file, alike. A setting without a sample
// fails.
func TestEverySource(t *testing.T) {
	for _, s := range settings {
		sample, ok := samples[s.name]
		if !ok {
			t.Errorf("%s has no sample", s.name)
			continue
		}
		if s.name == "config" {
			sample.text = write(t, "")
		}
		if slices.Equal(s.split(sample.text), s.split(s.def)) {
			t.Errorf("%s: the sample is the default", s.name)
		}
		for _, from := range []source{byFile, byEnvironment, byFlag} {
			if s.act && from == byFile {
				continue
			}
			args, environ := place(t, s, map[source]string{from: sample.text})
			c := mustLoad(t, args, environ)
			if !has(t, c, s, sample.text) {
				t.Errorf("%s by %v: %v, want %s", s.name, from, c.given[s.name].texts, sample.text)
			}
			if got := c.given[s.name].by; got != from {
				t.Errorf("%s by %v: comes from %v", s.name, from, got)
			}
		}
	}
}

// TestPrecedence: for each setting and each two sources the stronger one wins, whether it has the default or not.
func TestPrecedence(t *testing.T) {
	for _, s := range settings {
		if s.act {
			continue
		}
		values := [2]string{s.def, samples[s.name].text}
		for _, pair := range [][2]source{{byFlag, byEnvironment}, {byFlag, byFile}, {byEnvironment, byFile}} {
			for i, text := range values {
				args, environ := place(t, s, map[source]string{pair[0]: text, pair[1]: values[1-i]})
				c := mustLoad(t, args, environ)
				if !has(t, c, s, text) || c.given[s.name].by != pair[0] {
					t.Errorf("%s: %v over %v: %v from %v, want %s", s.name, pair[0], pair[1], c.given[s.name].texts, c.given[s.name].by, text)
				}
			}
		}
	}
	// The file itself is named by any of the two that can.
	a, b := write(t, "loops: 1"), write(t, "loops: 2")
	if c := mustLoad(t, []string{"--config", a}, []string{"SSLECHO_CONFIG=" + b}); c.Loops != 1 || c.File != a {
		t.Errorf("--config over SSLECHO_CONFIG: %d loops from %s", c.Loops, c.File)
	}
	if c := mustLoad(t, nil, []string{"SSLECHO_CONFIG=" + b}); c.Loops != 2 || c.File != b {
		t.Errorf("SSLECHO_CONFIG: %d loops from %q", c.Loops, c.File)
	}
	if c := mustLoad(t, []string{"--config="}, []string{"SSLECHO_CONFIG=" + b}); c.Loops != 0 || c.File != "" {
		t.Errorf("--config= over SSLECHO_CONFIG: %d loops from %q", c.Loops, c.File)
	}
}

// TestDefaults: without any source there is a configuration that a daemon can run with, and no warning.
func TestDefaults(t *testing.T) {
	c := mustLoad(t, nil, []string{"PATH=/bin", "HOME=/", "SSLECHO_ACTIVE_HELP=0", "XSSLECHO_LOOPS=9"})
	want := &Config{
		Listen:      []string{"127.0.0.1:8443"},
		ServiceName: "echo",
		TLS:         TLS{Config: cssl.Config{MinVersion: cssl.TLS12, Verify: cssl.VerifyNone, Tickets: 1, SessionLifetime: 24 * time.Hour}},
		Limits:      Limits{MaxQueue: 16 << 20},
		Timeouts:    Timeouts{Handshake: 10 * time.Second, Close: 5 * time.Second, Drain: 10 * time.Second, KeepAlive: 15 * time.Second, Reload: 30 * time.Second},
		LogLevel:    slog.LevelInfo,
		LogFormat:   LogText,
		given:       c.given, flags: c.flags,
	}
	c.environ = nil
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant\n%+v", c, want)
	}
	if n, err := parseSize(minQueue); n != 2*services.HighWater || err != nil {
		t.Errorf("the least queue is %s, want twice services.HighWater", minQueue)
	}
	if c.TLS.Certificates() != nil || len(c.Warnings()) != 0 {
		t.Error(c.TLS.Certificates(), c.Warnings())
	}
}

// TestTyped: values arrive in the types that the daemon works with.
func TestTyped(t *testing.T) {
	c := mustLoad(t, []string{"--sni", "a.example=a.pem,a.key", "--sni", "b.example=both.pem", "--cert=1.pem", "--cert=2.pem", "--key=",
		"--key=2.key", "--ocsp-file=1.der", "--proxy-protocol", "--proxy-trusted=10.1.2.3/8,::ffff:192.0.2.1,::/0", "--max-queue=1GiB",
		"--max-queued", "268435456", "--user", "nobody", "--min-version=TLSv1.3", "--log-level=warn", "--client-auth=optional", "--client-ca=x",
		"--idle-timeout=90m", "--new-conns-rate=0.5", "--keylog=k"}, nil)
	for _, x := range []struct{ got, want any }{
		{c.TLS.SNI, []ServerName{{"a.example", []Certificate{{Chain: "a.pem", Key: "a.key"}}}, {"b.example", []Certificate{{Chain: "both.pem"}}}}},
		{c.TLS.Certificates(), []Certificate{{Chain: "1.pem", OCSP: "1.der"}, {Chain: "2.pem", Key: "2.key"}}},
		{c.ProxyTrusted, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::/0")}},
		{c.Limits.MaxQueue, int64(1 << 30)},
		{c.Limits.MaxQueued, int64(1 << 28)},
		{c.Limits.Burst(), 1},
		{(&Limits{NewConnsRate: 2.1}).Burst(), 3},
		{(&Limits{NewConnsRate: 2, NewConnsBurst: 9}).Burst(), 9},
		{c.User, User{Name: "nobody"}},
		{c.TLS.MinVersion, cssl.TLS13},
		{c.LogLevel, slog.LevelWarn},
		{c.TLS.Verify, cssl.VerifyOptional},
		{c.Timeouts.Idle, 90 * time.Minute},
		{len(c.Warnings()), 2},
		{strings.Join(c.Warnings(), "\n"), "--keylog: the secrets of all connections are written to k; who reads it can decrypt them\n" +
			"--proxy-trusted ::/0: everybody may say which address they come from"},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%#v, want %#v", x.got, x.want)
		}
	}
}

// TestLists: what separates the elements of a list in each source.
func TestLists(t *testing.T) {
	alpn := func(c *Config) []string { return c.TLS.ALPN }
	listen := func(c *Config) []string { return c.Listen }
	certs := func(c *Config) []string { return c.TLS.Certs }
	for _, x := range []struct {
		args, environ []string
		file          string
		of            func(*Config) []string
		want          []string
	}{
		{args: []string{"--alpn=h2, x", "--alpn=y"}, of: alpn, want: []string{"h2", "x", "y"}},
		{args: []string{"--alpn=a,,b"}, of: alpn, want: []string{"a", "", "b"}},
		{args: []string{"--alpn="}, environ: []string{"SSLECHO_ALPN=x"}, of: alpn},
		{environ: []string{"SSLECHO_ALPN=h2 , x"}, of: alpn, want: []string{"h2", "x"}},
		{file: `alpn: h2,x`, of: alpn, want: []string{"h2", "x"}},
		{file: `alpn: ["h2,x", y]`, of: alpn, want: []string{"h2,x", "y"}},
		{file: `alpn: []`, of: alpn},
		{file: `alpn: ""`, of: alpn},
		{args: []string{"--listen=unix:/a,b", "--listen=:1"}, of: listen, want: []string{"unix:/a,b", ":1"}},
		{environ: []string{"SSLECHO_LISTEN=unix:/a,:1"}, of: listen, want: []string{"unix:/a", ":1"}},
		{file: `listen: unix:/a,b`, of: listen, want: []string{"unix:/a,b"}},
		{file: "listen:\n- unix:/a,b\n- :1", of: listen, want: []string{"unix:/a,b", ":1"}},
		{file: "cert: [1, 2.5, true]", of: certs, want: []string{"1", "2.5", "true"}},
		{args: []string{"--cert="}, of: certs},
	} {
		args := x.args
		if x.file != "" {
			args = append(args, "--config", write(t, x.file))
		}
		if got := x.of(mustLoad(t, args, x.environ)); !slices.Equal(got, x.want) {
			t.Errorf("%q %q %q: %q, want %q", x.args, x.environ, x.file, got, x.want)
		}
	}
}

// TestServerNamesInFile: a map and a list mean the same.
func TestServerNamesInFile(t *testing.T) {
	want := []ServerName{{"a.example", []Certificate{{"a.pem", "", ""}}}, {"*.b.example", []Certificate{{"b.pem", "b.key", ""}, {"c.pem", "c.key", ""}}}}
	for _, content := range []string{
		"sni: {a.example: a.pem, '*.b.example': [b.pem, b.key, c.pem, c.key]}",
		"sni:\n  a.example: [a.pem]\n  '*.b.example': b.pem, b.key, c.pem,c.key\n",
		"sni: [a.example=a.pem, '*.b.example=b.pem,b.key,c.pem,c.key']",
	} {
		if got := mustLoad(t, []string{"--config", write(t, content)}, nil).TLS.SNI; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", content, got)
		}
	}
}

// TestNothingLoaded: what asks for something else than to serve loads nothing.
func TestNothingLoaded(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"version"}, {"man"}, {"completion", "fish"}, {"--print-config"}} {
		var out bytes.Buffer
		if c, err := Load(args, nil, &out); c != nil || err != nil || out.Len() == 0 {
			t.Errorf("%q: %v, %v, %d bytes", args, c, err, out.Len())
		}
	}
	if _, err := Load([]string{"--nonsense"}, nil, io.Discard); !errors.Is(err, ErrUsage) {
		t.Error(err)
	}
}
