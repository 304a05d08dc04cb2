package cssl

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// secretText is in each key of these tests, to be looked for where it must not be.
const secretText = "THE-SECRET-"

// psk is a key of 32 bytes.
func psk(identity, seed, hash string) PSK {
	return PSK{Identity: []byte(identity), Key: []byte((secretText + strings.Repeat(seed, 32))[:32]), Hash: hash}
}

// TestPSK: client and server with nothing but a key make a handshake, and resume it; the server knows who it is each time.
func TestPSK(t *testing.T) {
	for _, hash := range []string{"", "SHA256", "SHA384"} {
		for _, groups := range []string{"", "P-384"} { // P-384 makes a HelloRetryRequest
			for _, chunk := range []int{0, 1} {
				binary := "b\x00\xff" + strings.Repeat("x", 1021)
				sx := mustServer(t, Config{Groups: groups, PSKs: []PSK{psk("z", "1", hash), psk("client 1", "2", hash), psk("a", "3", hash), psk(binary, "4", hash)}})
				for identity, seed := range map[string]string{"client 1": "2", "a": "3", binary: "4"} {
					cx := mustClient(t, Config{PSKs: []PSK{psk(identity, seed, hash)}})
					p := newPair(t, cx, sx, ConnConfig{})
					p.chunk = chunk
					p.opened()
					p.checkPSK(identity)
					check(t, groups == "" || p.server.State().Group == "secp384r1", "group %s", p.server.State().Group)
					p.talk()
					p = newPair(t, cx, sx, ConnConfig{Session: p.client.Session()})
					p.opened()
					p.checkPSK(identity)
				}
			}
		}
	}
}

func (p *pair) checkPSK(identity string) {
	p.t.Helper()
	for _, c := range []*Conn{p.client, p.server} {
		st := c.State()
		equal(p.t, string(st.PSK), identity, "server %v: identity", c.server)
		certs := knows(p.t, c)
		check(p.t, identity == "" || st.VerifyError == nil && certs == 0, "server %v: %v, %d certificates", c.server, st.VerifyError, certs)
		check(p.t, st.Version == TLS13 && st.Resumed == (identity != ""), "server %v: %+v", c.server, st)
	}
}

// TestPSKHashes: a server whose keys have both hashes serves clients of either, and also where its certificate would do.
func TestPSKHashes(t *testing.T) {
	keys := []PSK{psk("short", "1", "SHA256"), psk("long", "2", "SHA384")}
	withCert := serverConfig("ecdsa")
	withCert.PSKs = keys
	for _, s := range []Config{{PSKs: keys}, withCert} {
		sx := mustServer(t, s)
		for _, k := range keys {
			newPair(t, mustClient(t, Config{PSKs: []PSK{k}}), sx, ConnConfig{}).shaken().checkPSK(string(k.Identity))
		}
	}
}

// TestPSKBesideCertificates: a server with both serves clients with either; one with a wrong identity gets the certificate, which it
// takes if it trusts a CA.
func TestPSKBesideCertificates(t *testing.T) {
	s := serverConfig("ecdsa")
	s.PSKs = []PSK{psk("client", "1", "")}
	s.Verify, s.CAFile = VerifyRequire, testcerts.Path("root.pem")
	sx := mustServer(t, s)
	c := clientConfig()
	c.Certificates = serverConfig("client").Certificates
	for _, tt := range []struct {
		keys []PSK
		want string
	}{{nil, ""}, {s.PSKs, "client"}, {[]PSK{psk("stranger", "1", "")}, ""}} {
		c.PSKs = tt.keys
		p := newPair(t, mustClient(t, c), sx).shaken()
		p.checkPSK(tt.want)
		equal(t, knows(t, p.server) > 0, tt.want == "", "%q: the server knows a certificate", tt.want)
	}
	// Without a CA nobody but the owner of the key is taken.
	cerr, serr := newPair(t, mustClient(t, Config{PSKs: []PSK{psk("stranger", "1", "")}}), sx, ConnConfig{}).try()
	checkAlerts(t, cerr, serr, 48)
	fails(mustClient(t, c).NewEngineConn(ConnConfig{}))(t, "a client that trusts CAs needs no name")
}

// TestPSKRefused: a wrong identity, key or hash, or none, is an error that says so on both sides and holds nothing of the key.
func TestPSKRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		client, server Config
		alert          tlsio.Alert
		server0        string // in the server's error
	}{
		"identity": {Config{PSKs: []PSK{psk("b", "1", "")}}, Config{PSKs: []PSK{psk("a", "1", "")}}, 40, "no suitable signature algorithm"},
		"key":      {Config{PSKs: []PSK{psk("a", "2", "")}}, Config{PSKs: []PSK{psk("a", "1", "")}}, 47, "binder does not verify"},
		"hash":     {Config{PSKs: []PSK{psk("a", "1", "SHA384")}}, Config{PSKs: []PSK{psk("a", "1", "")}}, 40, "no shared cipher"},
		"none":     {clientConfig(), Config{PSKs: []PSK{psk("a", "1", "")}}, 40, "no suitable signature algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, mustClient(t, tt.client), mustServer(t, tt.server))
			cerr, serr := p.try()
			if name == "key" && errors.Is(serr, tlsio.AlertDecryptError) {
				tt.alert = 51 // as RFC 8446 has it; OpenSSL before 3.5 differs
			}
			checkAlerts(t, serr, cerr, tt.alert)
			failedWith(t, serr, tlsio.ErrPSK)
			equal(t, errors.Is(cerr, tlsio.ErrPSK), tt.client.PSKs != nil, "%v: the client says that it is the key", cerr)
			says(t, "server", serr, tt.server0)
			check(t, !strings.Contains(cerr.Error()+serr.Error(), secretText), "the key is in an error: %v, %v", cerr, serr)
		})
	}
	// A server with a certificate alone.
	p := newPair(t, mustClient(t, Config{PSKs: []PSK{psk("a", "1", "")}}), mustServer(t, serverConfig("ecdsa")), ConnConfig{})
	cerr, serr := p.try()
	checkAlerts(t, cerr, serr, 48)
	// TLS 1.2 has no such keys here.
	c := clientUpTo(TLS12)
	cerr, serr = newPair(t, mustClient(t, c), mustServer(t, Config{PSKs: []PSK{psk("a", "1", "")}})).try()
	checkAlerts(t, serr, cerr, 70)
}

// TestPSKRevoked: with shared ticket keys, a session that came of a key is resumed only where the key still is.
func TestPSKRevoked(t *testing.T) {
	server := func(keys ...PSK) *Context {
		s := serverConfig("ecdsa")
		s.PSKs, s.TicketKeys = keys, [][]byte{ticketKey(9, 80)}
		return mustServer(t, s)
	}
	a, b := psk("a", "1", ""), psk("b", "2", "")
	c := clientConfig()
	c.PSKs = []PSK{a}
	cx := mustClient(t, c)
	p := newPair(t, cx, server(a, b), ConnConfig{InsecureSkipNameCheck: true}).opened()
	p.checkPSK("a")
	s := p.client.Session()
	plain := clientConfig() // offers the session, without the key
	px := mustClient(t, plain)
	for _, tt := range []struct {
		sx      *Context
		resumed bool
	}{{server(a), true}, {server(b), false}, {server(), false}} {
		q := newPair(t, px, tt.sx, ConnConfig{InsecureSkipNameCheck: true, Session: s}).opened()
		check(t, q.server.State().Resumed == tt.resumed, "resumed: %v", !tt.resumed)
	}
}

// TestPSKByName: the keys are those of the server name's Context.
func TestPSKByName(t *testing.T) {
	s := serverConfig("ecdsa")
	s.PSKs = []PSK{psk("outer", "1", "")}
	inner := Config{PSKs: []PSK{psk("inner", "2", "")}}
	s.SNI = map[string]*Context{"inner.test": mustServer(t, inner), "plain.test": mustServer(t, serverConfig("rsa"))}
	sx := mustServer(t, s)
	for _, tt := range []struct {
		name string
		key  PSK
		want bool
	}{
		{"inner.test", inner.PSKs[0], true}, {"inner.test", s.PSKs[0], false}, {"outer.test", s.PSKs[0], true},
		{"outer.test", inner.PSKs[0], false}, {"plain.test", s.PSKs[0], false},
	} {
		cx := mustClient(t, Config{PSKs: []PSK{tt.key}})
		p := newPair(t, cx, sx, ConnConfig{ServerName: tt.name})
		cerr, _ := p.try()
		check(t, (cerr == nil) == tt.want && bytes.Equal(p.client.State().PSK, tt.key.Identity) == tt.want,
			"%s with %s: %v", tt.name, tt.key.Identity, cerr)
	}
}

// TestPSKNoEarlyData: a key alone carries no early data, of which nobody would keep account.
func TestPSKNoEarlyData(t *testing.T) {
	s := earlyServer(100)
	s.PSKs = []PSK{psk("a", "1", "")}
	cx, sx := mustClient(t, Config{PSKs: s.PSKs}), mustServer(t, s)
	p := newPair(t, cx, sx, ConnConfig{})
	badState(t, "with a key alone", p.client.WriteEarlyData([]byte("x")))
	p.readEarly()
	p.opened()
	p.checkPSK("a")
	p = newPair(t, cx, sx, ConnConfig{Session: p.client.Session()}) // its ticket does
	p.writeEarly([]byte("early"))
	p.readEarly()
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.checkPSK("a")
}

// TestPSKConfig: what cannot be is refused with the setting's name, and without the key.
func TestPSKConfig(t *testing.T) {
	good := psk("a", "1", "")
	has := func(keys ...PSK) func(*Config) { return func(c *Config) { c.PSKs = keys } }
	old := func(c *Config) { c.PSKs, c.MaxVersion = []PSK{good}, TLS12 }
	checkRefusals(t, true, Config{}, []wrongConfig{
		{"no identity", has(good, PSK{Key: good.Key}), "PSKs[1].Identity", ""},
		{"long identity", has(PSK{Identity: make([]byte, 1025), Key: good.Key}), "PSKs[0].Identity", ""},
		{"no key", has(PSK{Identity: []byte("x")}), "PSKs[0].Key", ""},
		{"short key", has(PSK{Identity: []byte("x"), Key: []byte(secretText)}), "PSKs[0].Key", ""},
		{"long key", has(PSK{Identity: []byte("x"), Key: make([]byte, 257)}), "PSKs[0].Key", ""},
		{"hash", has(PSK{Identity: []byte("x"), Key: good.Key, Hash: "MD5"}), "PSKs[0].Hash", ""},
		{"twice", has(good, psk("b", "2", ""), psk("a", "3", "")), "PSKs", ""},
		{"TLS 1.2", old, "PSKs", ""},
		{"no suite", func(c *Config) {
			c.PSKs, c.CipherSuites = []PSK{good, psk("b", "2", "SHA384")}, "TLS_AES_128_GCM_SHA256"
		}, "PSKs[1].Hash", ""},
		{"nothing at all", has(), "Certificates", ""},
	}, secretText)
	checkRefusals(t, false, Config{}, []wrongConfig{
		{"two", has(good, psk("b", "2", "")), "PSKs", ""},
		{"VerifyNone", func(c *Config) { c.PSKs, c.Verify = []PSK{good}, VerifyNone }, "PSKs", ""},
		{"no key", has(PSK{Identity: []byte("x")}), "PSKs[0].Key", ""},
		{"TLS 1.2", old, "PSKs", ""},
	}, secretText)
	for _, size := range []int{16, 256} {
		k := PSK{Identity: []byte("x"), Key: make([]byte, size)}
		c := Config{PSKs: []PSK{k}}
		newPair(t, mustClient(t, c), mustServer(t, c), ConnConfig{}).shaken().checkPSK("x")
	}
}
