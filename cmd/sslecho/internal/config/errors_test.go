package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// failure wants Load to refuse with one line.
func failure(t *testing.T, args, environ []string) string {
	t.Helper()
	c, err := Load(args, environ, io.Discard)
	if err == nil || c != nil {
		t.Fatalf("%q %q: no error", args, environ)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q %q: %q is not one line", args, environ, err)
	}
	return err.Error()
}

// TestBadValues: an error names the source, the value and what would be right, for each kind of value.
func TestBadValues(t *testing.T) {
	for _, x := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"listen", []string{"localhost"}, "use host:port or unix:/path"},
		{"listen", []string{"localhost:99999"}, `bad port "99999": use a number from 0 to 65535`},
		{"listen", []string{"localhost:"}, `bad port "": use a number from 0 to 65535`},
		{"listen", []string{"unix:"}, "the path is missing: use unix:/path"},
		{"listen", []string{"unix:/" + strings.Repeat("x", 107)}, "the path has 108 bytes: a unix socket's may have 107"},
		{"admin", []string{"9000"}, "use host:port or unix:/path"},
		{"loops", []string{"many", "-1", "1025", ""}, "use a whole number from 0 to 1024"},
		{"tickets", []string{"0", "1.5"}, "use a whole number from 1 to 16"},
		{"service", []string{"daytime"}, "no such service: use echo, discard, chargen or reverse"},
		{"starttls", []string{"ftp", "SMTP"}, "no such protocol: use smtp, imap, pop3, ldap, postgres, mysql or xmpp"},
		{"min-version", []string{"1.4"}, "use 1.0, 1.1, 1.2 or 1.3"},
		{"max-version", []string{"SSLv3"}, "use 1.0, 1.1, 1.2 or 1.3"},
		{"client-auth", []string{"yes"}, "use none, optional or require"},
		{"log-level", []string{"WARN"}, "use debug, info, warn or error"},
		{"log-format", []string{"xml"}, "use text or json"},
		{"pprof", []string{"yes"}, "use true or false"},
		{"new-conns-rate", []string{"-1", "NaN", "10/s"}, "use a number from 0 to 1000000, such as 10 or 0.5"},
		{"max-queue", []string{"64MB", "-1", "9000000TiB", "0"}, "use at least 256KiB, in bytes or with KiB, MiB or GiB, such as 64MiB"},
		{"max-queued", []string{"1"}, "use at least 256KiB, in bytes or with KiB, MiB or GiB, such as 64MiB"},
		{"idle-timeout", []string{"10", "-1s", "9000h"}, "use a time from 0s to 8760h0m0s with its unit, such as 500ms, 10s or 5m"},
		{"keep-alive", []string{"10h"}, "use a time from 0s to 9h6m7s with its unit, such as 500ms, 10s or 5m"},
		{"handshake-timeout", []string{"0s"}, "use a time from 1ms to 8760h0m0s with its unit, such as 500ms, 10s or 5m"},
		{"proxy-trusted", []string{"10.0.0.0/33", "fe80::1%eth0", "::ffff:10.0.0.0/104"},
			"use a network such as 10.0.0.0/8 or fd00::/8, or one address, without ::ffff: or a zone"},
		{"user", []string{":wheel", "a:b:c", "a:"}, "use name or name:group"},
		{"sni", []string{"a.example", "a.example=a,b,c", "=a,b"}, "use name=chain.pem,key.pem, with further pairs for other types of key"},
		{"ciphers", []string{"A\tB"}, "use no control characters, such as the end of a line"},
		{"alpn", []string{"h2\x7f"}, "use no control characters, such as the end of a line"},
		{"sni", []string{"a.example="}, "the name of a file is missing"},
	} {
		for _, text := range x.texts {
			file := write(t, string(tlstest.Value(yaml.Marshal(map[string]any{x.name: text}))(t)))
			for _, from := range []struct {
				where         string
				args, environ []string
			}{
				{"--" + x.name, []string{"--" + x.name + "=" + text}, nil},
				{variable(x.name), nil, []string{variable(x.name) + "=" + text}},
				{file + ":1: " + x.name, []string{"--config", file}, nil},
			} {
				if got, want := failure(t, from.args, from.environ), from.where+" "+strconv.Quote(text)+": "+x.want; got != want {
					t.Errorf("%s\nwant\n%s", got, want)
				}
			}
		}
	}
	if got := failure(t, []string{"--loops=x", "--trace=2"}, []string{"SSLECHO_TICKETS=99"}); got !=
		`--loops "x": use a whole number from 0 to 1024; `+
			`SSLECHO_TICKETS "99": use a whole number from 1 to 16; --trace "2": use true or false` {
		t.Errorf("several at once: %s", got)
	}
}

// TestUnknownNames: a wrong name is an error with the nearest right one, if any is near.
func TestUnknownNames(t *testing.T) {
	for _, x := range []struct{ flag, variable, key, right string }{
		{"lisen", "LISEN", "lisen", "listen"},
		{"max_conns", "MAXCONNS", "max_conns", "max-conns"},
		{"maxConnsPerAddr", "MAX_CONN_PER_ADDR", "maxConnsPerAddr", "max-conns-per-addr"},
		{"cert-file", "CERT_FILE", "cert-file", "cert"},
		{"cipher-suites", "CIPHER_SUITES", "cipherSuites", "ciphersuites"},
		{"ticket-key", "TICKET_KEY", "ticket.keys", "ticket-keys"},
		{"idle-timout", "IDLETIMEOUT", "idletimeout", "idle-timeout"},
		{"Listen", "listen", "Listen", "listen"},
		{"quux", "QUUX", "quux", ""},
	} {
		offer := func(mark, name string) string {
			if x.right == "" {
				return ""
			}
			return ", did you mean " + mark + name + "?"
		}
		file := write(t, x.key+": 1")
		for _, tt := range []struct {
			args, environ []string
			want          string
		}{
			{[]string{"--" + x.flag, "1"}, nil, "--" + x.flag + ": there is no such flag" + offer("--", x.right)},
			{nil, []string{"SSLECHO_" + x.variable + "=1"}, "SSLECHO_" + x.variable + ": there is no such variable" + offer("", variable(x.right))},
			{[]string{"--config", file}, nil, file + ":1: " + x.key + ": there is no such key" + offer("", x.right)},
		} {
			if got := failure(t, tt.args, tt.environ); got != tt.want {
				t.Errorf("%s\nwant\n%s", got, tt.want)
			}
		}
	}
}

// TestBadFiles: what cannot be a configuration file is refused with its name.
func TestBadFiles(t *testing.T) {
	for content, want := range map[string]string{
		"- listen":                             "cannot unmarshal",
		"listen: [":                            "yaml: line 1",
		string(testcerts.Read(t, "ecdsa.key")): "want keys and values in YAML, found PRIVATE KEY in PEM",
		"\x30\x82\x01\x00\x02":                 "want keys and values in YAML, found data in DER",
		"sni:\n  a: b\n\tc: d":                 "line 3 begins with a tab; YAML wants spaces there",
		"loops: 1\nloops: 2":                   `"loops" already defined`,
		"---\nloops: 1\n---\nloops: 2":         "more than one YAML document",
		"loops:":                               "loops: there is no value: give one, or take the key out",
		"loops: [1]":                           "loops: one value is wanted, not a list or keys",
		"loops: {a: 1}":                        "loops: one value is wanted, not a list or keys",
		"alpn: {a: 1}":                         "alpn: one value is wanted, not a list or keys",
		"alpn: [[h2]]":                         "alpn: an element of a list is one value",
		"sni: {a.example: }":                   "the name of a file is missing",
		"sni: {a.example: ['a,b', c]}":         "sni: a.example: name files without a comma",
		"limits: {max-conns: 1}":               "limits: there is no such key; there are no sections, all keys stand at the top",
		"check: true":                          "check: it cannot be set in the file, use --check or SSLECHO_CHECK",
		"config: x":                            "config: it cannot be set in the file, use --config or SSLECHO_CONFIG",
		"print-config: true\nlopps: 3\n":       "print-config: it cannot be set in the file",
	} {
		file := write(t, content)
		if got := failure(t, []string{"--config", file}, nil); !strings.Contains(got, want) || !strings.Contains(got, file) {
			t.Errorf("%q: %s", content, got)
		}
	}
	_, err := Load([]string{"--config=/nonexistent"}, nil, io.Discard)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Load([]string{"--config", t.TempDir()}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
}

// TestUsage: arguments that are no settings.
func TestUsage(t *testing.T) {
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"8443"}, `unexpected argument "8443": everything is a flag`},
		{[]string{"verson"}, `unexpected argument "verson": everything is a flag, did you mean sslecho version?`},
		{[]string{"--trace", "false"}, `unexpected argument "false": everything is a flag`},
		{[]string{"--cert"}, "flag needs an argument: --cert"},
		{[]string{"-x"}, "unknown shorthand flag: 'x' in -x"},
		{[]string{"version", "--lisen"}, "--lisen: there is no such flag"},
	} {
		if got := failure(t, x.args, nil); !strings.Contains(got, x.want) {
			t.Errorf("%q: %s", x.args, got)
		}
	}
}

// TestValidate: settings that do not fit together, and those that look so and do.
func TestValidate(t *testing.T) {
	file := write(t, "client-ca: ca.pem\nclient-crl: crl.pem\nclient-auth: require\nproxy-protocol: true\nproxy-trusted: ['::1']\n")
	keyOnly := write(t, "key: a.key")
	for _, x := range []struct {
		args string
		want string // empty: they are valid
	}{
		{"--listen=", "--listen: there is no address to listen on"},
		{"--listen=:1 --listen=:1", `--listen ":1": the address is there twice`},
		{"--listen=unix:/a:0 --listen=unix:/a:0", `--listen "unix:/a:0": the address is there twice`},
		{"--listen=:0 --listen=:0 --admin=:0", ""},
		{"--listen=:1 --admin=:1", `--admin ":1": --listen has the same address; use another one`},
		{"--pprof", "--pprof without --admin: give the address where the profiles are to be served"},
		{"--key=a.key", "--key without --cert: give the certificate too"},
		{"--config=" + keyOnly, keyOnly + ":1: key without --cert: give the certificate too"},
		{"--cert=a --cert=b --key=c", "--key: there are 1 keys and 2 certificates; give one key for each --cert in the same order, " +
			"or none at all when they are in the files of the chains"},
		{"--cert=a --cert=b", ""},
		{"--cert=a --cert=b --key= --key=c", ""},
		{"--cert=a --cert=", "--cert: the name of a file is missing"},
		{"--ocsp-file=a", "--ocsp-file without --cert: give the certificate that the response is about"},
		{"--cert=x --ocsp-file=a --ocsp-file=b", "--ocsp-file: there are 2 responses and 1 certificates; give at most one for each --cert, in the same order"},
		{"--sni=a.example=x --sni=A.example=y", "--sni: A.example is there twice; put all its certificates behind one name"},
		{"--min-version=1.3 --max-version=1.2", "--min-version is above --max-version: TLSv1.3 and TLSv1.2"},
		{"--no-tickets --ticket-keys=x", "--ticket-keys with --no-tickets: there is nothing to encrypt; take one of them out"},
		{"--no-tickets --tickets=2", ""},
		{"--client-auth=require", "--client-auth without --client-ca and --client-keys: give the CAs that clients' certificates are checked against, or clients' raw public keys"},
		{"--client-auth=require --client-keys=x", ""},
		{"--client-keys=x", "--client-keys without --client-auth: no client is asked for a certificate; use optional or require"},
		{"--client-ca=x", "--client-ca without --client-auth: no client is asked for a certificate; use optional or require"},
		{"--client-crl=x", "--client-crl without --client-auth: no client is asked for a certificate; use optional or require"},
		{"--client-ca=x --client-auth=none", ""},
		{"--new-conns-burst=3", "--new-conns-burst without --new-conns-rate: there is no rate that it could go over"},
		{"--new-conns-burst=3 --new-conns-rate=0", ""},
		{"--proxy-protocol", "--proxy-protocol without --proxy-trusted: name the networks of the proxies, or else everybody could say " +
			"which address they come from"},
		{"--proxy-trusted=::1", "--proxy-trusted without --proxy-protocol: no header is read"},
		{"--proxy-trusted=::1 --proxy-protocol=false", ""},
		{"--config=" + file, ""},
		{"--client-auth=none --proxy-protocol=false --config=" + file, ""},
		{"--client-ca= --config=" + file, file + ":3: client-auth without --client-ca and --client-keys: give the CAs that clients' certificates are checked against, or clients' raw public keys"},
		{"--pprof --key=a.key", "--key without --cert: give the certificate too"},
	} {
		args := strings.Fields(x.args)
		if x.want == "" {
			mustLoad(t, args, nil)
		} else if got := failure(t, args, nil); got != x.want && !strings.HasSuffix(got, "; "+x.want) {
			t.Errorf("%s:\n%s\nwant\n%s", x.args, got, x.want)
		}
	}
}

// TestSecrets: what is a secret by mistake is in no error, and what a file of secrets holds in no output.
func TestSecrets(t *testing.T) {
	const secret = "c2VjcmV0"
	pem := "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"
	for _, name := range []string{"key", "key-passphrase-file", "psk-file", "ticket-keys", "cert"} {
		file := write(t, name+": |\n  "+strings.ReplaceAll(pem, "\n", "\n  "))
		for _, from := range [][2][]string{
			{{"--" + name, pem}, nil}, {nil, {variable(name) + "=" + pem}}, {{"--config", file}, nil},
		} {
			got := failure(t, from[0], from[1])
			if strings.Contains(got, secret) || !strings.Contains(got, "use the name of a file, not its content") {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
	if got := failure(t, []string{"--sni=a.example=a.pem," + pem}, nil); strings.Contains(got, secret) {
		t.Error(got)
	}
	file := write(t, secret)
	var out strings.Builder
	if _, err := Load([]string{"--print-config", "--cert=a.pem", "--key", file, "--key-passphrase-file", file, "--psk-file", file, "--ticket-keys", file},
		nil, &out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), secret) || strings.Count(out.String(), file) != 4 {
		t.Error(out.String())
	}
	tlstest.Must(t, os.Remove(file))
}
