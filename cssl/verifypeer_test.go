package cssl

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

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
				if seen == nil || len(seen.Sent) == 0 || len(seen.Chain) < 2 || seen.Err != nil || seen.ServerName != "localhost" {
					t.Fatalf("%s: %+v", p.name, seen)
				}
				decider := a.client
				if p.server {
					decider = a.server
				}
				if chain, err := decider.State().PeerCertificates(); err != nil || !chain[0].Equal(seen.Sent[0]) {
					t.Fatalf("%s: another certificate was shown: %v", p.name, err)
				}
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
				if p.server {
					failedWith(t, serr, c.err)
				} else {
					failedWith(t, cerr, c.err)
				}
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
				if asked = true; v.Err == nil || v.Chain != nil || len(v.Sent) == 0 {
					t.Errorf("%+v", v)
				}
				v.Accept()
			})
			decider.CAFile = testcerts.Path("other-root.pem")
			if alone {
				decider.Verify = VerifyApplication
			}
			a := newAsked(t, false, mustClient(t, *client), mustServer(t, *server))
			cerr, serr := a.run()
			if asked != alone || (cerr == nil) != alone || (serr == nil) != alone {
				t.Errorf("%s, alone %v: asked %v, client %v, server %v", p.name, alone, asked, cerr, serr)
			}
			c := a.client
			if p.server {
				c = a.server
			}
			if alone && c.State().VerifyError == nil {
				t.Errorf("%s: OpenSSL's verdict is gone", p.name)
			}
		}
	}
}

func TestVerifyPeerSettings(t *testing.T) {
	decide := func(v *PeerVerification) { v.Accept() }
	unasked, voiceless, quiet := clientConfig(), clientConfig(), serverConfig("ecdsa")
	unasked.Verify, unasked.VerifyPeer = VerifyNone, decide
	voiceless.Verify = VerifyApplication
	quiet.VerifyPeer = decide
	for name, c := range map[string]Config{
		"no certificate is asked for": unasked, "the application has no voice": voiceless, "a server's default": quiet,
	} {
		if _, err := newContext(&c, c.Certificates != nil); err == nil || !strings.Contains(err.Error(), "Verify") {
			t.Errorf("%s: %v", name, err)
		}
	}
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
			if r.Err != nil {
				t.Fatal(r.Err)
			}
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
				if i > 1000 {
					t.Fatal("no end")
				}
			}
			if late := p.server && later; late {
				failedWith(t, serr, errCannotWait)
				continue
			}
			if noErrors(t, cerr, serr); calls != 2 {
				t.Errorf("%s: asked %d times", p.name, calls)
			}
		}
	}
}
