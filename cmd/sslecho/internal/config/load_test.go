package config

import (
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
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
)

// Load is what a Command with these arguments and this environment would run
// with. It is nil when the arguments ask for something else, such as help,
// which goes to out.
func Load(args, environ []string, out io.Writer) (loaded *Config, err error) {
	cmd := command(func() []string { return environ }, func(c *Config) error { loaded = c; return nil }, func(bool) string { return "" })
	cmd.SetArgs(append([]string{}, args...))
	cmd.SetOut(out)
	cmd.SetErr(out)
	err = cmd.Execute()
	return loaded, err
}

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

// samples has a value that is not the default for each setting, as a variable
// has it. That of config is made by place.
var samples = map[string]string{
	"listen": "127.0.0.1:0, unix:/run/s", "loops": "3", "service": "chargen", "starttls": "imap", "cert": "a.pem,b.pem", "key": "a.key,b.key",
	"sni": "a.example=a.pem,a.key;*.b.example=b.pem,b.key,c.pem,c.key", "key-passphrase-file": "/run/pass",
	"pin-file": "/run/pin", "providers": "default,pkcs11", "provider-path": "/usr/lib/modules",
	"openssl-config": "/etc/sslecho/openssl.cnf", "properties": "fips=yes", "min-version": "1.3", "max-version": "1.2",
	"ciphers": "ECDHE+AESGCM:@SECLEVEL=2", "ciphersuites": "TLS_AES_128_GCM_SHA256", "groups": "X25519:P-256",
	"sigalgs": "ecdsa_secp256r1_sha256", "alpn": "h2,http/1.1", "renegotiation": "true", "records": "direct",
	"cert-compression": "zstd,zlib", "raw-public-key": "true", "client-keys": "clients.pub",
	"ocsp-file": ",b.der", "ech-key": "new.ech,old.ech", "psk-file": "clients.psk", "keylog": "keys.log", "client-auth": "require", "client-ca": "ca.pem", "client-crl": "crl.pem",
	"client-verify-depth": "2", "tickets": "4", "no-tickets": "true", "ticket-keys": "tickets.keys",
	"session-lifetime": "12h0m0s", "session-cache": "1000", "max-conns": "5000", "max-conns-per-addr": "50",
	"max-handshakes": "500", "new-conns-rate": "2.5", "new-conns-burst": "20", "max-queue": "64MiB", "max-queued": "1GiB",
	"handshake-timeout": "3s", "idle-timeout": "1m0s", "write-timeout": "30s", "close-timeout": "2s", "keep-alive": "1m0s",
	"drain-delay": "7s", "drain-wait": "8s", "drain-timeout": "1m30s", "reload-timeout": "5s", "proxy-protocol": "true",
	"proxy-trusted": "10.0.0.0/8,fd00::/8", "admin": "unix:/run/admin", "pprof": "true", "log-level": "debug",
	"log-format": "json", "trace": "true", "user": "nobody:nogroup", "pid-file": "/run/s.pid", "watch": "true",
	"check": "true", "print-config": "true", "config": "",
}

// needs are the flags that a sample needs to make sense.
var needs = map[string][]string{
	"key": {"--cert=a.pem", "--cert=b.pem"}, "pin-file": {"--cert=a.pem", "--key=pkcs11:object=a"},
	"ocsp-file": {"--cert=a.pem", "--cert=b.pem"}, "client-auth": {"--client-ca=ca.pem"},
	"client-ca": {"--client-auth=none"}, "client-crl": {"--client-auth=none"}, "client-keys": {"--client-auth=none"}, "new-conns-burst": {"--new-conns-rate=2"},
	"proxy-protocol": {"--proxy-trusted=::1"}, "proxy-trusted": {"--proxy-protocol=false"},
	"pprof": {"--admin=127.0.0.1:9000"}, "print-config": {"--check"},
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
	args = slices.DeleteFunc(slices.Clone(needs[s.name]), func(arg string) bool {
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

// TestSources: for each setting, which has a sample, a stronger source wins over a weaker one, whether either has the default or not.
// So does any over none.
func TestSources(t *testing.T) {
	for _, s := range settings {
		sample, ok := samples[s.name]
		if s.name == "config" {
			sample = write(t, "")
		}
		if !ok || slices.Equal(s.split(sample), s.split(s.def)) {
			t.Errorf("%s has no sample, or one that is the default", s.name)
		}
		for _, pair := range [][2]source{{byFlag, byEnvironment}, {byFlag, byFile}, {byEnvironment, byFile},
			{byFlag, byDefault}, {byEnvironment, byDefault}, {byFile, byDefault}} {
			if s.act && slices.Contains(pair[:], byFile) {
				continue
			}
			for _, texts := range [][2]string{{sample, s.def}, {s.def, sample}} {
				args, environ := place(t, s, map[source]string{pair[0]: texts[0], pair[1]: texts[1]})
				c := mustLoad(t, args, environ)
				if !has(t, c, s, texts[0]) || c.given[s.name].by != pair[0] {
					t.Errorf("%s: %v over %v: %v from %v, want %s", s.name, pair[0], pair[1], c.given[s.name].texts, c.given[s.name].by, texts[0])
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
		Listen:    []string{"127.0.0.1:8443"},
		Service:   services.Echo{},
		TLS:       TLS{Config: cssl.Config{MinVersion: cssl.TLS12, Verify: cssl.VerifyNone, Tickets: 1, SessionLifetime: 24 * time.Hour}},
		Server:    reactor.Limits{MaxQueue: 16 << 20, HandshakeTimeout: 10 * time.Second, CloseTimeout: 5 * time.Second},
		KeepAlive: 15 * time.Second, DrainTimeout: 10 * time.Second, ReloadTimeout: 30 * time.Second,
		LogLevel:  slog.LevelInfo,
		LogFormat: LogText,
		given:     c.given, flags: c.flags,
	}
	c.environ = nil
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant\n%+v", c, want)
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
		{c.Server.MaxQueue, 1 << 30},
		{c.Server.MaxQueued, int64(1 << 28)},
		{c.ConnLimits().Burst, 1},
		{(&Config{Conns: connlimit.Limits{Rate: 2.1}}).ConnLimits().Burst, 3},
		{(&Config{Conns: connlimit.Limits{Rate: 2, Burst: 9}}).ConnLimits().Burst, 9},
		{c.User, User{Name: "nobody"}},
		{c.TLS.MinVersion, cssl.TLS13},
		{c.LogLevel, slog.LevelWarn},
		{c.TLS.Verify, cssl.VerifyOptional},
		{c.Server.IdleTimeout, 90 * time.Minute},
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

// TestFiles: all files that a reload reads are known, each setting's.
func TestFiles(t *testing.T) {
	file := write(t, "")
	for _, s := range settings {
		args, _ := place(t, s, map[source]string{byFlag: samples[s.name]})
		if s.name == "config" {
			args = []string{"--config", file}
		}
		got := mustLoad(t, args, nil).Files()
		var want []string
		switch {
		case s.name == "config":
			want = []string{file}
		case s.name == "sni":
			want = []string{"a.pem", "a.key", "b.pem", "b.key", "c.pem", "c.key"}
		case !s.restart && !s.act && s.arg == argFile:
			for _, f := range split(samples[s.name], ",") {
				if f != "" {
					want = append(want, f)
				}
			}
		}
		for _, f := range want {
			if !slices.Contains(got, f) {
				t.Errorf("--%s: %q is not in %q", s.name, f, got)
			}
		}
	}
	for key, want := range map[string]string{
		"pkcs11:object=a": "", "file:/k.pem": "/k.pem", "file:///k.pem": "/k.pem", "file://localhost/k.pem": "/k.pem",
		"FILE://LocalHost/k.pem": "/k.pem", "file://elsewhere/k.pem": "", "file:k.pem": "",
	} {
		all := []string{"a.pem"}
		if want != "" {
			all = append(all, want)
		}
		if got := mustLoad(t, []string{"--cert=a.pem", "--key=" + key}, nil).Files(); !slices.Equal(got, all) {
			t.Errorf("with the key %s: %q, want %q", key, got, all)
		}
		if got := mustLoad(t, []string{"--cert=" + key}, nil).Files(); !slices.Equal(got, all[1:]) {
			t.Errorf("with the chain %s: %q, want %q", key, got, all[1:])
		}
	}
}
