package cssl

import (
	"bytes"
	"errors"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// try drives both ends until each is done or has failed. A client of TLS 1.3 hears
// of the server's refusal only when it reads, so both read once more.
func (p *pair) try() (client, server error) {
	ends := [2]*Conn{p.client, p.server}
	var errs [2]error
	for range 2000 {
		for i, c := range ends {
			if r := shake(c); r.Err != nil && errs[i] == nil {
				errs[i] = r.Err
			} else if r.Want == tlsio.WantNone && r.Err == nil {
				if r := c.Peek(p.buf); r.Err != nil && errs[i] == nil {
					errs[i] = r.Err
				}
			}
		}
		if p.move(p.client, p.server)+p.move(p.server, p.client) == 0 {
			break
		}
	}
	return errs[0], errs[1]
}

// TestVerify covers who refuses which certificate: the refusing side's error has
// OpenSSL's text for why and the alert that was sent, the other side's the same alert as received.
func TestVerify(t *testing.T) {
	ca := func(c *Config) { c.CAFile = testcerts.Path("root.pem") }
	certOf := func(c *Config, name string) { c.Certificates = serverConfig(name).Certificates }
	tests := []struct {
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
	}
	for _, tt := range tests {
		for _, version := range versions {
			t.Run(tt.name+"/"+version.String(), func(t *testing.T) {
				c, s, cc := clientConfig(), serverConfig(tt.cert), ConnConfig{ServerName: "localhost"}
				if tt.change != nil {
					tt.change(&c, &s, &cc)
				}
				c.MinVersion, c.MaxVersion = version, version
				p := pairOf(t, c, s)
				var err error
				if p.client, err = mustClient(t, c).NewEngineConn(cc); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.client.Close)
				p.chunk = 8192
				cerr, serr := p.try()
				if tt.refuser == "" {
					if cerr != nil || serr != nil {
						t.Fatalf("client %v, server %v", cerr, serr)
					}
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
				checkAlert(t, sent, tlsio.AlertSent, alert)
				checkAlert(t, received, tlsio.AlertReceived, alert)
				var e *tlsio.Error
				if errors.As(sent, &e); tt.verify != "" && !regexp.MustCompile(tt.verify).MatchString(e.Verify) {
					t.Errorf("Verify is %q, want %q", e.Verify, tt.verify)
				}
			})
		}
	}
}

func checkAlert(t *testing.T, err error, side tlsio.AlertSide, alert tlsio.Alert) {
	t.Helper()
	var e *tlsio.Error
	if !errors.As(err, &e) {
		t.Errorf("got %T %v", err, err)
		return
	}
	if e.Errno != 0 || e.AlertSide != side || e.Alert != alert || !errors.Is(err, alert) || len(e.Reasons) == 0 {
		t.Errorf("got %v (side %d), want alert %v", err, e.AlertSide, alert)
	}
}

// checkIdentity compares what each side knows of the other with what was set.
func checkIdentity(t *testing.T, p *pair, cert string, c, s Config) {
	t.Helper()
	chain, err := p.client.State().PeerCertificates()
	if err != nil || len(chain) < 2 {
		t.Fatalf("chain of %d certificates: %v", len(chain), err)
	}
	if chain[0].IsCA || !chain[1].IsCA {
		t.Error("the leaf is not first")
	}
	if got := p.client.State().VerifyError == nil; got != (cert != "expired") {
		t.Errorf("client's verify result: %v", p.client.State().VerifyError)
	}
	checkVerified(t, p.client, c.Verify != VerifyNone && cert != "expired")
	chain, err = p.server.State().PeerCertificates()
	want := s.Verify != VerifyDefault && len(c.Certificates) > 0
	if err != nil || (len(chain) > 0) != want {
		t.Fatalf("server knows %d certificates: %v", len(chain), err)
	}
	if want && chain[0].Subject.CommonName != "client" {
		t.Errorf("the client is %q", chain[0].Subject.CommonName)
	}
	checkVerified(t, p.server, want)
}

// checkVerified looks at the chain that was found valid, from the peer's certificate to a root; none where none was.
func checkVerified(t *testing.T, c *Conn, want bool) {
	t.Helper()
	chain, err := c.State().VerifiedChain()
	if err != nil || (len(chain) > 0) != want {
		t.Fatalf("%d certificates were found valid, %v; want some: %v", len(chain), err, want)
	}
	if !want {
		return
	}
	sent, _ := c.State().PeerCertificates()
	root := chain[len(chain)-1]
	if !chain[0].Equal(sent[0]) || !bytes.Equal(root.RawIssuer, root.RawSubject) {
		t.Errorf("from %v to %v", chain[0].Subject, root.Subject)
	}
}
