package sslnet

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
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

// tlsConn is what Conn and *tls.Conn have in common.
type tlsConn interface {
	net.Conn
	CloseWrite() error
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// TestGoPeerStreams: streams both ways at once, with crypto/tls at one of the ends.
func TestGoPeerStreams(t *testing.T) {
	for _, we := range []string{"client", "server"} {
		for version, v := range versions {
			t.Run(we+" "+version, func(t *testing.T) {
				each(t, narrow, func(t *testing.T, network network) { streamWithGo(t, network, we, v) })
			})
		}
	}
}

func streamWithGo(t *testing.T, network network, we string, v change) {
	a, b := network(t)
	sx, cx := contexts(t, v)
	gs, gc := goConfigs(t)
	var ours *Conn
	pair := []tlsConn{tls.Client(a, gc), tls.Server(b, gs)}
	if we == "client" {
		ours = tlstest.Value(Client(a, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
		pair[0] = ours
	} else {
		ours = tlstest.Value(Server(b, sx))(t)
		pair[1] = ours
	}
	defer func() {
		ours.SetCloseTimeout(0)
		ours.Close()
		a.Close()
		b.Close()
	}()
	shaken := tlstest.Later(pair[1].Handshake)
	tlstest.Must(t, pair[0].Handshake())
	done(t, shaken, "the server's handshake")
	var sent, got []<-chan error
	for _, c := range pair {
		sent = append(sent, tlstest.Later(func() error { return errors.Join(send(c, streamSize, 30_000), c.CloseWrite()) }))
		got = append(got, tlstest.Later(func() error {
			err := expect(c, streamSize)
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			return err
		}))
	}
	for i := range pair {
		done(t, sent[i], "what is sent")
		fails(t, got[i], "the end", io.EOF)
	}
}

// goState is what crypto/tls, as the peer, says of the same handshake as State.
type goState struct {
	ours   cssl.State
	form   tls.ConnectionState // ConnectionState of the same
	theirs tls.ConnectionState
	server bool // ours is the server
}

// withGo makes a handshake of each kind with crypto/tls: as the server and as the client.
func withGo(t *testing.T, ours change, theirs func(server, client *tls.Config), check func(t *testing.T, s goState)) {
	for _, server := range []bool{true, false} {
		t.Run(map[bool]string{true: "server", false: "client"}[server], func(t *testing.T) {
			sx, cx := contexts(t, ours)
			gs, gc := goConfigs(t)
			theirs(gs, gc)
			check(t, shakeWithGo(t, server, sx, cx, gs, gc, cssl.ConnConfig{ServerName: "localhost"}, nil))
		})
	}
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
		ours      change
		theirs    theirs
		version   cssl.TLSVersion
		group     tls.CurveID
		alpn      string
		clientCN  string
		anyCipher []uint16
	}{
		"TLS 1.3":          {v13, none, cssl.TLS13, 0, "", "", nil},
		"TLS 1.2":          {v12, none, cssl.TLS12, 0, "", "", nil},
		"P-256":            {v13, curves(tls.CurveP256), cssl.TLS13, tls.CurveP256, "", "", nil},
		"P-256 in TLS 1.2": {v12, curves(tls.CurveP256), cssl.TLS12, tls.CurveP256, "", "", nil},
		"P-521":            {v13, curves(tls.CurveP521), cssl.TLS13, tls.CurveP521, "", "", nil},
		"X25519":           {v13, curves(tls.X25519), cssl.TLS13, tls.X25519, "", "", nil},
		"ChaCha20": {func(s, c *cssl.Config) {
			s.CipherSuites, c.CipherSuites = "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"
		}, none, cssl.TLS13, 0, "", "", []uint16{tls.TLS_CHACHA20_POLY1305_SHA256}},
		"AES-256 in TLS 1.2": {v12, both(func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} }),
			cssl.TLS12, 0, "", "", []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}},
		"ALPN":            {alpn, func(s, c *tls.Config) { s.NextProtos, c.NextProtos = []string{"http/1.1"}, []string{"http/1.1"} }, cssl.TLS13, 0, "http/1.1", "", nil},
		"mTLS":            {clientCert, mtls, cssl.TLS13, 0, "", "client", nil},
		"mTLS in TLS 1.2": {func(s, c *cssl.Config) { v12(s, c); clientCert(s, c) }, mtls, cssl.TLS12, 0, "", "client", nil},
	} {
		t.Run(name, func(t *testing.T) {
			withGo(t, tc.ours, tc.theirs, func(t *testing.T, s goState) {
				o, f, g := s.ours, s.form, s.theirs
				if o.Version != tc.version || f.Version != g.Version || g.Version != uint16(tc.version) || !f.HandshakeComplete {
					t.Errorf("version %v, %x and %x", o.Version, f.Version, g.Version)
				}
				if o.CipherID != g.CipherSuite || f.CipherSuite != g.CipherSuite || o.Cipher == "" ||
					tc.anyCipher != nil && !slices.Contains(tc.anyCipher, o.CipherID) {
					t.Errorf("cipher %s %x, %x and %x", o.Cipher, o.CipherID, f.CipherSuite, g.CipherSuite)
				}
				if f.CurveID != g.CurveID || tc.group != 0 && g.CurveID != tc.group || o.Group == "" {
					t.Errorf("group %s, %v and %v", o.Group, f.CurveID, g.CurveID)
				}
				if o.ALPN != tc.alpn || f.NegotiatedProtocol != tc.alpn || g.NegotiatedProtocol != tc.alpn {
					t.Errorf("ALPN %q, %q and %q", o.ALPN, f.NegotiatedProtocol, g.NegotiatedProtocol)
				}
				if o.ServerName != "localhost" || f.ServerName != "localhost" || g.ServerName != "localhost" {
					t.Errorf("name %q, %q and %q", o.ServerName, f.ServerName, g.ServerName)
				}
				if o.Resumed || f.DidResume || g.DidResume || o.VerifyError != nil {
					t.Errorf("resumed, or not verified: %+v", o)
				}
				serverSees, clientSees := &f, &g
				if !s.server {
					serverSees, clientSees = &g, &f
				}
				leaf(t, clientSees, "go-openssl test ECDSA server", 2, 3)
				if tc.clientCN == "" {
					leaf(t, serverSees, "", 0, 0)
				} else {
					leaf(t, serverSees, tc.clientCN, 2, 3)
				}
				sent, err := o.PeerCertificates()
				verified, verr := o.VerifiedChain()
				if len(f.VerifiedChains) > 0 != (len(verified) > 0) || len(f.PeerCertificates) != len(sent) || err != nil || verr != nil {
					t.Errorf("State and ConnectionState differ: %+v and %+v", o, f)
				}
			})
		})
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

// TestPSK: a key is all that both sides have, and State says whose it is.
func TestPSK(t *testing.T) {
	key := cssl.PSK{Identity: []byte("meter 17"), Key: bytes.Repeat([]byte{7}, 32)}
	client, server := connect(t, networks["tcp"], func(s, c *cssl.Config) {
		*s, *c = cssl.Config{PSKs: []cssl.PSK{key}}, cssl.Config{PSKs: []cssl.PSK{key}}
	})
	for _, c := range []*Conn{client, server} {
		s := c.State()
		if chain, _ := s.PeerCertificates(); string(s.PSK) != "meter 17" || s.VerifyError != nil || chain != nil {
			t.Errorf("%+v", s)
		}
	}
}
