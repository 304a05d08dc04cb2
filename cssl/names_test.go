package cssl

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"net"
	"os"
	"strings"
	"testing"
)

// shakeAs makes a handshake in which the client asks for a name, and answers how each side failed.
func shakeAs(t *testing.T, cx, sx *Context, cfg ConnConfig) (p *pair, cerr, serr error) {
	t.Helper()
	p = newPair(t, cx, sx)
	c := tlstest.Value(cx.NewEngineConn(cfg))(t)
	t.Cleanup(c.Close)
	p.client = c
	cerr, serr = p.try()
	return p, cerr, serr
}

// TestServerNameTrimmed: one dot at the end of a name, and brackets and a zone of an IPv6 address, are neither sent nor looked for in the
// certificate (P43).
func TestServerNameTrimmed(t *testing.T) {
	ca := newAuthority(t, "ca", nil, newKey(t))
	leaf := ca.issue(x509.Certificate{DNSNames: []string{"a.example"},
		IPAddresses: []net.IP{net.ParseIP("::1"), net.ParseIP("fe80::1"), net.IPv4(127, 0, 0, 1)}})
	sx := mustServer(t, Config{Certificates: []Certificate{leaf}})
	cx := mustClient(t, Config{CAPEM: ca.pem})
	for _, tt := range []struct {
		name, sent string
		ok         bool
	}{
		{"A_b.a.example", "A_b.a.example", false},
		{"a.example", "a.example", true},
		{"a.example.", "a.example", true},
		{"A.Example.", "A.Example", true},
		{"::1", "", true},
		{"[::1]", "", true},
		{"[fe80::1%eth0]", "", true},
		{"fe80::1%eth0", "", true},
		{"127.0.0.1", "", true},
		{"127.0.0.1.", "", true},
		{"::ffff:127.0.0.1", "", true},
		{"[::ffff:127.0.0.1]", "", true},
		{"::2", "", false},
	} {
		p, cerr, serr := shakeAs(t, cx, sx, ConnConfig{ServerName: tt.name})
		if (cerr == nil) != tt.ok || (serr == nil) != tt.ok {
			t.Errorf("%s: client: %v, server: %v", tt.name, cerr, serr)
		}
		if got := p.server.State().ServerName; got != tt.sent {
			t.Errorf("%s: %q was sent, want %q", tt.name, got, tt.sent)
		}
	}
	var e *ConfigError
	if _, err := cx.NewEngineConn(ConnConfig{ServerName: "."}); !errors.As(err, &e) || e.Setting != "ServerName" {
		t.Errorf("a dot alone: %v", err)
	}
}

// TestNameRefusedByOpenSSL: OpenSSL 4.0 refuses a name of one character, and
// does not say why. The error says what was refused, and by whom.
func TestNameRefusedByOpenSSL(t *testing.T) {
	const is = "CSSL_REFUSES_NAMES"
	if os.Getenv(is) == "" {
		shim := sharedObject(t, "shim.so", "int SSL_set1_host(void) { return 0; }\nint SSL_set1_dnsname(void) { return 0; }\n")
		if out, err := runPreloaded(t, shim, is+"=1"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	_, err := mustClient(t, clientConfig()).NewEngineConn(ConnConfig{ServerName: "a"})
	if want := `tls config: ServerName "a": refused by OpenSSL`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestImpossibleNames: what is no name of a host is refused with the reason, as a client's ServerName and as a name in the maps of a server.
func TestImpossibleNames(t *testing.T) {
	cx, other := mustClient(t, clientConfig()), mustServer(t, serverConfig("wrongname"))
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 4)
	for name, want := range map[string]string{
		"a.example..": "empty label", "a..example": "empty label", ".example": "empty label", ".a.example": "empty label", "..": "empty label",
		"bücher.example": "xn--", "a.例": "xn--", "\xff.example": "xn--",
		"a b.example": `' '`, "a.example\x00": "NUL", "[a.example]": `'['`, "a.example:443": `':'`, "https://a.example": `':'`, "a@b.example": `'@'`,
		"-a.example": `"-a"`, "a.b-.example": `"b-"`, "a" + label + ".example": "64 bytes", long + "a": "257 bytes",
	} {
		for setting, build := range map[string]func(name string) error{
			"ServerName": func(name string) error {
				_, err := cx.NewEngineConn(ConnConfig{ServerName: name})
				return err
			},
			"SNI": func(name string) error {
				s := serverConfig("ecdsa")
				s.SNI = map[string]*Context{name: other}
				_, err := NewServerContext(s)
				return err
			},
			"Names": func(name string) error {
				s := serverConfig("ecdsa")
				s.Names = map[string][]Certificate{name: s.Certificates}
				_, err := NewServerContext(s)
				return err
			},
		} {
			var e *ConfigError
			if err := build(name); !errors.As(err, &e) || e.Setting != setting || e.Value != name || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %q: %v, want %s", setting, name, err, want)
			}
			if !strings.HasPrefix(name, ".") && len(name) < 250 && setting != "ServerName" {
				if err := build("*." + name); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s *.%q: %v, want %s", setting, name, err, want)
				}
			}
		}
	}
}

// TestSNINamesTrimmed: the names of Config.SNI, and those that clients send, are trimmed in the same way (P43).
func TestSNINamesTrimmed(t *testing.T) {
	other := mustServer(t, serverConfig("wrongname"))
	for _, tt := range []struct{ key, sent string }{
		{"other.test", "other.test"}, {"other.test", "other.test."}, {"other.test.", "other.test"}, {"Other.Test.", "oTHER.tEST."},
		{"*.other.test.", "a.other.test."},
		{"[::1]", "::1"}, {"::1", "[::1]"}, // no client may send an address (RFC 6066, section 3); some do
	} {
		s := serverConfig("ecdsa")
		s.SNI = map[string]*Context{tt.key: other}
		if x, ok := mustServer(t, s).state.lookup(tt.sent); !ok || x.state != other.state {
			t.Errorf("%s: a client that asks for %s does not get it", tt.key, tt.sent)
		}
	}
	s := serverConfig("ecdsa")
	s.SNI = map[string]*Context{"a.example": other, "A.example.": other}
	var e *ConfigError
	if _, err := NewServerContext(s); !errors.As(err, &e) || e.Setting != "SNI" {
		t.Errorf("a name in two spellings: %v", err)
	}
}

// TestCommonName: a name in the subject's common name counts only if AllowCommonName is set (P44; RFC 9525, section 2).
func TestCommonName(t *testing.T) {
	ca := newAuthority(t, "ca", nil, newKey(t))
	subject := pkix.Name{CommonName: "a.example"}
	for _, tt := range []struct {
		what    string
		leaf    x509.Certificate
		allowed bool // with AllowCommonName
	}{
		{"no alternative name", x509.Certificate{Subject: subject}, true},
		{"an address alone", x509.Certificate{Subject: subject, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, true},
		{"an email address alone", x509.Certificate{Subject: subject, EmailAddresses: []string{"a@a.example"}}, true},
		{"another name", x509.Certificate{Subject: subject, DNSNames: []string{"b.example"}}, false},
	} {
		sx := mustServer(t, Config{Certificates: []Certificate{ca.issue(tt.leaf)}})
		for _, allow := range []bool{false, true} {
			cx := mustClient(t, Config{CAPEM: ca.pem, AllowCommonName: allow})
			want := allow && tt.allowed
			p, cerr, _ := shakeAs(t, cx, sx, ConnConfig{ServerName: "a.example"})
			if (cerr == nil) != want {
				t.Errorf("%s, allowed %v: %v", tt.what, allow, cerr)
			}
			if cerr != nil {
				continue
			}
			p.finish()
			if !p.again(cx, sx, "a.example").client.State().Resumed {
				t.Errorf("%s, allowed: not resumed", tt.what)
			}
		}
	}
	s := serverConfig("ecdsa")
	s.AllowCommonName = true
	var e *ConfigError
	if _, err := NewServerContext(s); !errors.As(err, &e) || e.Setting != "AllowCommonName" {
		t.Errorf("a server's: %v", err)
	}
}

// TestPartialChain: a certificate is valid if any certificate of its chain is trusted, an intermediate or the leaf itself (P45).
func TestPartialChain(t *testing.T) {
	root := newAuthority(t, "root", nil, newKey(t))
	inter := newAuthority(t, "intermediate", root, newKey(t))
	stranger := newAuthority(t, "intermediate", root, newKey(t)) // of the same name
	leaf := inter.issue(x509.Certificate{DNSNames: []string{"a.example"}}, inter)
	sibling := inter.issue(x509.Certificate{DNSNames: []string{"a.example"}}, inter)
	for _, tt := range []struct {
		what  string
		trust []byte
		ok    bool
		links int // of the verified chain
	}{
		{"root", root.pem, true, 3},
		{"intermediate", inter.pem, true, 2},
		{"leaf", leaf.ChainPEM[:len(leaf.ChainPEM)-len(inter.pem)], true, 2}, // OpenSSL goes on to what was sent
		{"another leaf", sibling.ChainPEM[:len(sibling.ChainPEM)-len(inter.pem)], false, 0},
		{"another intermediate", stranger.pem, false, 0},
	} {
		plain := Config{Certificates: []Certificate{leaf}}
		asking := Config{Certificates: []Certificate{leaf}, CAPEM: tt.trust, Verify: VerifyRequire}
		for _, side := range []struct {
			who            string
			client, server Config
		}{
			{"client", Config{CAPEM: tt.trust}, plain},
			{"server", Config{CAPEM: root.pem, Certificates: []Certificate{leaf}}, asking},
			{"server by name", Config{CAPEM: root.pem, Certificates: []Certificate{leaf}},
				Config{SNI: map[string]*Context{"a.example": mustServer(t, asking)}}},
		} {
			p, cerr, serr := shakeAs(t, mustClient(t, side.client), mustServer(t, side.server), ConnConfig{ServerName: "a.example"})
			verifier, err := p.client, cerr
			if side.who != "client" {
				verifier, err = p.server, serr
			}
			chain, _ := verifier.State().VerifiedChain()
			if (err == nil) != tt.ok || len(chain) != tt.links {
				t.Errorf("%s trusts the %s: %v, %d certificates", side.who, tt.what, err, len(chain))
			}
		}
	}
}
