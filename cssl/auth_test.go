package cssl

import (
	"errors"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// authConfigs are a client that answers, with a certificate unless name is empty, and a server that asks later.
func authConfigs(name string, verify VerifyMode) (client, server Config) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.PostHandshakeAuth, s.PostHandshakeAuth = true, true
	if name != "" {
		c.Certificates = serverConfig(name).Certificates
	}
	s.Verify, s.CAFile = verify, testcerts.Path("root.pem")
	return c, s
}

// request makes the server ask, carries everything to and fro, and answers whether an answer came, and how each side failed.
func (p *pair) request() (answered bool, cerr, serr error) {
	p.t.Helper()
	r := p.server.RequestCertificate()
	if r.Err != nil {
		return false, nil, r.Err
	}
	for range 100000 {
		if p.move(p.server, p.client)+p.move(p.client, p.server) == 0 {
			return
		}
		if r := p.client.Read(p.buf); cerr == nil {
			cerr = r.Err
		}
		r := p.server.Read(p.buf)
		if serr == nil {
			serr = r.Err
		}
		answered = answered || r.Certificate
	}
	p.t.Fatal("no end")
	return
}

// TestRequestCertificate: the server knows no client before, and knows it afterwards, also when it asks again.
func TestRequestCertificate(t *testing.T) {
	for _, chunk := range []int{0, 1} {
		c, s := authConfigs("client", VerifyRequire)
		sx := mustServer(t, s)
		p := newPair(t, mustClient(t, c), sx).opened()
		if chain, _ := p.server.State().PeerCertificates(); chain != nil {
			t.Fatal("a certificate in the handshake")
		}
		for i := range 3 {
			p.chunk = chunk
			answered, cerr, serr := p.request()
			if !answered || cerr != nil || serr != nil {
				t.Fatalf("%d: answered %v, client: %v, server: %v", i, answered, cerr, serr)
			}
			checkVerified(t, p.server, true)
			chain, err := p.server.State().PeerCertificates()
			if err != nil || len(chain) == 0 || p.server.State().VerifyError != nil {
				t.Errorf("%d: chain %v, %v, %v", i, chain, err, p.server.State().VerifyError)
			}
			p.chunk = 0
			p.pass(p.client, p.server, []byte("ask"), p.buf)
			p.pass(p.server, p.client, []byte("answer"), p.buf)
		}
		// The ticket that came after it knows the client too.
		q := p.again(mustClient(t, c), sx, "localhost")
		if chain, _ := q.server.State().PeerCertificates(); !q.server.State().Resumed || len(chain) != 1 {
			t.Errorf("resumed %v with %d certificates", q.server.State().Resumed, len(chain))
		}
	}
}

// TestRequestCertificateRefused: which answers do not pass, and what each side hears.
func TestRequestCertificateRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ca     string
		verify VerifyMode
		alert  tlsio.Alert // 0: it passes
	}{
		{"", "root", VerifyOptional, 0}, {"", "root", VerifyRequire, 116}, {"client", "root", VerifyOptional, 0},
		{"ecdsa", "root", VerifyRequire, 43}, {"ecdsa", "root", VerifyOptional, 43}, {"client", "other-root", VerifyRequire, 48},
	} {
		c, s := authConfigs(tt.name, tt.verify)
		s.CAFile = testcerts.Path(tt.ca + ".pem")
		p := pairOf(t, c, s).opened()
		answered, cerr, serr := p.request()
		if tt.alert == 0 {
			if chain, _ := p.server.State().PeerCertificates(); !answered || cerr != nil || serr != nil || (len(chain) > 0) != (tt.name != "") {
				t.Errorf("%+v: answered %v, client: %v, server: %v, %d certificates", tt, answered, cerr, serr, len(chain))
			}
			continue
		}
		if answered {
			t.Errorf("%+v: an answer that does not pass", tt)
		}
		checkAlerts(t, serr, cerr, tt.alert)
		if r := p.server.Write([]byte("x")); r.Err == nil {
			t.Errorf("%+v: a write after it: %+v", tt, r)
		}
	}
}

// TestRequestCertificateState: where it cannot be asked, nothing happens, and the error says why.
func TestRequestCertificateState(t *testing.T) {
	refused := func(what, why string, r tlsio.Result) {
		t.Helper()
		if !errors.Is(r.Err, tlsio.ErrState) || !strings.Contains(r.Err.Error(), why) || !strings.Contains(r.Err.Error(), "request certificate") {
			t.Errorf("%s: %+v", what, r)
		}
	}
	c, s := authConfigs("client", VerifyRequire)
	cx, sx := mustClient(t, c), mustServer(t, s)
	p := newPair(t, cx, sx)
	refused("before the handshake", "", p.server.RequestCertificate())
	p.handshake()
	refused("a client asks", "", p.client.RequestCertificate())
	if r := p.server.RequestCertificate(); r.Err != nil || r.Want != tlsio.WantNone {
		t.Fatalf("%+v", r)
	}
	refused("twice", "request", p.server.RequestCertificate())
	p.pass(p.server, p.client, []byte("meanwhile"), p.buf) // a client that does not answer is served like any
	if _, _, serr := p.request(); !errors.Is(serr, tlsio.ErrState) {
		t.Errorf("still waits: %v", serr)
	}
	p.finish()
	if answered, cerr, serr := p.request(); !answered || cerr != nil || serr != nil {
		t.Errorf("answered %v, client: %v, server: %v", answered, cerr, serr)
	}
	p.client.Shutdown()
	p.move(p.client, p.server)
	p.server.Read(p.buf)
	refused("after the client's end", "", p.server.RequestCertificate())
	p.server.Shutdown()
	refused("after our end", "", p.server.RequestCertificate())

	for name, tt := range map[string]struct {
		change func(c, s *Config)
		why    string
	}{
		"a client that does not offer": {func(c, s *Config) { c.PostHandshakeAuth = false }, "extension not received"},
		"TLS 1.2":                      {func(c, s *Config) { c.MaxVersion = TLS12 }, ""},
		"demands nothing":              {func(c, s *Config) { s.PostHandshakeAuth, s.Verify = false, VerifyNone }, "Config.Verify does not request a certificate"},
	} {
		c, s := authConfigs("client", VerifyRequire)
		tt.change(&c, &s)
		p := pairOf(t, c, s).opened()
		refused(name, tt.why, p.server.RequestCertificate())
		p.pass(p.client, p.server, []byte("ask"), p.buf)
		if chain, _ := p.server.State().PeerCertificates(); (chain != nil) != (name == "TLS 1.2") {
			t.Errorf("%s: %d certificates", name, len(chain))
		}
	}
	bad := serverConfig("ecdsa")
	bad.PostHandshakeAuth = true
	checkRefused(t, "nothing is demanded", true, bad, "PostHandshakeAuth")
}

// TestRequestCertificateInStream: asked in the midst of streams both ways, over engines and small sockets.
func TestRequestCertificateInStream(t *testing.T) {
	c, s := authConfigs("client", VerifyRequire)
	cx, sx := mustClient(t, c), mustServer(t, s)
	ends := map[string]func() (a, b *endpoint){
		"engine": func() (a, b *endpoint) { return engineEnds(t, cx, sx) },
		"unix":   func() (a, b *endpoint) { return socketEnds(t, "unix", true, cx, sx) },
		"tcp":    func() (a, b *endpoint) { return socketEnds(t, "tcp", true, cx, sx) },
	}
	for name, make := range ends {
		a, b := make()
		a.out, b.out = tlstest.Bytes(200000, 1), tlstest.Bytes(200000, 2)
		for _, at := range []int{0, 50000, 100000} {
			b.actions = append(b.actions, action{at, tlsio.OpRequestCertificate, (*Conn).RequestCertificate})
		}
		stop := func() bool { return len(a.in) == len(b.out) && len(b.in) == len(a.out) && a.done() && b.done() }
		if name == "engine" {
			runEngine(t, a, b, 1000, stop)
		} else {
			runSockets(t, a, b, stop)
		}
		sameBytes(t, name, a.in, b.out)
		sameBytes(t, name, b.in, a.out)
		if b.seen[tlsio.OpRequestCertificate][tlsio.WantNone] == 0 {
			t.Errorf("%s: never asked", name)
		}
		checkVerified(t, b.c, true)
	}
}

// TestRequestCertificateLimit: a server that asks without end, each of which costs the client a signature, goes over its limit.
func TestRequestCertificateLimit(t *testing.T) {
	c, s := authConfigs("client", VerifyRequire)
	c.MaxMessages = 5
	s.NoTickets = true // they count too
	p := pairOf(t, c, s).opened()
	for i := range 10 {
		_, cerr, serr := p.request()
		if i < 5 && (cerr != nil || serr != nil) {
			t.Fatalf("%d: client %v, server %v", i, cerr, serr)
		}
		if i >= 5 {
			if !errors.Is(cerr, tlsio.ErrLimit) {
				t.Errorf("%d: client %v, server %v", i, cerr, serr)
			}
			return
		}
	}
}

// TestVerifyPeerAfterHandshake: VerifyPeer decides about a certificate that was asked for later, at once.
func TestVerifyPeerAfterHandshake(t *testing.T) {
	mine := errors.New("not this one")
	for name, c := range map[string]struct {
		decide func(v *PeerVerification)
		err    error
	}{
		"accepts": {func(v *PeerVerification) { v.Accept() }, nil},
		"refuses": {func(v *PeerVerification) { v.Refuse(mine) }, mine},
		"waits":   {func(v *PeerVerification) {}, errCannotWait},
		"panics":  {func(v *PeerVerification) { panic("oops") }, ErrCallbackPanic},
	} {
		client, server := authConfigs("client", VerifyRequire)
		server.VerifyPeer = c.decide
		p := pairOf(t, client, server).opened()
		answered, cerr, serr := p.request()
		if answered != (c.err == nil) || !errors.Is(serr, c.err) || c.err == nil && cerr != nil {
			t.Errorf("%s: answered %v, client %v, server %v", name, answered, cerr, serr)
		}
		if r := p.server.Read(p.buf); c.err != nil && !errors.Is(r.Err, c.err) {
			t.Errorf("%s: does not stick: %v", name, r)
		}
	}
}
