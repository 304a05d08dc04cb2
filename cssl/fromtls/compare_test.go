package fromtls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

var tlsVersions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// scenario is a server and a client that speak to each other, and to those of crypto/tls.
type scenario struct {
	server, client func(*tls.Config)
	// unlike are the fields of view in which crypto/tls may differ.
	unlike []string
}

// view is what is compared.
type view map[string]any

func viewOf(s seen, alert bool) view {
	v := view{"error": s.err != nil}
	if alert {
		v["alert"] = alertIn(s.err)
	}
	var invalid *tls.CertificateVerificationError
	v["verification"] = errors.As(s.err, &invalid)
	if s.err != nil {
		return v
	}
	lengths := []int{}
	for _, chain := range s.state.VerifiedChains {
		lengths = append(lengths, len(chain))
	}
	v["version"], v["ALPN"], v["name"] = s.state.Version, s.state.NegotiatedProtocol, s.state.ServerName
	v["leaf"], v["sent"], v["chains"] = leafOf(s.state), len(s.state.PeerCertificates), fmt.Sprint(lengths)
	v["resumed"], v["complete"], v["unique"] = s.state.DidResume, s.state.HandshakeComplete, len(s.state.TLSUnique)
	v["OCSP"] = string(s.state.OCSPResponse)
	v["retry"] = s.state.HelloRetryRequest
	if s.state.Version < tls.VersionTLS13 { // OpenSSL prefers others in TLS 1.3
		v["suite"] = tls.CipherSuiteName(s.state.CipherSuite)
	}
	return v
}

func compare(t *testing.T, what string, got, want view, unlike []string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] && !slices.Contains(unlike, name) {
			t.Errorf("%s: %s is %v, with crypto/tls %v", what, name, got[name], want[name])
		}
	}
}

// configs are the two Configs of a scenario.
func (sc scenario) configs(t *testing.T, version uint16) (server, client *tls.Config) {
	server = &tls.Config{Certificates: []tls.Certificate{ours().issue(t, keys()["ECDSA"], nil, "a.example")}, MaxVersion: version}
	client = &tls.Config{RootCAs: ours().pool, ServerName: "a.example", MaxVersion: version}
	if sc.server != nil {
		sc.server(server)
	}
	if sc.client != nil {
		sc.client(client)
	}
	return server, client
}

// run makes the connections: of crypto/tls alone, and with each end ours.
func (sc scenario) run(t *testing.T, version uint16) {
	t.Helper()
	server, client := sc.configs(t, version)
	c, s := connect(t, goClient(client), goServer(server))
	wantClient, wantServer := viewOf(c, true), viewOf(s, false)

	c2, s2 := connect(t, goClient(client), ourServer(t, server))
	compare(t, "our server, seen by the client", viewOf(c2, true), wantClient, sc.unlike)
	compare(t, "our server itself", viewOf(s2, false), wantServer, sc.unlike)

	wantClient, wantServer = viewOf(c, false), viewOf(s, true)
	c3, s3 := connect(t, ourClient(t, client), goServer(server))
	unlike := sc.unlike
	if server.MaxVersion != tls.VersionTLS12 && version != tls.VersionTLS12 {
		// Before it sends anything else, an OpenSSL client has no key for its
		// alerts. crypto/tls cannot read those.
		unlike = append(slices.Clone(unlike), "alert")
	}
	compare(t, "our client, seen by the server", viewOf(s3, true), wantServer, unlike)
	compare(t, "our client itself", viewOf(c3, false), wantClient, sc.unlike)
	for _, pair := range [][2]seen{{c2, s2}, {c3, s3}} {
		if a, b := pair[0].state.TLSUnique, pair[1].state.TLSUnique; pair[0].err == nil && !bytes.Equal(a, b) {
			t.Errorf("tls-unique of the client %x, of the server %x", a, b)
		}
	}
	if t.Failed() {
		t.Logf("crypto/tls: %v, %v; our server: %v, %v; our client: %v, %v", c.err, s.err, c2.err, s2.err, c3.err, s3.err)
	}
}

func forClients(t *testing.T, auth tls.ClientAuthType) func(*tls.Config) {
	return func(c *tls.Config) { c.ClientAuth, c.ClientCAs = auth, ours().pool }
}

// TestCompareClientAuth: what a server asks of clients and does with their certificates, in all modes.
func TestCompareClientAuth(t *testing.T) {
	for name, version := range tlsVersions {
		for auth := tls.NoClientCert; auth <= tls.RequireAndVerifyClientCert; auth++ {
			for which, change := range map[string]func(*tls.Config){
				"none": nil,
				"good": func(c *tls.Config) { c.Certificates = []tls.Certificate{ours().issue(t, keys()["RSA"], nil, "client")} },
				"expired": func(c *tls.Config) {
					c.Certificates = []tls.Certificate{ours().issue(t, keys()["ECDSA"], expired, "client")}
				},
				"for servers": func(c *tls.Config) {
					c.Certificates = []tls.Certificate{ours().issue(t, keys()["ECDSA"], func(x *x509.Certificate) {
						x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
					}, "client")}
				},
				// crypto/tls sends only what the server's CA names ask for.
				"of others": func(c *tls.Config) {
					cert := theirs().issue(t, keys()["ECDSA"], nil, "client")
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				},
			} {
				t.Run(fmt.Sprintf("%s %v %s", name, auth, which), func(t *testing.T) {
					sc := scenario{server: forClients(t, auth), client: change}
					if which != "of others" {
						sc.run(t, version)
						return
					}
					server, client := sc.configs(t, version)
					c, s := connect(t, goClient(client), goServer(server))
					c2, s2 := connect(t, goClient(client), ourServer(t, server))
					compare(t, "our server, seen by the client", viewOf(c2, true), viewOf(c, true), nil)
					compare(t, "our server itself", viewOf(s2, false), viewOf(s, false), nil)
				})
			}
		}
	}
}

// TestCompare: the rest of a Config.
func TestCompare(t *testing.T) {
	no := errors.New("no")
	b := func(key string) tls.Certificate { return ours().issue(t, keys()[key], nil, "b.example") }
	ed := b("Ed25519")
	refuses := func(tls.ConnectionState) error { return no }
	for name, sc := range map[string]scenario{
		"nothing set":       {},
		"TLS 1.3 and newer": {server: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS13, 0 }},
		"TLS 1.2 and older": {server: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		"ALPN": {server: func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} },
			client: func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} }},
		"ALPN of the server alone": {server: func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
		"ALPN of the client alone": {client: func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
		"no ALPN in common": {server: func(c *tls.Config) { c.NextProtos = []string{"foo"} },
			client: func(c *tls.Config) { c.NextProtos = []string{"bar"} }},
		"P-384": {server: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
			client: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256, tls.CurveP384} }},
		"no curve in common": {server: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
			client: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} },
			// OpenSSL: no shared cipher, in TLS 1.2; crypto/tls: nothing else.
			unlike: []string{"alert"}},
		"another name": {client: func(c *tls.Config) { c.ServerName = "other.example" }},
		"two names": {server: func(c *tls.Config) { c.Certificates = append(c.Certificates, b("ECDSA")) },
			client: func(c *tls.Config) { c.ServerName = "b.example" }},
		"NameToCertificate": {server: func(c *tls.Config) {
			cert := b("RSA")
			c.Certificates = append(c.Certificates, ours().issue(t, keys()["Ed25519"], nil, "c.example"))
			//lint:ignore SA1019 it is honoured
			c.NameToCertificate = map[string]*tls.Certificate{"b.example": &cert}
		}, client: func(c *tls.Config) { c.ServerName = "b.example" }},
		"NameToCertificate with one": {server: func(c *tls.Config) {
			cert := b("RSA")
			//lint:ignore SA1019 it is honoured
			c.NameToCertificate = map[string]*tls.Certificate{"b.example": &cert}
		}, client: func(c *tls.Config) { c.ServerName = "b.example" }},
		"GetCertificate": {server: func(c *tls.Config) {
			c.Certificates, c.GetCertificate = nil, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &ed, nil }
		}, client: func(c *tls.Config) { c.ServerName = "b.example" }},
		"GetCertificate has none": {server: func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		}},
		"GetCertificate fails": {server: func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, no }
		}},
		"nobody has a certificate": {server: func(c *tls.Config) {
			c.Certificates, c.GetCertificate = nil, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		}},
		"GetConfigForClient": {server: func(c *tls.Config) {
			other := &tls.Config{Certificates: []tls.Certificate{b("RSA")}, NextProtos: []string{"x"}, ClientAuth: tls.RequireAnyClientCert}
			c.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) { return other, nil }
		}, client: func(c *tls.Config) {
			c.ServerName, c.NextProtos, c.Certificates = "b.example", []string{"x"}, []tls.Certificate{b("ECDSA")}
		}},
		"GetConfigForClient has none": {server: func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}},
		"GetConfigForClient fails": {server: func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, no }
		}},
		"VerifyPeerCertificate refuses": {server: func(c *tls.Config) {
			forClients(t, tls.VerifyClientCertIfGiven)(c)
			c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
				return fmt.Errorf("%d certificates, %d chains", len(raw), len(chains))
			}
		}, client: func(c *tls.Config) { c.Certificates = []tls.Certificate{b("ECDSA")} }},
		"VerifyPeerCertificate of nothing refuses": {server: func(c *tls.Config) {
			forClients(t, tls.VerifyClientCertIfGiven)(c)
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return no }
		}, unlike: []string{"alert"}}, // see cssl.Config.VerifyConnection
		"a client's VerifyPeerCertificate refuses": {client: func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return no }
		}},
		"a server's VerifyConnection refuses": {server: func(c *tls.Config) {
			forClients(t, tls.RequireAndVerifyClientCert)(c)
			c.VerifyConnection = refuses
		}, client: func(c *tls.Config) { c.Certificates = []tls.Certificate{b("ECDSA")} }},
		"a server's VerifyConnection refuses without a certificate": {server: func(c *tls.Config) { c.VerifyConnection = refuses },
			unlike: []string{"alert"}},
		"a client's VerifyConnection refuses": {client: func(c *tls.Config) { c.VerifyConnection = refuses }, unlike: []string{"alert"}},
		"another CA":                          {client: func(c *tls.Config) { c.RootCAs = theirs().pool }},
		"another CA, InsecureSkipVerify":      {client: func(c *tls.Config) { c.RootCAs, c.InsecureSkipVerify = theirs().pool, true }},
		"expired":                             {server: func(c *tls.Config) { c.Certificates[0] = ours().issue(t, keys()["ECDSA"], expired, "a.example") }},
		"expired, earlier": {server: func(c *tls.Config) { c.Certificates[0] = ours().issue(t, keys()["ECDSA"], expired, "a.example") },
			client: func(c *tls.Config) { c.Time = func() time.Time { return time.Now().Add(-10 * time.Minute) } }},
		"OCSP":           {server: func(c *tls.Config) { c.Certificates[0].OCSPStaple = []byte{0x30, 3, 0x0a, 1, 0} }},
		"a remote key":   {server: func(c *tls.Config) { c.Certificates[0].PrivateKey = remote{keys()["ECDSA"]} }},
		"an Ed25519 key": {server: func(c *tls.Config) { c.Certificates[0] = ed }, client: func(c *tls.Config) { c.ServerName = "b.example" }},
	} {
		for version, number := range tlsVersions {
			t.Run(version+" "+name, func(t *testing.T) { sc.run(t, number) })
		}
	}
}

// TestCompareSuites: each cipher suite that OpenSSL has agrees, and the default ones are those of crypto/tls.
func TestCompareSuites(t *testing.T) {
	insecure := map[uint16]bool{}
	for _, s := range tls.InsecureCipherSuites() {
		insecure[s.ID] = true
	}
	known := map[uint16]bool{}
	for _, s := range suites {
		known[s.id] = true
		if s.insecure != insecure[s.id] {
			t.Errorf("%s: insecure %v, in crypto/tls %v", s.name, s.insecure, insecure[s.id])
		}
		key := "RSA"
		if name := tls.CipherSuiteName(s.id); len(name) > 15 && name[10:15] == "ECDSA" {
			key = "ECDSA"
		}
		set := func(c *tls.Config) { c.CipherSuites = []uint16{s.id, tls.TLS_AES_128_GCM_SHA256} }
		t.Run(s.name, func(t *testing.T) {
			scenario{server: func(c *tls.Config) {
				set(c)
				c.Certificates[0] = ours().issue(t, keys()[key], nil, "a.example")
			}, client: set}.run(t, tls.VersionTLS12)
		})
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		_, err := Server(&tls.Config{Certificates: []tls.Certificate{ours().issue(t, keys()["RSA"], nil, "a.example")}, CipherSuites: []uint16{s.ID, suites[0].id}})
		tls13 := slices.Equal(s.SupportedVersions, []uint16{tls.VersionTLS13})
		if (err == nil) != (known[s.ID] || tls13) {
			t.Errorf("%s: %v", s.Name, err)
		}
		if !s.Insecure && !tls13 && !known[s.ID] {
			t.Errorf("%s is not known", s.Name)
		}
	}
}

// TestCompareOldVersions: TLS 1.0 and 1.1 where the Config allows them.
func TestCompareOldVersions(t *testing.T) {
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		scenario{server: func(c *tls.Config) { c.MinVersion = tls.VersionTLS10 },
			client: func(c *tls.Config) { c.MinVersion = tls.VersionTLS10 }}.run(t, v)
	}
}

// TestCompareResumption: sessions are resumed with a client of crypto/tls, and VerifyConnection runs each time.
// SessionTicketsDisabled prevents it, and so does a VerifyConnection about certificates of clients.
func TestCompareResumption(t *testing.T) {
	for name, version := range tlsVersions {
		for _, how := range []string{"", "disabled", "certificates"} {
			calls := make(chan tls.ConnectionState, 10)
			server, client := scenario{server: func(c *tls.Config) {
				c.SessionTicketsDisabled = how == "disabled"
				if how == "certificates" {
					forClients(t, tls.RequireAndVerifyClientCert)(c)
				}
				c.VerifyConnection = func(s tls.ConnectionState) error { calls <- s; return nil }
			}, client: func(c *tls.Config) {
				c.Certificates = []tls.Certificate{ours().issue(t, keys()["ECDSA"], nil, "client")}
				c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}}.configs(t, version)
			ours := ourServer(t, server)
			for i := range 2 {
				c, s := connect(t, goClient(client), ours)
				tlstest.Must(t, errors.Join(c.err, s.err))
				if !bytes.Equal(c.state.TLSUnique, s.state.TLSUnique) || (len(s.state.TLSUnique) == 12) != (version == tls.VersionTLS12) {
					t.Errorf("%s, %d: tls-unique %x, %x", name, i, c.state.TLSUnique, s.state.TLSUnique)
				}
				if want := i == 1 && how == ""; c.state.DidResume != want || s.state.DidResume != want {
					t.Errorf("%s, %d: resumed %v, %v, want %v", name, i, c.state.DidResume, s.state.DidResume, want)
				}
				got := tlstest.Receive(t, calls, "VerifyConnection")
				if (leafOf(got) == "client") != (how == "certificates") || (len(got.VerifiedChains) == 1) != (how == "certificates") || got.ServerName != "a.example" || got.Version != version || got.CipherSuite == 0 {
					t.Errorf("%s, %d: VerifyConnection got %+v", name, i, got)
				}
				tlstest.Nothing(t, calls, "VerifyConnection twice")
			}
		}
	}
}

// TestTimestamps: a client has the timestamps that a server of crypto/tls sends.
func TestTimestamps(t *testing.T) {
	// Version, log id, time, no extensions, ECDSA with SHA-256 (RFC 6962, section 3.2).
	stamp := slices.Concat([]byte{0}, tlstest.Bytes(32, 1), []byte{0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 4, 3, 0, 8}, tlstest.Bytes(8, 2))
	other := slices.Clone(stamp)
	other[1] ^= 1
	for name, version := range tlsVersions {
		server, client := scenario{server: func(c *tls.Config) {
			c.Certificates[0].SignedCertificateTimestamps = [][]byte{stamp, other}
			c.Certificates[0].OCSPStaple = []byte{0x30, 3, 0x0a, 1, 0}
		}}.configs(t, version)
		c, s := connect(t, ourClient(t, client), goServer(server))
		tlstest.Must(t, errors.Join(c.err, s.err))
		if !slices.EqualFunc(c.state.SignedCertificateTimestamps, [][]byte{stamp, other}, bytes.Equal) || len(c.state.OCSPResponse) != 5 {
			t.Errorf("%s: %x, %x", name, c.state.SignedCertificateTimestamps, c.state.OCSPResponse)
		}
	}
}

// TestClientCallbacks: a client's VerifyPeerCertificate and VerifyConnection get what those of crypto/tls get.
func TestClientCallbacks(t *testing.T) {
	for _, version := range tlsVersions {
		var calls []string
		server, client := scenario{client: func(c *tls.Config) {
			c.NextProtos = []string{"x"}
			c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
				calls = append(calls, fmt.Sprint("peer ", len(raw), len(chains), len(chains[0])))
				return nil
			}
			c.VerifyConnection = func(s tls.ConnectionState) error {
				calls = append(calls, fmt.Sprint(s.Version, s.ServerName, s.NegotiatedProtocol, len(s.PeerCertificates), len(s.VerifiedChains), len(s.OCSPResponse)))
				return nil
			}
		}, server: func(c *tls.Config) {
			c.NextProtos = []string{"x"}
			c.Certificates[0].OCSPStaple = []byte{0x30, 3, 0x0a, 1, 0}
		}}.configs(t, version)
		for _, end := range []end{goClient(client), ourClient(t, client)} {
			c, s := connect(t, end, goServer(server))
			tlstest.Must(t, errors.Join(c.err, s.err))
		}
		if len(calls) != 4 || !slices.Equal(calls[:2], calls[2:]) {
			t.Errorf("%q", calls)
		}
	}
}

// TestVerifyConnectionIntermediates: a VerifyConnection that needs an intermediate certificate has it in each connection, on either side.
func TestVerifyConnectionIntermediates(t *testing.T) {
	sub := ours().issue(t, keys()["RSA"], func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	}, "sub")
	under := &authority{cert: tlstest.Value(x509.ParseCertificate(sub.Certificate[0]))(t), key: keys()["RSA"]}
	cert := under.issue(t, keys()["ECDSA"], nil, "a.example")
	cert.Certificate = append(cert.Certificate, sub.Certificate...)
	verify := func(s tls.ConnectionState) error { // as the example of crypto/tls
		opts := x509.VerifyOptions{Roots: ours().pool, Intermediates: x509.NewCertPool()}
		for _, cert := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(opts)
		return err
	}
	for name, version := range tlsVersions {
		server := &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert, VerifyConnection: verify}
		client := &tls.Config{Certificates: []tls.Certificate{cert}, ServerName: "a.example", InsecureSkipVerify: true,
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		far := ourServer(t, server)
		for i := range 2 {
			if c, s := connect(t, goClient(client), far); c.err != nil || s.err != nil {
				t.Errorf("%s, our server, %d: %v, %v", name, i, c.err, s.err)
			}
		}
		client.ClientSessionCache, client.VerifyConnection = nil, verify
		cfg, one, err := Client(client)
		tlstest.Must(t, err)
		x := tlstest.Value(cssl.NewClientContext(cfg))(t)
		defer x.Close()
		server.ClientAuth, server.VerifyConnection = tls.NoClientCert, nil
		far = ourServer(t, server)
		for i := range 2 {
			c, s := connect(t, func(t testing.TB, raw net.Conn) conn {
				return keepsSession{tlstest.Value(sslnet.Client(raw, x, one))(t), &one.Session}
			}, far)
			if c.err != nil || s.err != nil {
				t.Errorf("%s, our client, %d: %v, %v", name, i, c.err, s.err)
			}
		}
	}
}
