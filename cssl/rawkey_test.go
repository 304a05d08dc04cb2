package cssl

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

func needRawKeys(t testing.TB) {
	t.Helper()
	if linked.Run.series() < 0x302 {
		t.Skipf("needs OpenSSL 3.2, %v is linked", linked.Run)
	}
}

// publicKeyOf is the public key of one of the test PKI's certificates, in DER.
func publicKeyOf(t testing.TB, name string) []byte {
	t.Helper()
	block, _ := pem.Decode(testcerts.Read(t, name+".pem"))
	return tlstest.Value(x509.ParseCertificate(block.Bytes))(t).RawSubjectPublicKeyInfo
}

// publicKeys are those of several, in PEM.
func publicKeys(t testing.TB, names ...string) (all []byte) {
	t.Helper()
	for _, name := range names {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicKeyOf(t, name)})...)
	}
	return all
}

// rawMutual is a server and a client that have raw public keys and trust each other's alone.
func rawMutual(t testing.TB, v TLSVersion) (server, client Config) {
	t.Helper()
	server, client = mutual(v)
	server.RawPublicKey, client.RawPublicKey = true, true
	server.CAFile, client.CAFile = "", ""
	server.PeerKeysPEM, client.PeerKeysPEM = publicKeys(t, "rsa", "client"), publicKeys(t, "ecdsa", "rsa")
	return server, client
}

// TestRawPublicKey: a raw public key takes the place of the certificate where both sides have it, in either direction, and else the
// certificate is sent; also where another Context is chosen.
func TestRawPublicKey(t *testing.T) {
	needRawKeys(t)
	const key, certificate = true, false
	cas := func(c *Config) { c.CAFile = testcerts.Path("root.pem") }
	for name, tt := range map[string]struct {
		change         func(s, c *Config)
		server, client bool // what each of them sends
	}{
		"both": {func(s, c *Config) {}, key, key},
		"by file": {func(s, c *Config) {
			c.PeerKeysFile, c.PeerKeysPEM = writeFile(t, "keys.pem", string(c.PeerKeysPEM)), nil
		}, key, key},
		"the server alone":            {func(s, c *Config) { c.RawPublicKey, s.PeerKeysPEM = false, nil; cas(s) }, key, certificate},
		"the client alone":            {func(s, c *Config) { s.RawPublicKey, c.PeerKeysPEM = false, nil; cas(c) }, certificate, key},
		"the server has none":         {func(s, c *Config) { s.RawPublicKey = false; cas(c) }, certificate, key},
		"the client has none":         {func(s, c *Config) { c.RawPublicKey = false; cas(s) }, key, certificate},
		"the client does not know it": {func(s, c *Config) { c.PeerKeysPEM = nil; cas(c) }, certificate, key},
		"CAs too":                     {func(s, c *Config) { cas(s); cas(c) }, key, key},
		"Ed25519": {func(s, c *Config) {
			s.Certificates = serverConfig("ed25519").Certificates
			c.PeerKeysPEM = publicKeys(t, "ed25519")
		}, key, key},
		"RSA":            {func(s, c *Config) { s.Certificates = serverConfig("rsa").Certificates }, key, key},
		"direct records": {func(s, c *Config) { s.Records = RecordsDirect }, key, key},
		"OpenSSL's":      {func(s, c *Config) { s.Records = RecordsOpenSSL }, key, key},
		"by name": {func(s, c *Config) {
			s.Names, s.Certificates = map[string][]Certificate{"localhost": s.Certificates}, serverConfig("wrongname").Certificates
		}, key, key},
		"by SNI": {func(s, c *Config) {
			x := mustServer(t, *s)
			*s = serverConfig("wrongname")
			s.SNI = map[string]*Context{"localhost": x}
		}, key, key},
		"not by SNI": {func(s, c *Config) {
			plain, _ := mutual(s.MaxVersion)
			s.Certificates, s.SNI = serverConfig("wrongname").Certificates, map[string]*Context{"localhost": mustServer(t, plain)}
			cas(c)
		}, certificate, certificate},
		"unverified": {func(s, c *Config) { c.Verify, c.PeerKeysPEM, c.PeerRawPublicKey = VerifyNone, nil, true }, key, key},
	} {
		for _, v := range versions {
			s, c := rawMutual(t, v)
			tt.change(&s, &c)
			p := pairOf(t, c, s).shaken()
			p.talk()
			for _, end := range []struct {
				conn *Conn
				cert string
				key  bool
			}{{p.client, "ecdsa", tt.server}, {p.server, "client", tt.client}} {
				what := fmt.Sprintf("%s, %v, from %s", name, v, end.cert)
				st := end.conn.State()
				check(t, (st.VerifyError == nil) == (c.Verify != VerifyNone || end.conn == p.server), "%s: %v", what, st.VerifyError)
				check(t, (st.PeerPublicKey != nil) == end.key && knows(t, end.conn) > 0 != end.key, "%s: key %x, %d certificates", what, st.PeerPublicKey, knows(t, end.conn))
				if end.key {
					_, err := x509.ParsePKIXPublicKey(st.PeerPublicKey)
					tlstest.Must(t, err)
				}
				if end.key && name != "Ed25519" && name != "RSA" {
					sameBytes(t, what, st.PeerPublicKey, publicKeyOf(t, end.cert))
				}
			}
		}
	}
}

// TestRawPublicKeyRefused: who has another key, or a certificate where keys alone count, is refused, and the error names the key.
func TestRawPublicKeyRefused(t *testing.T) {
	needRawKeys(t)
	sum := func(name string) string {
		return fmt.Sprintf("%x is not in PeerKeys", sha256.Sum256(publicKeyOf(t, name)))
	}
	for name, tt := range map[string]struct {
		change func(s, c *Config)
		server bool // which refuses
		says   string
		alert  tlsio.Alert
	}{
		"the server's key":         {func(s, c *Config) { c.PeerKeysPEM = publicKeys(t, "rsa", "client") }, false, sum("ecdsa"), 46},
		"the client's key":         {func(s, c *Config) { s.PeerKeysPEM = publicKeys(t, "ecdsa") }, true, sum("client"), 46},
		"CAs are no help":          {func(s, c *Config) { s.CAFile, s.PeerKeysPEM = testcerts.Path("root.pem"), publicKeys(t, "ecdsa") }, true, sum("client"), 46},
		"the server's certificate": {func(s, c *Config) { s.RawPublicKey = false }, false, "only raw public keys are accepted", 43},
		"the client's certificate": {func(s, c *Config) { c.RawPublicKey = false }, true, "only raw public keys are accepted", 43},
		"a weak key": {func(s, c *Config) {
			s.Certificates, s.Verify, s.PeerKeysPEM = serverConfig("rsa").Certificates, VerifyNone, nil
			c.Certificates, c.RawPublicKey, c.CipherList = nil, false, "DEFAULT:@SECLEVEL=3"
		}, false, "key too weak", 42},
	} {
		for _, v := range versions {
			s, c := rawMutual(t, v)
			tt.change(&s, &c)
			cerr, serr := pairOf(t, c, s).try()
			if tt.server {
				cerr, serr = serr, cerr
			}
			says(t, name, cerr, tt.says)
			checkAlerts(t, cerr, serr, tt.alert)
		}
	}
}

// TestRawPublicKeyResumed: a session knows its peer's key and is resumed while the list is the same, for the same name. Where a key
// is no more in the list, its peer is refused.
func TestRawPublicKeyResumed(t *testing.T) {
	needRawKeys(t)
	for _, v := range versions {
		s, c := rawMutual(t, v)
		s.TicketKeys = [][]byte{ticketKey(1, 80)}
		sx, cx := mustServer(t, s), mustClient(t, c)
		p := newPair(t, cx, sx).opened()
		again := p.again(mustClient(t, c), mustServer(t, s), "localhost")
		for conn, cert := range map[*Conn]string{again.client: "ecdsa", again.server: "client"} {
			st := conn.State()
			check(t, st.Resumed && st.VerifyError == nil, "%v: resumed %v, %v", v, st.Resumed, st.VerifyError)
			sameBytes(t, "the key", st.PeerPublicKey, publicKeyOf(t, cert))
		}
		check(t, !p.again(cx, sx, "other.test").client.State().Resumed, "%v: resumed for another name", v)

		asked := c
		asked.VerifyPeer = func(v *PeerVerification) { v.Accept() }
		ax := mustClient(t, asked)
		cfg := ConnConfig{ServerName: "localhost", Session: ticketOf(t, ax, sx)}
		conns, cerr, serr := shakeAs(t, ax, sx, cfg)
		check(t, cerr == nil && serr == nil && conns.client.State().Resumed, "%v: with VerifyPeer: %v, %v", v, cerr, serr)
		cfg.ServerName = "127.0.0.1"
		conns, cerr, serr = shakeAs(t, ax, sx, cfg)
		check(t, cerr == nil && serr == nil && !conns.client.State().Resumed, "%v: VerifyPeer is not asked about another peer: %v, %v", v, cerr, serr)

		shorter, strict := s, c
		shorter.PeerKeysPEM, strict.PeerKeysPEM = publicKeys(t, "rsa"), publicKeys(t, "rsa")
		cfg = ConnConfig{ServerName: "localhost", Session: p.client.Session()}
		_, cerr, _ = shakeAs(t, mustClient(t, strict), sx, cfg)
		says(t, "the client's list", cerr, "is not in PeerKeys")
		_, _, serr = shakeAs(t, cx, mustServer(t, shorter), cfg)
		says(t, "the server's list", serr, "is not in PeerKeys")

		c.Verify, c.PeerKeysPEM, c.PeerRawPublicKey = VerifyNone, nil, true
		cfg.Session = ticketOf(t, mustClient(t, c), sx)
		_, cerr, _ = shakeAs(t, mustClient(t, strict), sx, cfg)
		says(t, "a session without checks", cerr, "is not in PeerKeys")
	}
}

// TestRawPublicKeyAfterHandshake: a raw public key can be asked for after the handshake (TLS 1.3), as often as one likes, and the list and
// VerifyPeer decide about it; a ticket from then on knows it.
func TestRawPublicKeyAfterHandshake(t *testing.T) {
	needRawKeys(t)
	mine := errors.New("not mine")
	peer := func(decide func(v *PeerVerification)) func(s, c *Config) {
		return func(s, c *Config) {
			s.VerifyPeer = func(v *PeerVerification) {
				sameBytes(t, "the key", v.PublicKey, publicKeyOf(t, "client"))
				decide(v)
			}
		}
	}
	for name, tt := range map[string]struct {
		change      func(s, c *Config)
		certificate bool
		says        string // of the server's error
		alert       tlsio.Alert
	}{
		"a key":            {change: func(s, c *Config) {}},
		"with offload":     {change: func(s, c *Config) { s.Offload = true }},
		"accepted":         {change: peer((*PeerVerification).Accept)},
		"CAs too":          {change: func(s, c *Config) { s.CAFile = testcerts.Path("root.pem") }},
		"a certificate":    {change: func(s, c *Config) { s.CAFile, c.RawPublicKey = testcerts.Path("root.pem"), false }, certificate: true},
		"refused":          {change: peer(func(v *PeerVerification) { v.Refuse(mine) }), says: mine.Error(), alert: 42},
		"another key":      {change: func(s, c *Config) { s.PeerKeysPEM = publicKeys(t, "rsa") }, says: "is not in PeerKeys", alert: 46},
		"only certificate": {change: func(s, c *Config) { c.RawPublicKey = false }, says: "only raw public keys are accepted", alert: 43},
		"none":             {change: func(s, c *Config) { c.RawPublicKey, c.Certificates = false, nil }, says: "did not return a certificate", alert: 116},
	} {
		s, c := rawMutual(t, TLS13)
		c.PostHandshakeAuth, s.PostHandshakeAuth = true, true
		tt.change(&s, &c)
		cx, sx := mustClient(t, c), mustServer(t, s)
		p := newPair(t, cx, sx).opened()
		check(t, p.server.State().PeerPublicKey == nil && knows(t, p.server) == 0, "%s: known before it was asked for", name)
		for range 2 {
			answered, cerr, serr := p.request()
			equal(t, answered, tt.says == "", "%s: answered", name)
			if tt.says != "" {
				says(t, name, serr, tt.says)
				checkAlerts(t, serr, cerr, tt.alert)
				break
			}
			noErrors(t, cerr, serr)
			p.talk()
		}
		if tt.says != "" {
			continue
		}
		again := p.again(cx, sx, "localhost")
		check(t, again.server.State().Resumed, "%s: not resumed", name)
		for _, end := range []*Conn{p.server, again.server} {
			st := end.State()
			tlstest.Must(t, st.VerifyError)
			equal(t, knows(t, end) > 0, tt.certificate, "%s: a certificate", name)
			if !tt.certificate {
				sameBytes(t, name, st.PeerPublicKey, publicKeyOf(t, "client"))
			}
		}
	}
}

// TestRawPublicKeyByApplication: VerifyPeer gets the key, and with VerifyApplication it alone decides.
func TestRawPublicKeyByApplication(t *testing.T) {
	needRawKeys(t)
	mine := errors.New("not mine")
	for _, v := range versions {
		for _, listed := range []bool{true, false} {
			for _, refuse := range []bool{false, true} {
				s, c := rawMutual(t, v)
				var got [2][]byte
				ask := func(x *Config, i int) {
					if !listed {
						x.PeerKeysPEM, x.PeerRawPublicKey, x.Verify = nil, true, VerifyApplication
					}
					x.VerifyPeer = func(v *PeerVerification) {
						got[i] = v.PublicKey
						check(t, (v.Err == nil) == listed && len(v.Sent)+len(v.Chain) == 0, "%v, %d certificates", v.Err, len(v.Sent))
						if refuse && i == 1 {
							v.Refuse(mine)
							return
						}
						v.Accept()
					}
				}
				ask(&c, 0)
				ask(&s, 1)
				p := pairOf(t, c, s)
				_, serr := p.try()
				check(t, errors.Is(serr, mine) == refuse && (serr == nil) != refuse, "%v, refuse %v: %v", v, refuse, serr)
				check(t, listed || serr == nil || !strings.Contains(serr.Error(), "PeerKeys"), "%v: the list that is not asked is the reason: %v", v, serr)
				check(t, bytes.Equal(got[0], publicKeyOf(t, "ecdsa")) && bytes.Equal(got[1], publicKeyOf(t, "client")), "%v: keys %x", v, got)
			}
		}
	}
}

// TestRawPublicKeyNeedsName: VerifyPeer gets a name to verify, unless the caller says that there is none.
func TestRawPublicKeyNeedsName(t *testing.T) {
	needRawKeys(t)
	_, c := rawMutual(t, TLS13)
	c.VerifyPeer = func(v *PeerVerification) { v.Accept() }
	for _, listed := range []bool{true, false} {
		if !listed {
			c.PeerKeysPEM, c.PeerRawPublicKey, c.Verify = nil, true, VerifyApplication
		}
		_, err := mustClient(t, c).NewEngineConn(ConnConfig{})
		says(t, "no ServerName", err, "ServerName")
	}
}

// TestRawPublicKeySettings: what cannot work is refused.
func TestRawPublicKeySettings(t *testing.T) {
	needRawKeys(t)
	s, c := rawMutual(t, 0)
	rows := []wrongConfig{
		{"a certificate for a key", func(c *Config) { c.PeerKeysPEM = testcerts.Read(t, "ecdsa.pem") }, "PeerKeysPEM", "want public keys in PEM|found CERTIFICATE"},
		{"half a key", func(c *Config) {
			c.PeerKeysPEM = slices.Concat(c.PeerKeysPEM, []byte("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"))
		},
			"PeerKeysPEM", "want public keys"},
		{"no such file", func(c *Config) { c.PeerKeysPEM, c.PeerKeysFile = nil, "no-such-file" }, "PeerKeysFile", "want public keys in PEM"},
		{"two lists", func(c *Config) { c.PeerKeysFile = testcerts.Path("ecdsa.pem") }, "PeerKeysFile", "use one"},
		{"no list", func(c *Config) { c.PeerKeysPEM, c.PeerRawPublicKey = nil, true }, "PeerRawPublicKey", "VerifyApplication"},
	}
	checkRefusals(t, true, s, append(rows, wrongConfig{"nobody is asked", func(c *Config) { c.Verify = VerifyNone }, "PeerKeys", "VerifyRequire"}))
	checkRefusals(t, false, c, append(rows, wrongConfig{"no key", func(c *Config) { c.Certificates = nil }, "RawPublicKey", "set Certificates"}))
}
