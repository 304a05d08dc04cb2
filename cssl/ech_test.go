package cssl

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

func hasECH() bool { return linked.Run.series() >= 0x400 }

func needECH(t *testing.T) {
	t.Helper()
	if !hasECH() {
		t.Skipf("OpenSSL %v has no Encrypted Client Hello: 4.0 does", linked.Run)
	}
}

// echKey is a server's key, with its configuration.
type echKey struct {
	key    *ecdh.PrivateKey
	config []byte // an ECHConfig
}

// newECHKey makes a key for X25519, HKDF-SHA256 and AES-128-GCM (RFC 9849, section 4).
func newECHKey(t testing.TB, id byte, publicName string) (k echKey) {
	t.Helper()
	k.key = tlstest.Value(ecdh.X25519().GenerateKey(rand.Reader))(t)
	p := []byte{id, 0, 0x20, 0, 32}
	p = append(p, k.key.PublicKey().Bytes()...)
	p = append(p, 0, 4, 0, 1, 0, 1, 0, byte(len(publicName)))
	p = append(append(p, publicName...), 0, 0)
	k.config = append(binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(p))), p...)
	return k
}

// list is an ECHConfigList of the keys' configurations.
func echList(keys ...echKey) []byte {
	var all []byte
	for _, k := range keys {
		all = append(all, k.config...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
}

// pem is the key with the configurations of keys, or else its own.
func (k echKey) pem(t testing.TB, keys ...echKey) ECHKey {
	t.Helper()
	if keys == nil {
		keys = []echKey{k}
	}
	der := tlstest.Value(x509.MarshalPKCS8PrivateKey(k.key))(t)
	return ECHKey{PEM: append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "ECHCONFIG", Bytes: echList(keys...)})...)}
}

// echPeers is a server with certificates for front.example and secret.example, and a client.
func echPeers(t testing.TB, keys ...echKey) (client, server Config) {
	t.Helper()
	ca := newAuthority(t, "ca", nil, newKey(t))
	for _, name := range []string{"front.example", "secret.example"} {
		server.Certificates = append(server.Certificates, ca.issue(x509.Certificate{DNSNames: []string{name}}))
	}
	for _, k := range keys {
		server.ECHKeys = append(server.ECHKeys, k.pem(t))
	}
	client.CAPEM = ca.pem
	return client, server
}

func secretly(keys ...echKey) ConnConfig {
	return ConnConfig{ServerName: "secret.example", ECHConfigList: echList(keys...)}
}

// TestECHUnsupported: an older OpenSSL refuses all of it, and says what is needed.
func TestECHUnsupported(t *testing.T) {
	if hasECH() {
		t.Skipf("OpenSSL %v has it", linked.Run)
	}
	k := newECHKey(t, 1, "front.example")
	server, client := serverConfig("ecdsa"), clientConfig()
	text := "Encrypted Client Hello needs OpenSSL 4.0 or newer, " + linked.Run.String()
	checkRefusals(t, true, server, []wrongConfig{{"server", func(c *Config) { c.ECHKeys = []ECHKey{k.pem(t)} }, "ECHKeys", text}})
	checkRefusals(t, false, client, []wrongConfig{{"GREASE", func(c *Config) { c.ECHGrease = true }, "ECHGrease", text}})
	_, err := mustClient(t, client).NewEngineConn(secretly(k))
	checkConfigError(t, "client", err, "ECHConfigList", text)
	var e *VersionError
	check(t, errors.As(err, &e) && errors.Is(err, errors.ErrUnsupported), "%v is no VersionError", err)
}

// checkECH demands what both sides say about it.
func (p *pair) checkECH(what string, client, server ECHStatus, name, outer string) {
	p.t.Helper()
	c, s := p.client.State(), p.server.State()
	check(p.t, c.ECH == client && s.ECH == server && s.ServerName == name && s.OuterServerName == outer && c.OuterServerName == outer,
		"%s: the client says %v, outside %q; the server %v, %q, outside %q", what, c.ECH, c.OuterServerName, s.ECH, s.ServerName,
		s.OuterServerName)
}

// TestECH: name and certificate are those of the encrypted ClientHello, nobody else sees the name, and the application is shown both; with
// each kind of records, in a resumption, after a HelloRetryRequest and with extensions of our own.
func TestECH(t *testing.T) {
	needECH(t)
	k := newECHKey(t, 7, "front.example")
	for _, kind := range []Records{RecordsOpenSSL, RecordsDirect} {
		for name, tt := range map[string]struct {
			change  func(c, s *Config)
			outer   string // that is set
			retried bool
		}{
			"plain":        {},
			"offload":      {change: func(c, s *Config) { s.Offload = true }},
			"another name": {outer: "elsewhere.example"},
			"retried":      {change: func(c, s *Config) { c.Groups, s.Groups = "X25519:P-384", "P-384" }, retried: true},
			"ALPN":         {change: func(c, s *Config) { c.ALPN, s.ALPN = []string{"h2"}, []string{"h2"} }},
			"extensions": {change: func(c, s *Config) {
				c.Extensions = []Extension{{Type: 65280, Messages: InClientHello | InServerHello,
					Add: func(c ExtensionCall) ([]byte, bool, error) { return []byte("ours"), !c.Server, nil }}}
				s.Extensions = c.Extensions
			}},
		} {
			what := name + " " + kind.String()
			c, s := echPeers(t, k)
			s.Records = kind
			if tt.change != nil {
				tt.change(&c, &s)
			}
			var seen []*ClientHello
			s.ClientHello = func(h *ClientHello) { seen = append(seen, h); h.Outer.Accept(nil) }
			config, outer := secretly(k), "front.example"
			if tt.outer != "" {
				config.ECHOuterName, outer = tt.outer, tt.outer
			}
			cx, sx := mustClient(t, c), mustServer(t, s)
			p := newPair(t, cx, sx, config)
			client, _ := p.exchange([]byte("data"))
			check(t, !bytes.Contains(client, []byte("secret")) && bytes.Contains(client, []byte(outer)), "%s: not hidden: %q", what, client)
			p.checkECH(what, ECHAccepted, ECHAccepted, "secret.example", outer)
			equal(t, p.client.State().HelloRetryRequest, tt.retried, "%s: retried", what)
			h := seen[0]
			check(t, len(seen) == 1 && h.ServerName == "secret.example" && h.Outer != nil && h.Outer.ServerName == outer &&
				slices.Contains(h.Versions, TLS13) && len(h.Raw) == 4+int(h.Raw[2])<<8+int(h.Raw[3]), "%s: seen %+v", what, h)
			config.Session = p.client.Session()
			p = newPair(t, cx, sx, config).opened()
			p.checkECH(what+" resumed", ECHAccepted, ECHAccepted, "secret.example", outer)
			check(t, p.client.State().Resumed, "%s: not resumed", what)
			p.talk()
		}
	}
}

// TestECHExtensionLeftOut: OpenSSL cannot leave an extension out, which is said.
func TestECHExtensionLeftOut(t *testing.T) {
	needECH(t)
	k := newECHKey(t, 7, "front.example")
	c, s := echPeers(t, k)
	c.Extensions = []Extension{{Type: 65280, Messages: InClientHello, Add: func(ExtensionCall) ([]byte, bool, error) { return nil, false, nil }}}
	err, _ := newPair(t, mustClient(t, c), mustServer(t, s), secretly(k)).try()
	says(t, "left out", err, "cannot leave an extension out")
}

// TestECHRejected: a client with an old configuration fails and is given the new one, with which it succeeds; but not if the server has no
// certificate for the public name, or does without.
func TestECHRejected(t *testing.T) {
	needECH(t)
	old, now := newECHKey(t, 1, "front.example"), newECHKey(t, 2, "front.example")
	alien := newECHKey(t, 1, "alien.example")
	c, s := echPeers(t, now)
	cx, sx := mustClient(t, c), mustServer(t, s)
	p := newPair(t, cx, sx, secretly(old))
	cerr, serr := p.try()
	var rejected *ECHRejectionError
	demand(t, errors.As(cerr, &rejected), "%v", cerr)
	sameBytes(t, "configurations", rejected.RetryConfigList, echList(now))
	says(t, "the client", cerr, "rejected", "RetryConfigList")
	checkAlert(t, cerr, tlsio.AlertSent, 121)
	checkAlert(t, serr, tlsio.AlertReceived, 121)
	equal(t, p.server.State().ECH, ECHNone, "the server, whose handshake is not done")
	config := secretly(old)
	config.ECHConfigList = rejected.RetryConfigList
	newPair(t, cx, sx, config).opened().checkECH("again", ECHAccepted, ECHAccepted, "secret.example", "front.example")

	cerr, _ = newPair(t, cx, sx, secretly(alien)).try()
	check(t, !errors.As(cerr, &rejected), "the server has no certificate for the public name: %v", cerr)
	says(t, "no certificate for the name", cerr, "certificate verify failed")

	insecure := c
	insecure.Verify = VerifyNone
	cerr, _ = newPair(t, mustClient(t, insecure), sx, secretly(alien)).try()
	demand(t, errors.As(cerr, &rejected) && rejected.RetryConfigList == nil, "anybody may have sent them: %v", cerr)

	asks, names := c, []string{}
	asks.VerifyPeer = func(v *PeerVerification) { names = append(names, v.PeerName); v.Accept() }
	ax := mustClient(t, asks)
	for _, k := range []echKey{old, now} {
		cerr, _ = newPair(t, ax, sx, secretly(k)).try()
	}
	check(t, cerr == nil && slices.Equal(names, []string{"front.example", "secret.example"}), "VerifyPeer saw %q: %v", names, cerr)

	s.ECHKeys = nil
	cerr, _ = newPair(t, cx, mustServer(t, s), secretly(old)).try()
	demand(t, errors.As(cerr, &rejected) && rejected.RetryConfigList == nil, "%v", cerr)
}

// outerHello is what everybody can read of a client's first message: the content of each extension.
func outerHello(t *testing.T, sent []byte) map[uint16][]byte {
	t.Helper()
	body := reader(sent[9+34:]) // after the headers, the version and the random bytes
	body.run(int(body[0]) + 1)
	body.run(int(body.u16()))
	body.run(int(body[0]) + 1)
	exts := map[uint16][]byte{}
	for all := reader(body.run(int(body.u16()))); len(all) > 0; {
		id := all.u16()
		exts[id] = all.run(int(all.u16()))
	}
	demand(t, exts[65037] != nil, "no Encrypted Client Hello in %x", sent)
	return exts
}

// TestECHOuterHello: what everybody can read. ALPN can be given another value there; OpenSSL 4.0 hides no extension of the application; a
// ticket is hidden, also with early data, which is accepted.
func TestECHOuterHello(t *testing.T) {
	needECH(t)
	const ours, alpn, early, psk = 65280, 16, 42, 41
	k := newECHKey(t, 7, "front.example")
	c, s := echPeers(t, k)
	c.ALPN, s.ALPN, s.MaxEarlyData = []string{"hidden/1"}, []string{"hidden/1"}, 1000
	c.Extensions = []Extension{{Type: ours, Messages: InClientHello,
		Add: func(c ExtensionCall) ([]byte, bool, error) { return []byte("visible"), true, nil }}}
	cx, sx := mustClient(t, c), mustServer(t, s)
	for _, outer := range [][]string{nil, {"h2", "http/1.1"}} {
		config := secretly(k)
		config.ECHOuterALPN = outer
		for _, early0 := range []string{"", "early data"} {
			p := newPair(t, cx, sx, config)
			p.wire = map[*Conn][]byte{}
			if early0 != "" {
				p.writeEarly([]byte(early0))
				p.readEarly()
				p.handshake()
				p.checkEarly(EarlyDataAccepted)
				equal(t, string(p.early), early0, "early data")
			}
			p.opened().checkECH("outer", ECHAccepted, ECHAccepted, "secret.example", "front.example")
			equal(t, p.client.State().ALPN, "hidden/1", "ALPN of the client")
			equal(t, p.server.State().ALPN, "hidden/1", "ALPN of the server")
			sent := p.wire[p.client]
			exts := outerHello(t, sent)
			check(t, !bytes.Contains(sent, []byte("secret")), "the name can be read")
			want := "\x00\x09\x08hidden/1"
			if outer != nil {
				want = "\x00\x0c\x02h2\x08http/1.1"
				check(t, !bytes.Contains(sent, []byte("hidden")), "ALPN can be read")
			}
			equal(t, string(exts[alpn]), want, "ALPN that everybody sees")
			equal(t, string(exts[ours]), "visible", "the application's extension")
			check(t, (exts[early] != nil) == (early0 != ""), "early_data: %v", exts)
			if early0 != "" {
				id := reader(exts[psk][2:])
				ticket := id.run(int(id.u16()))
				check(t, len(ticket) > 0 && !bytes.Contains(config.Session.der, ticket), "the ticket can be read: %x", ticket)
			}
			config.Session = p.client.Session()
		}
	}
}

// TestECHEarlyDataRejected: a server that rejects an Encrypted Client Hello gets nothing of its early data.
func TestECHEarlyDataRejected(t *testing.T) {
	needECH(t)
	old, now := newECHKey(t, 1, "front.example"), newECHKey(t, 2, "front.example")
	c, s := echPeers(t, old)
	s.MaxEarlyData, s.AllowReplay, s.TicketKeys = 1000, true, [][]byte{ticketKey(1, 80)}
	cx, config := mustClient(t, c), secretly(old)
	config.Session = newPair(t, cx, mustServer(t, s), config).opened().client.Session()
	s.ECHKeys = []ECHKey{now.pem(t)}
	p := newPair(t, cx, mustServer(t, s), config)
	p.writeEarly([]byte("early data"))
	p.readEarly()
	cerr, _ := p.try()
	var rejected *ECHRejectionError
	demand(t, errors.As(cerr, &rejected), "%v", cerr)
	sameBytes(t, "configurations", rejected.RetryConfigList, echList(now))
	equal(t, string(p.early), "", "early data")
	equal(t, p.server.State().EarlyData, EarlyDataRejected, "the server's early data")
}

// TestECHRejectedByGo: OpenSSL 4.0 sends a made-up pre_shared_key without a binder where everybody can read it (RFC 9849, section 6.1.2), which
// crypto/tls does not parse. So a client with an outdated configuration and a session gets no other one from such a server; without the session
// it does.
func TestECHRejectedByGo(t *testing.T) {
	needECH(t)
	old, now := newECHKey(t, 1, "front.example"), newECHKey(t, 2, "front.example")
	c, s := echPeers(t, old)
	cx, config := mustClient(t, c), secretly(old)
	session := newPair(t, cx, mustServer(t, s), config).opened().client.Session()
	for _, config.Session = range []*Session{session, nil} {
		err := shakeWithGoServer(t, engineConn(t, cx, config), goECHServer(t, s, now))
		if config.Session != nil {
			checkAlert(t, err, tlsio.AlertReceived, tlsio.AlertDecodeError)
			continue
		}
		var rejected *ECHRejectionError
		demand(t, errors.As(err, &rejected), "%v", err)
		sameBytes(t, "configurations", rejected.RetryConfigList, echList(now))
	}
}

// TestECHRetryTrust: other configurations are handed out only if the server has authenticated itself for the public name (RFC 9849, section
// 6.1.7), or by a raw public key in the list.
func TestECHRetryTrust(t *testing.T) {
	needECH(t)
	front, public, now := newECHKey(t, 1, "front.example"), newECHKey(t, 1, "public.example"), newECHKey(t, 2, "front.example")
	trusted, s := echPeers(t, now)
	other, _ := echPeers(t)
	both := s
	ca := newAuthority(t, "ca", nil, newKey(t))
	both.Certificates = []Certificate{ca.issue(x509.Certificate{DNSNames: []string{"front.example", "public.example"}})}
	trustsBoth := Config{CAPEM: ca.pem}
	raw, rawClient := rawMutual(t, TLS13)
	raw.Verify, raw.PeerKeysPEM, raw.ECHKeys = VerifyNone, nil, s.ECHKeys
	rawClient.Certificates, rawClient.RawPublicKey = nil, false
	application := func(decide func(v *PeerVerification)) Config {
		return Config{Verify: VerifyApplication, VerifyPeer: decide}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted.CAPEM)
	verified := application(func(v *PeerVerification) {
		chains, err := v.Sent[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: v.PeerName})
		if err != nil {
			v.Refuse(err)
			return
		}
		v.AcceptChains(chains)
	})
	const list, none = "list", "none" // what the error has; or else its text
	for name, tt := range map[string]struct {
		client, server Config
		keys           []echKey
		outer          string
		change         func(c *Config)
		noName         bool
		want           string
	}{
		"authentic":                       {client: trusted, server: s, keys: []echKey{front}, want: list},
		"not trusted":                     {client: other, server: s, keys: []echKey{front}, want: "unable to get local issuer"},
		"another name":                    {client: trusted, server: s, keys: []echKey{public}, want: "hostname mismatch"},
		"for the outer name alone":        {client: trusted, server: s, keys: []echKey{public}, outer: "front.example", want: none},
		"for the public name alone":       {client: trusted, server: s, keys: []echKey{front}, outer: "public.example", want: "hostname mismatch"},
		"for both names":                  {client: trustsBoth, server: both, keys: []echKey{public}, outer: "front.example", want: list},
		"the outer name is a public name": {client: trusted, server: s, keys: []echKey{public, front}, outer: "FRONT.example", want: list},
		"two public names":                {client: trusted, server: s, keys: []echKey{front, public}, want: list},
		"no check of the name":            {client: trusted, server: s, keys: []echKey{public}, noName: true, want: "hostname mismatch"},
		"VerifyNone, authentic":           {client: trusted, server: s, keys: []echKey{front}, change: func(c *Config) { c.Verify = VerifyNone }, want: list},
		"VerifyNone, not trusted":         {client: other, server: s, keys: []echKey{front}, change: func(c *Config) { c.Verify = VerifyNone }, want: none},
		"VerifyNone, another name":        {client: trusted, server: s, keys: []echKey{public}, change: func(c *Config) { c.Verify = VerifyNone }, want: none},
		"Accept":                          {client: application(func(v *PeerVerification) { v.Accept() }), server: s, keys: []echKey{front}, want: none},
		"AcceptChains without one": {client: application(func(v *PeerVerification) { v.AcceptChains(nil) }), server: s, keys: []echKey{front},
			want: none},
		"AcceptChains":                         {client: verified, server: s, keys: []echKey{front}, want: list},
		"AcceptChains for the outer name":      {client: verified, server: s, keys: []echKey{public}, outer: "front.example", want: none},
		"a raw public key in the list":         {client: rawClient, server: raw, keys: []echKey{public}, want: list},
		"a raw public key, with an outer name": {client: rawClient, server: raw, keys: []echKey{public}, outer: "front.example", want: list},
		"another raw public key": {client: rawClient, server: raw, keys: []echKey{front},
			change: func(c *Config) { c.PeerKeysPEM = publicKeys(t, "rsa") }, want: "is not in PeerKeys"},
		"any raw public key": {client: rawClient, server: raw, keys: []echKey{front},
			change: func(c *Config) { c.PeerKeysPEM, c.PeerRawPublicKey, c.Verify = nil, true, VerifyNone }, want: none},
	} {
		if tt.change != nil {
			tt.change(&tt.client)
		}
		config := secretly(tt.keys...)
		config.ECHOuterName, config.InsecureSkipNameCheck = tt.outer, tt.noName
		cerr, _ := newPair(t, mustClient(t, tt.client), mustServer(t, tt.server), config).try()
		var rejected *ECHRejectionError
		switch is := errors.As(cerr, &rejected); {
		case tt.want != list && tt.want != none:
			check(t, !is, "%s: a rejection: %v", name, cerr)
			says(t, name, cerr, tt.want)
		case !is:
			t.Errorf("%s: %v", name, cerr)
		case tt.want == list:
			check(t, bytes.Equal(rejected.RetryConfigList, echList(now)), "%s: the list is %x", name, rejected.RetryConfigList)
		default:
			check(t, rejected.RetryConfigList == nil, "%s: configurations of a server that is not authenticated", name)
		}
	}
}

// TestECHRotation: each key decrypts, the first one's configuration is offered, and a client may name none.
func TestECHRotation(t *testing.T) {
	needECH(t)
	now, old, same := newECHKey(t, 1, "front.example"), newECHKey(t, 2, "front.example"), newECHKey(t, 1, "front.example")
	c, s := echPeers(t, now, old)
	cx, sx := mustClient(t, c), mustServer(t, s)
	for _, k := range []echKey{now, old} {
		newPair(t, cx, sx, secretly(k)).opened().checkECH("rotation", ECHAccepted, ECHAccepted, "secret.example", "front.example")
	}
	cerr, _ := newPair(t, cx, sx, secretly(same)).try()
	var rejected *ECHRejectionError
	demand(t, errors.As(cerr, &rejected), "%v", cerr)
	sameBytes(t, "configurations", rejected.RetryConfigList, echList(now))

	s.ECHKeys = []ECHKey{now.pem(t), same.pem(t)}
	for _, trial := range []bool{false, true} {
		s.ECHTrialDecryption = trial
		cerr, _ := newPair(t, cx, mustServer(t, s), secretly(same)).try()
		check(t, (cerr == nil) == trial, "two keys of one number, trial %v: %v", trial, cerr)
	}
}

// TestECHGrease: what only looks real does no harm, whether or not the server has keys.
func TestECHGrease(t *testing.T) {
	needECH(t)
	k := newECHKey(t, 1, "front.example")
	for _, keys := range [][]echKey{nil, {k}} {
		c, s := echPeers(t, keys...)
		c.ECHGrease = true
		server := map[bool]ECHStatus{false: ECHNone, true: ECHRejected}[keys != nil]
		cx, sx := mustClient(t, c), mustServer(t, s)
		newPair(t, cx, sx, ConnConfig{ServerName: "secret.example"}).opened().checkECH("GREASE", ECHGrease, server, "secret.example", "")
		if keys != nil {
			newPair(t, cx, sx, secretly(k)).opened().checkECH("the real one", ECHAccepted, ECHAccepted, "secret.example", "front.example")
		}
	}
	c, s := echPeers(t, k)
	pairConfig := ConnConfig{ServerName: "secret.example"}
	newPair(t, mustClient(t, c), mustServer(t, s), pairConfig).opened().checkECH("without", ECHNone, ECHNone, "secret.example", "")
}

// TestECHConfig: what cannot be used is refused, with its setting, and no key is shown.
func TestECHConfig(t *testing.T) {
	needECH(t)
	k, other := newECHKey(t, 1, "front.example"), newECHKey(t, 2, "front.example")
	keys := func(k ...ECHKey) func(c *Config) { return func(c *Config) { c.ECHKeys = k } }
	secret := strings.Split(string(k.pem(t).PEM), "\n")[1]
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"no file", keys(ECHKey{File: "/no/ech"}), "ECHKeys[0].File", "no such file"},
		{"empty", keys(ECHKey{}), "ECHKeys[0].PEM", "openssl ech"},
		{"garbage", keys(k.pem(t), ECHKey{PEM: []byte("SECRET")}), "ECHKeys[1].PEM", "want a PRIVATE KEY"},
		{"cut", keys(ECHKey{PEM: k.pem(t).PEM[:150]}), "ECHKeys[0].PEM", "want a PRIVATE KEY"},
		{"of another key", keys(k.pem(t, other)), "ECHKeys[0].PEM", "want a PRIVATE KEY and its ECHCONFIG"},
		{"no key", keys(ECHKey{PEM: k.pem(t).PEM[bytes.Index(k.pem(t).PEM, []byte("-----BEGIN ECHCONFIG")):]}), "ECHKeys[0].PEM",
			"want a PRIVATE KEY and its ECHCONFIG"},
		{"only TLS 1.2", func(c *Config) { c.MaxVersion = TLS12; keys(k.pem(t))(c) }, "ECHKeys", "TLS 1.3"},
		{"nothing to try", func(c *Config) { c.ECHTrialDecryption = true }, "ECHTrialDecryption", "no ECHKeys"},
		{"of a client", func(c *Config) { c.ECHGrease = true }, "ECHGrease", "other side"},
	}, secret)
	checkRefusals(t, false, clientConfig(), []wrongConfig{{"of a server", keys(k.pem(t)), "ECHKeys", "other side"}})
	_, err := mustClient(t, clientUpTo(TLS12)).NewEngineConn(secretly(k))
	checkConfigError(t, "only TLS 1.2", err, "ECHConfigList", "TLS 1.3")
	x := mustClient(t, clientConfig())
	unknown := newECHKey(t, 1, "front.example")
	unknown.config[0] = 0xff
	for name, tt := range map[string]struct {
		config  ConnConfig
		setting string
	}{
		"garbage":         {ConnConfig{ECHConfigList: []byte("garbage")}, "ECHConfigList"},
		"cut":             {ConnConfig{ECHConfigList: echList(k)[:40]}, "ECHConfigList"},
		"unknown version": {ConnConfig{ECHConfigList: echList(unknown)}, "ECHConfigList"},
		"outer alone":     {ConnConfig{ECHOuterName: "front.example"}, "ECHOuterName"},
		"bad outer":       {ConnConfig{ECHConfigList: echList(k), ECHOuterName: "a\x00b"}, "ECHOuterName"},
		"ALPN alone":      {ConnConfig{ECHOuterALPN: []string{"h2"}}, "ECHOuterALPN"},
		"empty name":      {ConnConfig{ECHConfigList: echList(k), ECHOuterALPN: []string{""}}, "ECHOuterALPN"},
		"long names":      {ConnConfig{ECHConfigList: echList(k), ECHOuterALPN: []string{strings.Repeat("x", 127), strings.Repeat("y", 127)}}, "ECHOuterALPN"},
		"no inner ALPN":   {ConnConfig{ECHConfigList: echList(k), ECHOuterALPN: []string{"h2"}}, "ECHOuterALPN"},
	} {
		tt.config.ServerName = "localhost"
		_, err := x.NewEngineConn(tt.config)
		checkConfigError(t, name, err, tt.setting)
	}
}

// TestECHGo: with crypto/tls on either side, accepted and rejected.
func TestECHGo(t *testing.T) {
	needECH(t)
	old, now := newECHKey(t, 1, "front.example"), newECHKey(t, 2, "front.example")
	c, s := echPeers(t, now)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CAPEM)
	sx := mustServer(t, s)
	state := readWithGo(t, sx, &tls.Config{ServerName: "secret.example", RootCAs: roots, EncryptedClientHelloConfigList: echList(now)})
	check(t, state.ECHAccepted, "our server has not accepted")

	for _, k := range []echKey{now, old} {
		conn := engineConn(t, mustClient(t, c), secretly(k))
		err := shakeWithGoServer(t, conn, goECHServer(t, s, now))
		var rejected *ECHRejectionError
		if slices.Equal(k.config, now.config) {
			tlstest.Must(t, err)
			equal(t, conn.State().ECH, ECHAccepted, "with a server of crypto/tls")
			continue
		}
		demand(t, errors.As(err, &rejected), "%v", err)
		sameBytes(t, "configurations", rejected.RetryConfigList, echList(now))
	}
}

// goECHServer is a server of crypto/tls with the certificates of s.
func goECHServer(t *testing.T, s Config, k echKey) *tls.Config {
	t.Helper()
	server := &tls.Config{EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{{Config: k.config, PrivateKey: k.key.Bytes(), SendAsRetry: true}}}
	for _, k := range s.Certificates {
		server.Certificates = append(server.Certificates, tlstest.Value(tls.X509KeyPair(k.ChainPEM, k.KeyPEM))(t))
	}
	return server
}

// shakeWithGoServer makes conn's handshake, and returns how it ended.
func shakeWithGoServer(t *testing.T, conn *Conn, server *tls.Config) (err error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	gone := tls.Server(far, server)
	go func() { gone.Handshake(); far.Close() }()
	overPipe(t, conn, near, func() bool {
		r := conn.Handshake()
		err = r.Err
		return r.Want == tlsio.WantNone || err != nil
	})
	return err
}
