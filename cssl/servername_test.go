package cssl

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// shakeAs makes a handshake in which the client asks for a name, and answers how each side failed.
func shakeAs(t *testing.T, cx, sx *Context, cfg ConnConfig) (p *pair, cerr, serr error) {
	t.Helper()
	p = newPair(t, cx, sx, cfg)
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
		check(t, (cerr == nil) == tt.ok && (serr == nil) == tt.ok, "%s: client: %v, server: %v", tt.name, cerr, serr)
		equal(t, p.server.State().ServerName, tt.sent, "%s was sent", tt.name)
	}
	fails(cx.NewEngineConn(ConnConfig{ServerName: "."}))(t, "a dot alone", "tls config: ServerName")
}

// TestNameRefusedByOpenSSL: OpenSSL 4.0 refuses a name of one character, and
// does not say why. The error says what was refused, and by whom.
func TestNameRefusedByOpenSSL(t *testing.T) {
	const is = "CSSL_REFUSES_NAMES"
	if os.Getenv(is) == "" {
		shim := sharedObject(t, "shim.so", "int SSL_set1_host(void) { return 0; }\nint SSL_set1_dnsname(void) { return 0; }\n")
		out, err := runPreloaded(t, shim, is+"=1")
		check(t, err == nil, "%v\n%s", err, out)
		return
	}
	_, err := mustClient(t, clientConfig()).NewEngineConn(ConnConfig{ServerName: "a"})
	want := `tls config: ServerName "a": refused by OpenSSL`
	check(t, err != nil && err.Error() == want, "%v, want %s", err, want)
}

// TestImpossibleNames: what is no name of a host is refused with the reason, as a client's ServerName and as a name
// in the maps of a server.
func TestImpossibleNames(t *testing.T) {
	cx, other := mustClient(t, clientConfig()), mustServer(t, serverConfig("wrongname"))
	label, ecdsa := strings.Repeat("a", 63), serverConfig("ecdsa").Certificates
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
				_, err := NewServerContext(Config{Certificates: ecdsa, SNI: map[string]*Context{name: other}})
				return err
			},
			"Names": func(name string) error {
				_, err := NewServerContext(Config{Certificates: ecdsa, Names: map[string][]Certificate{name: ecdsa}})
				return err
			},
		} {
			err := build(name)
			checkConfigError(t, name, err, setting, want)
			e, ok := errors.AsType[*ConfigError](err)
			check(t, ok && e.Value == name, "%q: %v does not name it", name, err)
			if !strings.HasPrefix(name, ".") && len(name) < 250 && setting != "ServerName" {
				says(t, name, build("*."+name), want)
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
		x, ok := mustServer(t, s).state.lookup(tt.sent)
		check(t, ok && x.state == other.state, "%s: a client that asks for %s does not get it", tt.key, tt.sent)
	}
	s := serverConfig("ecdsa")
	s.SNI = map[string]*Context{"a.example": other, "A.example.": other}
	checkRefused(t, "a name in two spellings", true, s, "SNI")
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
			check(t, (cerr == nil) == want, "%s, allowed %v: %v", tt.what, allow, cerr)
			if cerr != nil {
				continue
			}
			p.finish()
			check(t, p.again(cx, sx, "a.example").client.State().Resumed, "%s, allowed: not resumed", tt.what)
		}
	}
	s := serverConfig("ecdsa")
	s.AllowCommonName = true
	checkRefused(t, "a server's", true, s, "AllowCommonName")
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
			check(t, (err == nil) == tt.ok && len(chain) == tt.links,
				"%s trusts the %s: %v, %d certificates", side.who, tt.what, err, len(chain))
		}
	}
}

// answered are the types of the extensions with which a server has answered the ClientHello. Those of TLS 1.3 it
// decrypts, from the key log, of TLS_AES_128_GCM_SHA256.
func answered(t testing.TB, wire []byte, version TLSVersion, keyLog string) (types []uint16) {
	t.Helper()
	// message is the rest of a first handshake message of the type.
	message := func(p []byte, typ byte) []byte {
		demand(t, len(p) >= 4 && p[0] == typ, "want handshake message %d: %x", typ, p)
		return p[4 : 4+int(binary.BigEndian.Uint32(p)&0xffffff)]
	}
	var body []byte
	if all := splitRecords(t, wire); version == TLS12 {
		hello := message(all[0][5:], 2)
		if body = hello[35+int(hello[34])+3:]; len(body) == 0 {
			return nil
		}
	} else {
		_, secret, _ := strings.Cut(keyLog, "SERVER_HANDSHAKE_TRAFFIC_SECRET ")
		p := protection{suite: gcmSuites[0]}
		p.setSecret(unhex(strings.Fields(secret)[1]))
		first := slices.IndexFunc(all, func(r []byte) bool { return r[0] == 23 })
		_, plain, err := p.open(all[first])
		tlstest.Must(t, err)
		body = message(plain, 8)
	}
	for body = body[2:]; len(body) > 0; body = body[4+int(binary.BigEndian.Uint16(body[2:])):] {
		types = append(types, binary.BigEndian.Uint16(body))
	}
	return types
}

// TestServerNameAcknowledged: a server acknowledges a name by which it has chosen, no other, and none when it resumes
// (RFC 6066, section 3). Either way both sides know the name afterwards.
func TestServerNameAcknowledged(t *testing.T) {
	const serverName = 0
	other := mustServer(t, serverConfig("rsa"))
	sni := func(name string) func(*Config) {
		return func(s *Config) { s.SNI = map[string]*Context{name: other} }
	}
	decide := func(x *Context) func(*Config) {
		return func(s *Config) { s.ClientHello = func(h *ClientHello) { h.Accept(x) } }
	}
	// The Context that the connection was accepted on.
	var accepted *Context
	same := func(s *Config) { s.ClientHello = func(h *ClientHello) { h.Accept(accepted) } }
	names := func(name string) func(*Config) {
		return func(s *Config) { s.Names = map[string][]Certificate{name: serverConfig("rsa").Certificates} }
	}
	for _, tt := range []struct {
		what   string
		name   string
		change []func(*Config)
		want   bool
	}{
		{"no choice", "localhost", nil, false},
		{"SNI", "localhost", []func(*Config){sni("localhost")}, true},
		{"a wildcard", "a.wild.test", []func(*Config){sni("*.wild.test")}, true},
		{"another name", "localhost", []func(*Config){sni("other.test")}, false},
		{"no name", "", []func(*Config){sni("localhost")}, false},
		{"ClientHello", "localhost", []func(*Config){decide(other)}, true},
		{"ClientHello, no name", "", []func(*Config){decide(other)}, false},
		{"ClientHello leaves it", "localhost", []func(*Config){decide(nil)}, false},
		{"ClientHello leaves it to SNI", "localhost", []func(*Config){decide(nil), sni("localhost")}, true},
		{"ClientHello accepts the same", "localhost", []func(*Config){same}, false},
		{"Names", "localhost", []func(*Config){names("localhost")}, true},
		{"another of Names", "localhost", []func(*Config){names("other.test")}, false},
		{"ClientHello leaves it to Names", "localhost", []func(*Config){decide(nil), names("localhost")}, true},
	} {
		for _, version := range versions {
			for _, groups := range []string{"", "P-384"} { // P-384 makes a HelloRetryRequest
				s := serverConfig("ecdsa")
				s.Groups = groups
				for _, f := range tt.change {
					f(&s)
				}
				var log bytes.Buffer
				c := clientUpTo(version)
				c.CipherSuites, c.KeyLog = gcmSuites[0].name, &log
				cx, sx := mustClient(t, c), mustServer(t, s)
				accepted = sx
				var session *Session
				for _, resumed := range []bool{false, true} {
					where := fmt.Sprintf("%s, %v, groups %s, resumed %v", tt.what, version, groups, resumed)
					log.Reset()
					p := newPair(t, cx, sx, ConnConfig{ServerName: tt.name, InsecureSkipNameCheck: tt.name == "", Session: session})
					p.wire = map[*Conn][]byte{}
					p.handshake()
					p.finish()
					demand(t, p.server.State().Resumed == resumed, "%s: resumed %v", where, !resumed)
					equal(t, slices.Contains(answered(t, p.wire[p.server], version, log.String()), serverName), tt.want && !resumed,
						"%s: acknowledged", where)
					a, b := p.client.State().ServerName, p.server.State().ServerName
					check(t, a == tt.name && b == tt.name, "%s: the client knows the name %q, the server %q", where, a, b)
					session = p.client.Session()
				}
			}
		}
	}
}
