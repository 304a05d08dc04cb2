package cssl

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestVerify covers who refuses which certificate: the refusing side's error has
// OpenSSL's text for why and the alert that was sent, the other side's the same alert as received.
func TestVerify(t *testing.T) {
	ca := func(c *Config) { c.CAFile = testcerts.Path("root.pem") }
	certOf := func(c *Config, name string) { c.Certificates = serverConfig(name).Certificates }
	for _, tt := range []struct {
		name    string
		cert    string
		change  func(c, s *Config, cc *ConnConfig)
		refuser string // "client", "server" or "" if the handshake succeeds
		verify  string
		alert   tlsio.Alert
	}{
		{"good", "ecdsa", nil, "", "", 0},
		{"IPv4", "ecdsa", func(c, s *Config, cc *ConnConfig) { cc.ServerName = "127.0.0.1" }, "", "", 0},
		{"IPv6", "ecdsa", func(c, s *Config, cc *ConnConfig) { cc.ServerName = "::1" }, "", "", 0},
		{"wildcard", "ecdsa", func(c, s *Config, cc *ConnConfig) { cc.ServerName = "x.wild.test" }, "", "", 0},
		{"deep wildcard", "ecdsa", func(c, s *Config, cc *ConnConfig) { cc.ServerName = "x.y.wild.test" }, "client", "ostname mismatch", 42},
		{"wrong IP", "ecdsa", func(c, s *Config, cc *ConnConfig) { cc.ServerName = "127.0.0.2" }, "client", "IP address mismatch", 42},
		{"wrong name", "wrongname", nil, "client", "ostname mismatch", 42},
		{"wrong name unchecked", "wrongname", func(c, s *Config, cc *ConnConfig) { cc.InsecureSkipNameCheck = true }, "", "", 0},
		{"expired", "expired", nil, "client", "expired", 45},
		{"unknown CA", "ecdsa", func(c, s *Config, cc *ConnConfig) { c.CAFile = testcerts.Path("other-root.pem") }, "client", "unable to get local issuer", 48},
		{"system CAs", "ecdsa", func(c, s *Config, cc *ConnConfig) { c.CAFile = "" }, "client", "self-signed|local issuer", 48},
		{"unverified", "expired", func(c, s *Config, cc *ConnConfig) { c.Verify = VerifyNone }, "", "", 0},
		{"revoked without CRL", "revoked", nil, "", "", 0},
		{"revoked", "revoked", func(c, s *Config, cc *ConnConfig) { c.CRLFile = testcerts.Path("crl.pem") }, "client", "revoked", 44},
		{"not revoked", "ecdsa", func(c, s *Config, cc *ConnConfig) { c.CRLFile = testcerts.Path("crl.pem") }, "", "", 0},
		{"deep enough", "big", func(c, s *Config, cc *ConnConfig) { c.VerifyDepth = 4 }, "", "", 0},
		{"too deep", "big", func(c, s *Config, cc *ConnConfig) { c.VerifyDepth = 3 }, "client", "", 48},
		{"client's not asked for", "ecdsa", func(c, s *Config, cc *ConnConfig) { ca(s); certOf(c, "client") }, "", "", 0},
		{"client's optional, none", "ecdsa", func(c, s *Config, cc *ConnConfig) { ca(s); s.Verify = VerifyOptional }, "", "", 0},
		{"client's optional, good", "ecdsa", func(c, s *Config, cc *ConnConfig) { ca(s); s.Verify = VerifyOptional; certOf(c, "client") }, "", "", 0},
		{"client's optional, bad", "ecdsa", func(c, s *Config, cc *ConnConfig) {
			s.CAFile, s.Verify = testcerts.Path("other-root.pem"), VerifyOptional
			certOf(c, "client")
		}, "server", "local issuer", 48},
		{"client's required", "ecdsa", func(c, s *Config, cc *ConnConfig) { ca(s); s.Verify = VerifyRequire; certOf(c, "client") }, "", "", 0},
		{"client's required, none", "ecdsa", func(c, s *Config, cc *ConnConfig) { ca(s); s.Verify = VerifyRequire }, "server", "", 116},
		{"client's required, a server's", "ecdsa", func(c, s *Config, cc *ConnConfig) { ca(s); s.Verify = VerifyRequire; certOf(c, "expired") }, "server", "purpose", 43},
	} {
		for _, version := range versions {
			t.Run(tt.name+"/"+version.String(), func(t *testing.T) {
				c, s, cc := clientConfig(), serverConfig(tt.cert), ConnConfig{ServerName: "localhost"}
				if tt.change != nil {
					tt.change(&c, &s, &cc)
				}
				c.MinVersion, c.MaxVersion = version, version
				p := newPair(t, mustClient(t, c), mustServer(t, s), cc)
				p.chunk = 8192
				cerr, serr := p.try()
				if tt.refuser == "" {
					noErrors(t, cerr, serr)
					checkIdentity(t, p, tt.cert, c, s)
					return
				}
				sent, received := cerr, serr
				if tt.refuser == "server" {
					sent, received = serr, cerr
				}
				alert := tt.alert
				if alert == 116 && version == TLS12 {
					alert = 40
				}
				checkAlerts(t, sent, received, alert)
				var e *tlsio.Error
				matches := errors.As(sent, &e) && regexp.MustCompile(tt.verify).MatchString(e.Verify)
				check(t, matches, "%v: Verify does not match %q", sent, tt.verify)
			})
		}
	}
}

// checkIdentity compares what each side knows of the other with what was set.
func checkIdentity(t *testing.T, p *pair, cert string, c, s Config) {
	t.Helper()
	chain, err := p.client.State().PeerCertificates()
	demand(t, err == nil && len(chain) >= 2, "chain of %d certificates: %v", len(chain), err)
	check(t, !chain[0].IsCA && chain[1].IsCA, "the leaf is not first")
	equal(t, p.client.State().VerifyError == nil, cert != "expired", "the client has no error")
	checkVerified(t, p.client, c.Verify != VerifyNone && cert != "expired")
	want := s.Verify != VerifyDefault && len(c.Certificates) > 0
	equal(t, knows(t, p.server) > 0, want, "the server knows the client")
	if want {
		equal(t, leaf(t, p.server).Subject.CommonName, "client", "the client")
	}
	checkVerified(t, p.server, want)
}

// checkVerified looks at the chain that was found valid, from the peer's certificate to a root; none where none was.
func checkVerified(t *testing.T, c *Conn, want bool) {
	t.Helper()
	chain, err := c.State().VerifiedChain()
	demand(t, err == nil && (len(chain) > 0) == want, "%d certificates were found valid, %v; want some: %v", len(chain), err, want)
	if !want {
		return
	}
	root := chain[len(chain)-1]
	check(t, chain[0].Equal(leaf(t, c)) && bytes.Equal(root.RawIssuer, root.RawSubject), "from %v to %v", chain[0].Subject, root.Subject)
}

// peerTest makes one side decide about the other's certificate.
type peerTest struct {
	name   string
	server bool
}

var peerTests = []peerTest{{"client decides", false}, {"server decides", true}}

// configs answers what both are built from, one of which has f.
func (p peerTest) configs(v TLSVersion, f func(*PeerVerification)) (server, client, decider *Config) {
	s, c := mutual(v)
	server, client, decider = &s, &c, &c
	if p.server {
		decider = server
	}
	decider.VerifyPeer = f
	return server, client, decider
}

func TestVerifyPeerAccepts(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		for _, p := range peerTests {
			for _, later := range []bool{false, true} {
				var seen *PeerVerification
				server, client, _ := p.configs(v, func(v *PeerVerification) {
					seen = v
					if later {
						go v.Accept()
					} else {
						v.Accept()
					}
				})
				a := newAsked(t, engine, mustClient(t, *client), mustServer(t, *server))
				a.succeeds()
				demand(t, seen != nil && len(seen.Sent) != 0 && len(seen.Chain) >= 2 && seen.Err == nil && seen.ServerName == "localhost",
					"%s: %+v", p.name, seen)
				decider := a.client
				if p.server {
					decider = a.server
				}
				demand(t, leaf(t, decider).Equal(seen.Sent[0]), "%s: another certificate was shown", p.name)
			}
		}
	})
}

func TestVerifyPeerRefuses(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		mine := errors.New("not on the list")
		for _, p := range peerTests {
			for name, c := range map[string]struct {
				decide func(v *PeerVerification)
				err    error
				alert  tlsio.Alert
			}{
				"at once":       {func(v *PeerVerification) { v.Refuse(mine); v.Accept() }, mine, 42},
				"later":         {func(v *PeerVerification) { go v.Refuse(mine) }, mine, 42},
				"unsupported":   {func(v *PeerVerification) { v.Refuse(tlsio.AlertUnsupportedCertificate) }, tlsio.AlertUnsupportedCertificate, 43},
				"revoked":       {func(v *PeerVerification) { v.Refuse(tlsio.AlertCertificateRevoked) }, tlsio.AlertCertificateRevoked, 44},
				"expired":       {func(v *PeerVerification) { v.Refuse(tlsio.AlertCertificateExpired) }, tlsio.AlertCertificateExpired, 45},
				"unknown":       {func(v *PeerVerification) { v.Refuse(tlsio.AlertCertificateUnknown) }, tlsio.AlertCertificateUnknown, 46},
				"unknown CA":    {func(v *PeerVerification) { v.Refuse(fmt.Errorf("%w: %w", mine, tlsio.AlertUnknownCA)) }, mine, 48},
				"panic":         {func(v *PeerVerification) { panic("oops") }, ErrCallbackPanic, 42},
				"not in time":   {func(v *PeerVerification) {}, ErrDecisionTimeout, 42},
				"another alert": {func(v *PeerVerification) { v.Refuse(tlsio.AlertInternalError) }, tlsio.AlertBadCertificate, 42},
			} {
				server, client, decider := p.configs(v, c.decide)
				if decider.DecisionTimeout = time.Minute; name == "not in time" {
					decider.DecisionTimeout = time.Millisecond
				}
				a := newAsked(t, engine, mustClient(t, *client), mustServer(t, *server))
				cerr, serr := a.run()
				failedWith(t, map[bool]error{true: serr, false: cerr}[p.server], c.err)
				failedWith(t, serr, c.alert)
				failedWith(t, cerr, c.alert)
			}
		}
	})
}

// TestVerifyPeerNotAsked: what OpenSSL refuses is refused, except where the application alone decides.
func TestVerifyPeerNotAsked(t *testing.T) {
	for _, p := range peerTests {
		for _, alone := range []bool{false, true} {
			asked := false
			server, client, decider := p.configs(TLS13, func(v *PeerVerification) {
				asked = true
				check(t, v.Err != nil && v.Chain == nil && len(v.Sent) > 0, "%+v", v)
				v.Accept()
			})
			decider.CAFile = testcerts.Path("other-root.pem")
			if alone {
				decider.Verify = VerifyApplication
			}
			a := newAsked(t, false, mustClient(t, *client), mustServer(t, *server))
			cerr, serr := a.run()
			check(t, asked == alone && (cerr == nil) == alone && (serr == nil) == alone,
				"%s, alone %v: asked %v, client %v, server %v", p.name, alone, asked, cerr, serr)
			c := a.client
			if p.server {
				c = a.server
			}
			check(t, !alone || c.State().VerifyError != nil, "%s: OpenSSL's verdict is gone", p.name)
		}
	}
}

func TestVerifyPeerSettings(t *testing.T) {
	decide := func(v *PeerVerification) { v.Accept() }
	checkRefusals(t, false, clientConfig(), []wrongConfig{
		{"no certificate is asked for", func(c *Config) { c.Verify, c.VerifyPeer = VerifyNone, decide }, "VerifyPeer", ""},
		{"the application has no voice", func(c *Config) { c.Verify = VerifyApplication }, "Verify", ""},
	})
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"a server's default", func(c *Config) { c.VerifyPeer = decide }, "VerifyPeer", ""}})
}

// TestRenegotiationKeepsPeer: a peer shows the certificate of the first handshake again, also after a resumption; one that had none may
// show one.
func TestRenegotiationKeepsPeer(t *testing.T) {
	for _, p := range peerTests {
		for _, resumed := range []bool{false, true} {
			for _, changes := range []bool{false, true} {
				server, client, _ := p.configs(TLS12, func(v *PeerVerification) { v.Accept() })
				server.Renegotiation, client.Renegotiation = true, true
				cx, sx := mustClient(t, *client), mustServer(t, *server)
				a := newAsked(t, true, cx, sx)
				a.succeeds()
				if resumed {
					session := a.client.Session()
					a = newAsked(t, true, cx, sx)
					a.client.Close()
					a.client = engineConn(t, cx, ConnConfig{ServerName: "localhost", Session: session})
					a.client.Bind("the client", func() { a.woken <- struct{}{} })
					a.succeeds()
					check(t, a.client.State().Resumed, "not resumed")
				}
				if changes {
					a.peerHandshaker(p.server).leaf[0] ^= 1
				}
				tlstest.Must(t, a.client.Renegotiate().Err)
				err := a.renegotiated(p.server)
				if !changes {
					tlstest.Must(t, err)
					continue
				}
				failedWith(t, err, errPeerChanged)
			}
		}
	}
}

// peerHandshaker returns that of the side that verifies.
func (a *asked) peerHandshaker(server bool) *handshaker {
	if server {
		return a.server.hs
	}
	return a.client.hs
}

// renegotiated carries a renegotiation on until it is done, and returns the error of one side.
func (a *asked) renegotiated(server bool) error {
	for range 1000 {
		a.carry()
		s := a.server.Read(make([]byte, 1))
		a.carry()
		c := a.client.Handshake()
		if server && s.Err != nil {
			return s.Err
		}
		if c.Err != nil || c.Want == tlsio.WantNone {
			return c.Err
		}
	}
	return errors.New("no end")
}

// TestVerifyInRenegotiation: a client is asked again, and may take its time; a server must decide at once.
func TestVerifyInRenegotiation(t *testing.T) {
	for _, p := range peerTests {
		for _, later := range []bool{false, true} {
			calls := 0
			server, client, _ := p.configs(TLS12, func(v *PeerVerification) {
				switch calls++; {
				case !later:
					v.Accept()
				case calls == 1 || !p.server: // the server's second one is never decided
					go v.Accept()
				}
			})
			server.Renegotiation, client.Renegotiation, server.NoTickets = true, true, true
			a := newAsked(t, true, mustClient(t, *client), mustServer(t, *server))
			a.succeeds()
			r := a.client.Renegotiate()
			tlstest.Must(t, r.Err)
			var cerr, serr error
			for i := 0; ; i++ {
				a.carry()
				s := a.server.Read(make([]byte, 1))
				a.carry()
				r = a.client.Handshake()
				if cerr, serr = r.Err, s.Err; cerr != nil || serr != nil || r.Want == tlsio.WantNone {
					break
				}
				if r.Want == tlsio.WantRetryVerify {
					<-a.woken
				}
				demand(t, i <= 1000, "no end")
			}
			if p.server && later {
				failedWith(t, serr, errCannotWait)
				continue
			}
			noErrors(t, cerr, serr)
			equal(t, calls, 2, "%s: how often it was asked", p.name)
		}
	}
}

// TestRenegotiationResumesNothing: OpenSSL's client offers its session when the server asks for a renegotiation. It could be that of
// another client, so the server begins a new one, and looks at the certificate again.
func TestRenegotiationResumesNothing(t *testing.T) {
	for _, selected := range []bool{false, true} {
		for _, p := range peerTests {
			if !p.server {
				continue
			}
			calls := 0
			server, client, _ := p.configs(TLS12, func(v *PeerVerification) { calls++; v.Accept() })
			server.Renegotiation, client.Renegotiation = true, true
			sx := mustServer(t, *server)
			if selected {
				first := serverConfig("ecdsa")
				first.SNI = map[string]*Context{"localhost": sx}
				sx = mustServer(t, first)
			}
			a := newAsked(t, true, mustClient(t, *client), sx)
			a.succeeds()
			equal(t, calls, 1, "how often it was asked in the first handshake")
			tlstest.Must(t, a.server.Renegotiate().Err)
			for range 10 {
				a.carry()
				tlstest.Must(t, a.client.Read(make([]byte, 1)).Err)
				a.carry()
				tlstest.Must(t, a.server.Read(make([]byte, 1)).Err)
			}
			equal(t, calls, 2, "how often it was asked")
			check(t, !a.server.State().Resumed && !a.client.State().Resumed, "the renegotiation resumes a session")
		}
	}
}
