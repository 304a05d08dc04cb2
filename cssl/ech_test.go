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

	var certs []tls.Certificate
	for _, k := range s.Certificates {
		certs = append(certs, tlstest.Value(tls.X509KeyPair(k.ChainPEM, k.KeyPEM))(t))
	}
	server := &tls.Config{Certificates: certs, EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{
		{Config: now.config, PrivateKey: now.key.Bytes(), SendAsRetry: true}}}
	for _, k := range []echKey{now, old} {
		conn := engineConn(t, mustClient(t, c), secretly(k))
		near, far := net.Pipe()
		defer near.Close()
		gone := tls.Server(far, server)
		go func() { gone.Handshake(); far.Close() }()
		var err error
		overPipe(t, conn, near, func() bool {
			r := conn.Handshake()
			err = r.Err
			return r.Want == tlsio.WantNone || err != nil
		})
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
