package cssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestVerifyConnection: the application decides about each connection when the handshake is done, at once or later.
func TestVerifyConnection(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		for _, later := range []bool{false, true} {
			for _, offload := range []bool{false, true} {
				server, client := mutual(v)
				server.Offload, client.Offload = offload, offload
				var seen [2]*ConnectionVerification
				decide := func(i int) func(*ConnectionVerification) {
					return func(v *ConnectionVerification) {
						seen[i] = v
						if later {
							go v.Accept()
						} else {
							v.Accept()
						}
					}
				}
				server.VerifyConnection, client.VerifyConnection = decide(0), decide(1)
				a := newAsked(t, engine, mustClient(t, client), mustServer(t, server))
				a.succeeds()
				for i, v := range seen {
					chain, err := v.State.PeerCertificates()
					if err != nil || len(chain) == 0 || v.State.Version != server.MaxVersion || v.Server != (i == 0) ||
						v.Owner != []any{"the server", "the client"}[i] {
						t.Errorf("side %d: %+v, %v", i, v, err)
					}
				}
			}
		}
	})
}

// TestVerifyConnectionRefuses: nothing passes over a connection that is refused, and its peer sees no close_notify.
func TestVerifyConnectionRefuses(t *testing.T) {
	no := errors.New("not this one")
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		for name, refuse := range map[string]func(*ConnectionVerification){
			"at once": func(v *ConnectionVerification) { v.Refuse(no) },
			"later":   func(v *ConnectionVerification) { go v.Refuse(no) },
			"panic":   func(v *ConnectionVerification) { panic(no) },
		} {
			want := no
			if name == "panic" {
				want = ErrCallbackPanic
			}
			server, client := mutual(v)
			server.VerifyConnection = refuse
			a := newAsked(t, engine, mustClient(t, client), mustServer(t, server))
			err := serverFails(a)
			failedWith(t, err, want)
			for what, r := range map[string]tlsio.Result{"Read": a.server.Read(a.buf), "Write": a.server.Write([]byte("x")), "Shutdown": a.server.Shutdown()} {
				if !errors.Is(r.Err, want) {
					t.Errorf("%s: %+v", what, r)
				}
			}
			if r := a.client.Read(a.buf); r.Err == io.EOF || r.N > 0 {
				t.Errorf("the client has read %+v", r)
			}
		}
	})
}

// serverFails carries both handshakes on until the server's has failed.
func serverFails(a *asked) error {
	a.t.Helper()
	for {
		progress := a.carry()
		for _, x := range []*Conn{a.client, a.server} {
			r := x.Handshake()
			if x == a.server && r.Err != nil {
				return r.Err
			}
			progress = progress || r.In || r.Out
			x.Flush()
		}
		if !progress {
			tlstest.Receive(a.t, a.woken, "a wake-up")
		}
	}
}

// TestVerifyConnectionResumed: it decides about resumed connections too.
func TestVerifyConnectionResumed(t *testing.T) {
	for _, v := range versions {
		server, client := mutual(v)
		var resumed []bool
		server.VerifyConnection = func(v *ConnectionVerification) {
			resumed = append(resumed, v.State.Resumed)
			v.Accept()
		}
		cx, sx := mustClient(t, client), mustServer(t, server)
		p := newPair(t, cx, sx).opened()
		newPair(t, cx, sx, ConnConfig{ServerName: "localhost", Session: p.client.Session()}).opened()
		if !slices.Equal(resumed, []bool{false, true}) {
			t.Errorf("%v: %v", v, resumed)
		}
	}
}

// TestVerifyConnectionWaits: until the decision nothing is written, and a close ends the waiting.
func TestVerifyConnectionWaits(t *testing.T) {
	before := live.Conns()
	for _, v := range versions {
		server, client := mutual(v)
		var held *ConnectionVerification
		server.VerifyConnection = func(v *ConnectionVerification) { held = v }
		a := newAsked(t, true, mustClient(t, client), mustServer(t, server))
		for held == nil {
			a.client.Handshake()
			a.carry()
			a.server.Handshake()
			a.carry()
		}
		badState(t, "Write", a.server.Write([]byte("x")))
		for range 2 {
			if r := a.server.Handshake(); r.In || r.Out || r.Unsent {
				t.Errorf("what was reported and taken is reported again: %+v", r)
			}
			wants(t, "Read", a.server.Read(a.buf), tlsio.WantRetryVerify)
			wants(t, "Handshake", a.server.Handshake(), tlsio.WantRetryVerify)
		}
		if a.server.State().Version != v {
			t.Error(a.server.State())
		}
		a.server.Close()
		a.client.Close()
		held.Accept()
	}
	tlstest.Until(t, "no connection is left", func() bool { return live.Conns() <= before })
}

// TestVerifyConnectionRefused: settings that cannot go together.
func TestVerifyConnectionRefused(t *testing.T) {
	c := serverConfig("ecdsa")
	c.VerifyConnection, c.MaxEarlyData = func(v *ConnectionVerification) { v.Accept() }, 100
	wantConfigError(t, c, "VerifyConnection", "MaxEarlyData")
	c = serverConfig("ecdsa")
	c.Staples = true
	wantConfigError(t, c, "Staples", "only a client")
	c = serverConfig("ecdsa")
	c.CANames = [][]byte{[]byte("x")}
	wantConfigError(t, c, "CANames[0]", "name in DER")
	cc := clientConfig()
	cc.CANames = c.CANames
	if _, err := NewClientContext(cc); err == nil || !strings.Contains(err.Error(), "only a server") {
		t.Error(err)
	}
}

// TestAcceptChains: the chains of an application count, whatever OpenSSL has found, and end the session with the first one.
func TestAcceptChains(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		for _, valid := range []bool{true, false} {
			for _, none := range []bool{true, false} {
				server, client := mutual(v)
				for _, c := range []*Config{&server, &client} {
					c.Verify = VerifyApplication
					if !valid {
						c.CAFile = testcerts.Path("other-root.pem")
					}
					c.VerifyPeer = func(v *PeerVerification) {
						if v.Version != server.MaxVersion || v.CipherID == 0 || (v.Err == nil) != valid {
							t.Errorf("%+v", v)
						}
						chains := [][]*x509.Certificate{v.Sent[:1], v.Sent}
						if none {
							chains = nil
						}
						v.AcceptChains(chains)
					}
				}
				cx, sx := mustClient(t, client), mustServer(t, server)
				a := newAsked(t, engine, cx, sx)
				a.succeeds()
				for _, c := range []*Conn{a.client, a.server} {
					s := c.State()
					first, err := s.VerifiedChain()
					all, err2 := s.VerifiedChains()
					if err != nil || err2 != nil || (s.VerifyError == nil) == none || (len(first) == 1) == none || (len(all) == 2) == none {
						t.Errorf("valid %v, none %v: %v, %d and %d chains, %v, %v", valid, none, s.VerifyError, len(first), len(all), err, err2)
					}
				}
				if none {
					continue
				}
				b := newAsked(t, engine, cx, sx)
				b.client.Close()
				if engine {
					b.client = engineConn(t, cx, ConnConfig{ServerName: "localhost", Session: a.client.Session()})
					b.client.Bind("the client", func() { b.woken <- struct{}{} })
					b.succeeds()
					if s := b.client.State(); !s.Resumed || s.VerifyError != nil {
						t.Errorf("resumed: %v, %v", s.Resumed, s.VerifyError)
					}
				}
			}
		}
	})
}

// TestPeerName: a client's callback knows the name that it has to check, and none that it has not.
func TestPeerName(t *testing.T) {
	for _, cc := range []ConnConfig{{ServerName: "localhost."}, {ServerName: "[::1]"}, {ServerName: "localhost", InsecureSkipNameCheck: true}} {
		var got PeerVerification
		client := clientConfig()
		client.Verify, client.VerifyPeer = VerifyApplication, func(v *PeerVerification) { got = *v; v.Accept() }
		p := newPair(t, mustClient(t, client), mustServer(t, serverConfig("ecdsa")), cc)
		p.handshake()
		want := map[string]string{"localhost.": "localhost", "[::1]": "::1", "localhost": ""}[cc.ServerName]
		tlstest.Equal(t, cc.ServerName, got.PeerName, want)
	}
}

// TestVerifyOptionalApplication: a client may send no certificate; about one that it sends the application decides.
func TestVerifyOptionalApplication(t *testing.T) {
	for _, v := range versions {
		for _, sends := range []bool{false, true} {
			server, client := mutual(v)
			server.CAFile, server.Verify = "", VerifyOptionalApplication
			asked := 0
			server.VerifyPeer = func(v *PeerVerification) { asked++; v.Accept() }
			if !sends {
				client.Certificates = nil
			}
			a := newAsked(t, true, mustClient(t, client), mustServer(t, server))
			a.succeeds()
			if (asked == 1) != sends {
				t.Errorf("%v, %v: asked %d times", v, sends, asked)
			}
		}
	}
}

// TestCANames: a client learns the names, beside those of CAFile.
func TestCANames(t *testing.T) {
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("client.pem"), testcerts.Path("client.key")))(t)
	name := cert.Leaf.RawSubject
	for _, ca := range []string{"", testcerts.Path("root.pem")} {
		server := serverConfig("ecdsa")
		server.CAFile, server.Verify, server.CANames = ca, VerifyOptional, [][]byte{name}
		var got [][]byte
		readWithGo(t, mustServer(t, server), &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			got = r.AcceptableCAs
			return &tls.Certificate{}, nil
		}})
		if !slices.ContainsFunc(got, func(n []byte) bool { return bytes.Equal(n, name) }) || (len(got) == 2) != (ca != "") {
			t.Errorf("%q: %d names", ca, len(got))
		}
	}
}

// TestSessionBinding: a Context with another binding does not resume a session, on either side.
func TestSessionBinding(t *testing.T) {
	for _, v := range versions {
		for _, side := range []string{"none", "server", "client"} {
			server, client := mutual(v)
			server.TicketKeys = [][]byte{bytes.Repeat([]byte{1}, 48)}
			server.SessionBinding, client.SessionBinding = []byte("a"), []byte("a")
			session := ticketOf(t, mustClient(t, client), mustServer(t, server))
			switch side {
			case "server":
				server.SessionBinding = []byte("b")
			case "client":
				client.SessionBinding = nil
			}
			p := newPair(t, mustClient(t, client), mustServer(t, server), ConnConfig{ServerName: "localhost", Session: session})
			p.handshake()
			if got := p.server.State().Resumed; got != (side == "none") {
				t.Errorf("%v, another of the %s: resumed %v", v, side, got)
			}
		}
	}
}
