package cssl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestFactsBeforeHandshake: all facts are zero values, and none crashes, before the handshake and after Close.
func TestFactsBeforeHandshake(t *testing.T) {
	p := plainPair(t)
	for _, c := range []*Conn{p.client, p.server} {
		for range 2 {
			chain, err := c.State().PeerCertificates()
			if c.State().Cipher != "" || c.State().Group != "" || c.State().ALPN != "" || c.State().Resumed || chain != nil || err != nil ||
				c.Session() != nil || c.hasPending() {
				t.Error("there are facts without a handshake")
			}
			if v := c.State().Version; v != 0 {
				t.Errorf("version %v", v)
			}
			if _, err := c.ExportKeyingMaterial("EXPORTER-x", nil, 8); err == nil {
				t.Error("keying material without keys")
			}
			c.Close()
		}
	}
}

// TestFacts compares both sides' facts.
func TestFacts(t *testing.T) {
	for _, version := range versions {
		c, s := clientUpTo(version), serverConfig("rsa")
		c.ALPN, s.ALPN = []string{"http/1.1", "h2"}, []string{"h2", "http/1.1"}
		c.Groups = "X25519"
		p := pairOf(t, c, s).shaken()
		for name, x := range map[string]*Conn{"client": p.client, "server": p.server} {
			if x.State().Version != version || x.State().ALPN != "h2" || !strings.EqualFold(x.State().Group, "x25519") ||
				x.State().Cipher == "" || x.State().ServerName != "localhost" {
				t.Errorf("%s: %v %q %q %q %q", name, x.State().Version, x.State().ALPN, x.State().Group, x.State().Cipher, x.State().ServerName)
			}
		}
		for _, context := range [][]byte{nil, {}, []byte("context")} {
			a := tlstest.Value(p.client.ExportKeyingMaterial("EXPORTER-test", context, 40))(t)
			b, err := p.server.ExportKeyingMaterial("EXPORTER-test", context, 40)
			if err != nil || !bytes.Equal(a, b) || len(a) != 40 {
				t.Errorf("%v: exporters differ: %x %x %v", version, a, b, err)
			}
			if other, _ := p.server.ExportKeyingMaterial("EXPORTER-other", context, 40); bytes.Equal(a, other) {
				t.Error("another label gives the same")
			}
		}
		if _, err := p.client.ExportKeyingMaterial("EXPORTER-test", nil, 0); err == nil {
			t.Error("0 bytes exported")
		}
		if version > TLS12 {
			continue
		}
		const want = `exporter "client finished": SSL routines: tls illegal exporter label`
		if _, err := p.client.ExportKeyingMaterial("client finished", nil, 8); err == nil || err.Error() != want {
			t.Errorf("a label that TLS 1.2 itself uses: %v, want %s", err, want)
		}
	}
}

// TestNegotiated: the facts for the packages above are those of State, and cost
// no more than their strings, whatever certificates there are.
func TestNegotiated(t *testing.T) {
	c, s := clientConfig(), serverConfig("rsa")
	c.ALPN, s.ALPN = []string{"h2"}, []string{"h2"}
	p := pairOf(t, c, s).shaken()
	for _, x := range []*Conn{p.client, p.server} {
		st := x.State()
		want := negotiated.Facts{Version: uint16(st.Version), Cipher: st.Cipher, Group: st.Group, ALPN: "h2", Resumed: st.Resumed, Records: uint8(st.Records), Obstacle: st.RecordsReason}
		if got := negotiated.Of(x); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if n := testing.AllocsPerRun(100, func() { negotiated.Of(x) }); n > 3 {
			t.Errorf("%v allocations for three strings", n)
		}
		x.Close()
		if got := negotiated.Of(x); got != (negotiated.Facts{}) {
			t.Errorf("after Close: %+v", got)
		}
	}
}

// TestALPNMismatch: no protocol in common is refused with the alert of RFC 7301; a client without ALPN is not.
func TestALPNMismatch(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.ALPN, s.ALPN = []string{"a"}, []string{"b"}
	sx := mustServer(t, s)
	cerr, serr := newPair(t, mustClient(t, c), sx).try()
	checkAlerts(t, serr, cerr, 120)
	p := newPair(t, mustClient(t, clientConfig()), sx).shaken()
	if p.server.State().ALPN != "" {
		t.Errorf("ALPN %q", p.server.State().ALPN)
	}
}

// TestSNI chooses the Context by exact name and wildcard in any letter case, and takes its settings along.
func TestSNI(t *testing.T) {
	exact := serverConfig("rsa")
	exact.MaxVersion, exact.ALPN, exact.Groups = TLS12, []string{"exact"}, "P-384"
	wild := serverConfig("ed25519")
	wild.Verify, wild.CAFile = VerifyRequire, testcerts.Path("root.pem")
	s := serverConfig("ecdsa")
	s.SNI = map[string]*Context{"Example.test": mustServer(t, exact), "*.wild.test": mustServer(t, wild)}
	sx := mustServer(t, s)
	c := clientConfig()
	c.ALPN = []string{"exact"}
	c.Certificates = serverConfig("client").Certificates
	cx := mustClient(t, c)
	for name, want := range map[string]string{
		"example.test": "RSA", "EXAMPLE.TEST": "RSA", "example.test.": "RSA", "a.wild.test": "Ed25519", "A.Wild.Test": "Ed25519",
		"wild.test": "ECDSA", "a.b.wild.test": "ECDSA", "localhost": "ECDSA", "127.0.0.1": "ECDSA", "": "ECDSA",
	} {
		p := newPair(t, cx, sx, ConnConfig{ServerName: name, InsecureSkipNameCheck: true}).shaken()
		chain, err := p.client.State().PeerCertificates()
		if err != nil || chain[0].PublicKeyAlgorithm.String() != want {
			t.Errorf("%q: got %v, want %s", name, chain[0].PublicKeyAlgorithm, want)
		}
		known, _ := p.server.State().PeerCertificates()
		if (len(known) > 0) != (want == "Ed25519") {
			t.Errorf("%q: the server asked for a certificate: %v", name, len(known) > 0)
		}
		if isExact := want == "RSA"; isExact != (p.server.State().Version == TLS12) || isExact != (p.server.State().ALPN == "exact") ||
			isExact != (p.server.State().Group == "secp384r1") {
			t.Errorf("%q: %v, ALPN %q, group %q", name, p.server.State().Version, p.server.State().ALPN, p.server.State().Group)
		}
	}
}

// TestKeyLog writes lines of SSLKEYLOGFILE's format, the same on both sides.
func TestKeyLog(t *testing.T) {
	for _, version := range versions {
		var cl, sl bytes.Buffer
		c, s := clientUpTo(version), serverConfig("ecdsa")
		c.KeyLog, s.KeyLog = &cl, &sl
		pairOf(t, c, s).handshake()
		label := map[TLSVersion]string{TLS12: "CLIENT_RANDOM ", TLS13: "CLIENT_TRAFFIC_SECRET_0 "}[version]
		if !strings.Contains(cl.String(), label) || !strings.HasSuffix(cl.String(), "\n") {
			t.Errorf("%v: client's key log: %q", version, cl.String())
		}
		for line := range strings.Lines(cl.String()) {
			if !strings.Contains(sl.String(), line) {
				t.Errorf("%v: the server did not log %q", version, line)
			}
		}
	}
}
