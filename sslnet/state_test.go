package sslnet

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// goConfigs are crypto/tls's counterparts to what contexts makes.
func goConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	pair := func(name string) []tls.Certificate {
		return []tls.Certificate{tlstest.Value(tls.LoadX509KeyPair(testcerts.Path(name+".pem"), testcerts.Path(name+".key")))(t)}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	server = &tls.Config{Certificates: pair("ecdsa"), ClientCAs: roots}
	client = &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: pair("client")}
	return server, client
}

// goState is what crypto/tls, as the peer, says of the same handshake as State.
type goState struct {
	ours   cssl.State
	form   tls.ConnectionState // ConnectionState of the same
	theirs tls.ConnectionState
	server bool // ours is the server
}

// shakeWithGo makes one handshake with crypto/tls, echoes a byte, calls then, and closes.
func shakeWithGo(t *testing.T, server bool, sx, cx *cssl.Context, gs, gc *tls.Config, cfg cssl.ConnConfig, then func(c *Conn)) goState {
	t.Helper()
	a, b := networks["tcp"](t)
	var c *Conn
	var g *tls.Conn
	if server {
		c, g = tlstest.Value(Server(b, sx))(t), tls.Client(a, gc)
	} else {
		c, g = tlstest.Value(Client(a, cx, cfg))(t), tls.Server(b, gs)
	}
	defer c.Close()
	defer g.Close()
	ended := tlstest.Later(g.Handshake)
	tlstest.Must(t, c.Handshake())
	done(t, ended, "crypto/tls's handshake")
	for _, ends := range [][2]net.Conn{{c, g}, {g, c}} {
		tlstest.Value(ends[0].Write([]byte("x")))(t)
		tlstest.Value(ends[1].Read(make([]byte, 1)))(t)
	}
	if then != nil {
		then(c)
	}
	return goState{c.State(), c.ConnectionState(), g.ConnectionState(), server}
}

// TestStateAgrees: State and ConnectionState say what crypto/tls says of the same handshake, for each version,
// cipher, group and so on.
func TestStateAgrees(t *testing.T) {
	none := func(_, _ *tls.Config) {}
	type theirs = func(server, client *tls.Config)
	both := func(f func(*tls.Config)) theirs { return func(s, c *tls.Config) { f(s); f(c) } }
	curves := func(id tls.CurveID) theirs {
		return both(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{id} })
	}
	mtls := func(s, _ *tls.Config) { s.ClientAuth = tls.RequireAndVerifyClientCert }
	clientCert := func(server, client *cssl.Config) {
		wantCertificate(server, client)
		client.Certificates = certificate("client")
	}
	alpn := func(server, client *cssl.Config) {
		server.ALPN, client.ALPN = []string{"h2", "http/1.1"}, []string{"http/1.1", "x"}
	}
	for name, tc := range map[string]struct {
		ours     change
		theirs   theirs
		version  cssl.TLSVersion
		group    tls.CurveID
		alpn     string
		clientCN string
		cipher   uint16
	}{
		"TLS 1.3":          {v13, none, cssl.TLS13, 0, "", "", 0},
		"TLS 1.2":          {v12, none, cssl.TLS12, 0, "", "", 0},
		"P-256":            {v13, curves(tls.CurveP256), cssl.TLS13, tls.CurveP256, "", "", 0},
		"P-256 in TLS 1.2": {v12, curves(tls.CurveP256), cssl.TLS12, tls.CurveP256, "", "", 0},
		"P-521":            {v13, curves(tls.CurveP521), cssl.TLS13, tls.CurveP521, "", "", 0},
		"X25519":           {v13, curves(tls.X25519), cssl.TLS13, tls.X25519, "", "", 0},
		"ChaCha20": {func(s, c *cssl.Config) {
			s.CipherSuites, c.CipherSuites = "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"
		}, none, cssl.TLS13, 0, "", "", tls.TLS_CHACHA20_POLY1305_SHA256},
		"AES-256 in TLS 1.2": {v12, both(func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} }),
			cssl.TLS12, 0, "", "", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		"ALPN":            {alpn, func(s, c *tls.Config) { s.NextProtos, c.NextProtos = []string{"http/1.1"}, []string{"http/1.1"} }, cssl.TLS13, 0, "http/1.1", "", 0},
		"mTLS":            {clientCert, mtls, cssl.TLS13, 0, "", "client", 0},
		"mTLS in TLS 1.2": {func(s, c *cssl.Config) { v12(s, c); clientCert(s, c) }, mtls, cssl.TLS12, 0, "", "client", 0},
	} {
		for role, server := range map[string]bool{"server": true, "client": false} {
			t.Run(name+", "+role, func(t *testing.T) {
				sx, cx := contexts(t, tc.ours)
				gs, gc := goConfigs(t)
				tc.theirs(gs, gc)
				s := shakeWithGo(t, server, sx, cx, gs, gc, cssl.ConnConfig{ServerName: "localhost"}, nil)
				o, f, g := s.ours, s.form, s.theirs
				agreed := func(c tls.ConnectionState) string {
					return fmt.Sprintf("version %x, cipher %x, group %v, ALPN %q, name %q, resumed %v",
						c.Version, c.CipherSuite, c.CurveID, c.NegotiatedProtocol, c.ServerName, c.DidResume)
				}
				tlstest.Equal(t, "ConnectionState", agreed(f), agreed(g))
				if !f.HandshakeComplete || f.Version != uint16(tc.version) || tc.group != 0 && f.CurveID != tc.group ||
					tc.cipher != 0 && f.CipherSuite != tc.cipher || f.NegotiatedProtocol != tc.alpn ||
					f.ServerName != "localhost" || f.DidResume {
					t.Errorf("%s", agreed(f))
				}
				if o.Version != tc.version || o.CipherID != f.CipherSuite || o.Cipher == "" || o.Group == "" || o.ALPN != tc.alpn ||
					o.ServerName != "localhost" || o.Resumed || o.VerifyError != nil {
					t.Errorf("%+v", o)
				}
				if !bytes.Equal(f.TLSUnique, g.TLSUnique) || (f.TLSUnique == nil) != (tc.version == cssl.TLS13) || f.HelloRetryRequest != g.HelloRetryRequest {
					t.Errorf("tls-unique %x and %x, HelloRetryRequest %v and %v", f.TLSUnique, g.TLSUnique, f.HelloRetryRequest, g.HelloRetryRequest)
				}
				if _, err := f.ExportKeyingMaterial("EXPORTER-x", nil, 1); err == nil {
					t.Error("ConnectionState exports keying material")
				}
				serverSees, clientSees := &f, &g
				if !s.server {
					serverSees, clientSees = &g, &f
				}
				leaf(t, clientSees, "go-openssl test ECDSA server", 2, 3)
				sent, verified := 0, 0
				if tc.clientCN != "" {
					sent, verified = 2, 3
				}
				leaf(t, serverSees, tc.clientCN, sent, verified)
				peer, err := o.PeerCertificates()
				chain, verr := o.VerifiedChain()
				if len(f.VerifiedChains) > 0 != (len(chain) > 0) || len(f.PeerCertificates) != len(peer) || err != nil || verr != nil {
					t.Errorf("State and ConnectionState differ: %+v and %+v", o, f)
				}
			})
		}
	}
}

// TestStateUnverified: where anything passes, the peer's certificates are known, and that they are not valid.
func TestStateUnverified(t *testing.T) {
	ours := func(server, client *cssl.Config) { otherCA(server, client); client.Verify = cssl.VerifyNone }
	sx, cx := contexts(t, ours)
	gs, gc := goConfigs(t)
	s := shakeWithGo(t, false, sx, cx, gs, gc, cssl.ConnConfig{ServerName: "localhost"}, nil)
	if chain, err := s.ours.VerifiedChain(); s.ours.VerifyError == nil || chain != nil || err != nil {
		t.Errorf("state %+v", s.ours)
	}
	leaf(t, &s.form, "go-openssl test ECDSA server", 2, 0)
}

// TestStateResumed: the second connection resumes the first one's session, and says so on both ends.
func TestStateResumed(t *testing.T) {
	for version, v := range versions {
		t.Run("client, "+version, func(t *testing.T) {
			sx, cx := contexts(t, v)
			gs, gc := goConfigs(t)
			cfg := cssl.ConnConfig{ServerName: "localhost"}
			first := shakeWithGo(t, false, sx, cx, gs, gc, cfg, func(c *Conn) { cfg.Session = c.Session() })
			if first.ours.Resumed || cfg.Session == nil {
				t.Fatalf("first: %+v, session %v", first.ours, cfg.Session)
			}
			resumed(t, shakeWithGo(t, false, sx, cx, gs, gc, cfg, nil))
		})
		t.Run("server, "+version, func(t *testing.T) {
			sx, cx := contexts(t, v)
			gs, gc := goConfigs(t)
			gc.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			shakeWithGo(t, true, sx, cx, gs, gc, cssl.ConnConfig{}, nil)
			resumed(t, shakeWithGo(t, true, sx, cx, gs, gc, cssl.ConnConfig{}, nil))
		})
	}
}

func resumed(t *testing.T, s goState) {
	t.Helper()
	if !s.ours.Resumed || !s.form.DidResume || !s.theirs.DidResume {
		t.Errorf("resumed: %v, %v and %v", s.ours.Resumed, s.form.DidResume, s.theirs.DidResume)
	}
	if !s.server {
		leaf(t, &s.form, "go-openssl test ECDSA server", 1, 1) // of a session the leaf alone is kept
	}
}

// TestStateTimes: there is none before the handshake, and after Close only what was asked for before.
func TestStateTimes(t *testing.T) {
	for _, ask := range []bool{false, true} {
		client, server := pair(t, networks["tcp"])
		if s := client.State(); s.Version != 0 || client.ConnectionState().HandshakeComplete || client.Session() != nil {
			t.Errorf("before the handshake: %+v", s)
		}
		shake(t, client, server)
		if ask {
			client.State()
		}
		tlstest.Must(t, client.Close())
		if s := client.State(); (s.Version != 0) != ask {
			t.Errorf("asked before: %v; after Close: %+v", ask, s)
		}
	}
}

// leaf checks the peer's certificates: the name of the first, how many there are, and how long the verified chain
// is.
func leaf(t *testing.T, s *tls.ConnectionState, name string, sent, verified int) {
	t.Helper()
	if len(s.PeerCertificates) != sent || sent > 0 && s.PeerCertificates[0].Subject.CommonName != name {
		t.Errorf("got %d certificates %v, want %d of %s", len(s.PeerCertificates), s.PeerCertificates, sent, name)
	}
	switch {
	case verified == 0 && len(s.VerifiedChains) != 0, verified > 0 && (len(s.VerifiedChains) != 1 || len(s.VerifiedChains[0]) != verified):
		t.Errorf("got %d verified chains %v, want one of %d", len(s.VerifiedChains), s.VerifiedChains, verified)
	}
}
