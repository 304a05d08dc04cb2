package cssl

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// asked are a client and a server whose operations may wait for the application.
type asked struct {
	t              testing.TB
	client, server *Conn
	woken          chan struct{}
	wants          []Want // of the application that were answered
	engine         bool
	buf            []byte
	rest           [2][]byte // taken and not yet fed, to the server and to the client
}

// transports join a client and a server, over a socket and in engine mode.
var transports = map[string]bool{"socket": false, "engine": true}

func newAsked(t testing.TB, engine bool, client, server *Context) *asked {
	t.Helper()
	a := &asked{t: t, woken: make(chan struct{}, 100), engine: engine, buf: make([]byte, 1<<16)}
	fds := [2]int{-1, -1}
	if !engine {
		var err error
		if fds, err = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fds[0]); syscall.Close(fds[1]) })
	}
	var err error
	if a.client, err = client.newConn(fds[0], ConnConfig{ServerName: "localhost"}); err != nil {
		t.Fatal(err)
	}
	if a.server, err = server.newConn(fds[1], ConnConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.client.Close)
	t.Cleanup(a.server.Close)
	a.client.Bind("the client", func() { a.woken <- struct{}{} })
	a.server.Bind("the server", func() { a.woken <- struct{}{} })
	return a
}

// carry moves what lies in the engines and answers whether there was something.
func (a *asked) carry() (moved bool) {
	if !a.engine {
		return false
	}
	for i, d := range [][2]*Conn{{a.client, a.server}, {a.server, a.client}} {
		a.rest[i] = append(a.rest[i], a.buf[:d[0].Take(a.buf)]...)
		n := d[1].Feed(a.rest[i])
		a.rest[i] = a.rest[i][n:]
		moved = moved || n > 0
	}
	return moved
}

// run carries both handshakes on, and then a byte each way, until each has succeeded or failed.
func (a *asked) run() (client, server error) {
	a.t.Helper()
	steps := [2]int{}
	errs := [2]error{}
	sides := [2]*Conn{a.client, a.server}
	for steps[0] < 3 && errs[0] == nil || steps[1] < 3 && errs[1] == nil {
		progress := a.carry()
		for i, c := range sides {
			if errs[i] != nil || steps[i] == 3 {
				continue
			}
			var r Result
			switch steps[i] {
			case 0:
				r = c.Handshake()
			case 1:
				r = c.Write([]byte("x"))
			case 2:
				r = c.Read(make([]byte, 1))
			}
			errs[i] = r.Err
			if r.Want.Application() {
				a.wants = append(a.wants, r.Want)
			}
			if r.Err == nil && r.Want == WantNone {
				steps[i]++
			}
			progress = progress || r.Err != nil || r.Want == WantNone || r.In || r.Out
			c.Flush()
		}
		if progress {
			continue
		}
		select {
		case <-a.woken:
		case <-time.After(3 * time.Second):
			a.t.Fatalf("nothing goes on; steps %v, errors %v, wants %v", steps, errs, a.wants)
		}
	}
	return errs[0], errs[1]
}

// succeeds is run without errors.
func (a *asked) succeeds() {
	a.t.Helper()
	client, server := a.run()
	noErrors(a.t, client, server)
}

func noErrors(t testing.TB, client, server error) {
	t.Helper()
	if client != nil || server != nil {
		t.Fatalf("client: %v, server: %v", client, server)
	}
}

func failedWith(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v in it", err, want)
	}
}

// overBoth runs a test over a socket and in engine mode, in both versions of TLS.
func overBoth(t *testing.T, test func(t *testing.T, engine bool, version TLSVersion)) {
	for name, engine := range transports {
		for _, v := range []TLSVersion{TLS12, TLS13} {
			t.Run(fmt.Sprint(name, " ", v), func(t *testing.T) { test(t, engine, v) })
		}
	}
}

// mutual is a server that wants a certificate, and the client that has one.
func mutual(v TLSVersion) (server, client Config) {
	server, client = serverConfig("ecdsa"), clientConfig()
	server.CAFile, server.Verify = testcerts.Path("root.pem"), VerifyRequire
	client.Certificates = []Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}}
	server.MaxVersion, client.MaxVersion = v, v
	return server, client
}

func TestClientHelloChooses(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		for _, later := range []bool{false, true} {
			other := mustServer(t, serverConfig("rsa"))
			config := serverConfig("ecdsa")
			var seen *ClientHello
			config.ClientHello = func(h *ClientHello) {
				seen = h
				if later {
					go h.Accept(other)
				} else {
					h.Accept(other)
				}
			}
			client := clientConfig()
			client.ALPN, client.MaxVersion = []string{"h2", "http/1.1"}, v
			a := newAsked(t, engine, mustClient(t, client), mustServer(t, config))
			a.succeeds()
			chain, err := a.client.PeerChain()
			if err != nil || chain[0].PublicKeyAlgorithm != x509.RSA {
				t.Fatalf("the certificate of another Context: %v %v", chain, err)
			}
			if seen.ServerName != "localhost" || !slices.Equal(seen.ALPN, client.ALPN) || seen.Owner != "the server" ||
				len(seen.CipherSuites) == 0 || len(seen.Groups) == 0 || len(seen.SignatureAlgorithms) == 0 ||
				slices.Contains(seen.Versions, TLS13) != (v == TLS13) || seen.Raw[0] != 1 {
				t.Fatalf("%+v", seen)
			}
		}
	})
}

// TestClientHelloLeaves: Accept(nil) is SNI's Context, or the one that there is.
func TestClientHelloLeaves(t *testing.T) {
	for name, kind := range map[string]x509.PublicKeyAlgorithm{"localhost": x509.RSA, "elsewhere.test": x509.ECDSA} {
		config := serverConfig("ecdsa")
		config.SNI = map[string]*Context{name: mustServer(t, serverConfig("rsa"))}
		config.ClientHello = func(h *ClientHello) { h.Accept(nil) }
		a := newAsked(t, false, mustClient(t, clientConfig()), mustServer(t, config))
		a.succeeds()
		if chain, err := a.client.PeerChain(); err != nil || chain[0].PublicKeyAlgorithm != kind {
			t.Errorf("SNI for %s: %v %v", name, chain[0].PublicKeyAlgorithm, err)
		}
	}
}

func TestClientHelloRefuses(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		mine := errors.New("not today")
		closed := mustServer(t, serverConfig("rsa"))
		closed.Close()
		for name, c := range map[string]struct {
			decide func(h *ClientHello)
			err    error
			alert  Alert
		}{
			"at once":          {func(h *ClientHello) { h.Refuse(mine); h.Accept(nil) }, mine, 40},
			"later":            {func(h *ClientHello) { go h.Refuse(mine) }, mine, 40},
			"with an alert":    {func(h *ClientHello) { h.Refuse(fmt.Errorf("%w: %w", mine, Alert(112))) }, mine, 112},
			"without a reason": {func(h *ClientHello) { h.Refuse(nil) }, errRefused, 40},
			"panic":            {func(h *ClientHello) { panic("oops") }, ErrCallbackPanic, 40},
			"late":             {func(h *ClientHello) {}, ErrDecisionTimeout, 40},
			"closed Context":   {func(h *ClientHello) { h.Accept(closed) }, errContextClosed, 40},
		} {
			config, client := serverConfig("ecdsa"), clientConfig()
			config.ClientHello, client.MaxVersion = c.decide, v
			config.DecisionTimeout = time.Minute
			if name == "late" {
				config.DecisionTimeout = time.Millisecond
			}
			a := newAsked(t, engine, mustClient(t, client), mustServer(t, config))
			cerr, serr := a.run()
			failedWith(t, serr, c.err)
			failedWith(t, serr, c.alert)
			failedWith(t, cerr, c.alert)
		}
	})
}

func TestClientHelloOfClient(t *testing.T) {
	config := clientConfig()
	config.ClientHello = func(*ClientHello) {}
	if _, err := NewClientContext(config); err == nil || !strings.Contains(err.Error(), "only a server") {
		t.Error(err)
	}
	server := serverConfig("ecdsa")
	server.ClientHello = func(h *ClientHello) { h.Accept(mustClient(t, clientConfig())) }
	a := newAsked(t, false, mustClient(t, clientConfig()), mustServer(t, server))
	if _, err := a.run(); err == nil || !strings.Contains(err.Error(), "client's Context") {
		t.Error(err)
	}
}

// TestHelloRetryRequest: the second ClientHello of a handshake asks nobody again.
func TestHelloRetryRequest(t *testing.T) {
	calls := 0
	config, client := serverConfig("ecdsa"), clientConfig()
	config.Groups, client.Groups = "P-384", "X25519:P-384"
	config.ClientHello = func(h *ClientHello) { calls++; h.Accept(nil) }
	a := newAsked(t, true, mustClient(t, client), mustServer(t, config))
	a.succeeds()
	if calls != 1 || a.client.Group() != "secp384r1" {
		t.Errorf("asked %d times, group %s", calls, a.client.Group())
	}
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
				if seen == nil || len(seen.Sent) == 0 || len(seen.Chain) < 2 || seen.Err != nil || seen.ServerName != "localhost" {
					t.Fatalf("%s: %+v", p.name, seen)
				}
				decider := a.client
				if p.server {
					decider = a.server
				}
				if chain, err := decider.PeerChain(); err != nil || !chain[0].Equal(seen.Sent[0]) {
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
				alert  Alert
			}{
				"at once":       {func(v *PeerVerification) { v.Refuse(mine); v.Accept() }, mine, 42},
				"later":         {func(v *PeerVerification) { go v.Refuse(mine) }, mine, 42},
				"unsupported":   {func(v *PeerVerification) { v.Refuse(Alert(43)) }, Alert(43), 43},
				"revoked":       {func(v *PeerVerification) { v.Refuse(Alert(44)) }, Alert(44), 44},
				"expired":       {func(v *PeerVerification) { v.Refuse(Alert(45)) }, Alert(45), 45},
				"unknown":       {func(v *PeerVerification) { v.Refuse(Alert(46)) }, Alert(46), 46},
				"unknown CA":    {func(v *PeerVerification) { v.Refuse(fmt.Errorf("%w: %w", mine, Alert(48))) }, mine, 48},
				"panic":         {func(v *PeerVerification) { panic("oops") }, ErrCallbackPanic, 42},
				"not in time":   {func(v *PeerVerification) {}, ErrDecisionTimeout, 42},
				"another alert": {func(v *PeerVerification) { v.Refuse(Alert(80)) }, Alert(42), 42},
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
			if alone && c.VerifyResult() == nil {
				t.Errorf("%s: OpenSSL's verdict is gone", p.name)
			}
		}
	}
}

func TestVerifyPeerSettings(t *testing.T) {
	decide := func(v *PeerVerification) { v.Accept() }
	for name, c := range map[string]struct {
		verify VerifyMode
		decide func(*PeerVerification)
		server bool
	}{
		"no certificate is asked for":  {VerifyNone, decide, false},
		"a server's default":           {VerifyDefault, decide, true},
		"the application has no voice": {VerifyApplication, nil, false},
	} {
		config, build := clientConfig(), NewClientContext
		if c.server {
			config, build = serverConfig("ecdsa"), NewServerContext
		}
		config.Verify, config.VerifyPeer = c.verify, c.decide
		if _, err := build(config); err == nil || !strings.Contains(err.Error(), "Verify") {
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
				if cerr, serr = r.Err, s.Err; cerr != nil || serr != nil || r.Want == WantNone {
					break
				}
				if r.Want == WantRetryVerify {
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

// TestCloseWhileAsked: a connection is closed while it waits; the decision comes later, for nobody.
func TestCloseWhileAsked(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		before := Live()
		var mu sync.Mutex
		var late []func()
		keep := func(f func()) {
			mu.Lock()
			late = append(late, f)
			mu.Unlock()
		}
		verify := func(v *PeerVerification) { keep(v.Accept) }
		for name, change := range map[string]func(server, client *Config){
			"hello":  func(s, c *Config) { s.ClientHello = func(h *ClientHello) { keep(func() { h.Accept(nil) }) } },
			"client": func(s, c *Config) { c.VerifyPeer = verify },
			"server": func(s, c *Config) { s.VerifyPeer = verify },
		} {
			server, client := mutual(v)
			change(&server, &client)
			a := newAsked(t, engine, mustClient(t, client), mustServer(t, server))
			for deadline := time.Now().Add(time.Minute); ; {
				a.carry()
				cr, sr := a.client.Handshake(), a.server.Handshake()
				if cr.Err != nil || sr.Err != nil {
					t.Fatal(name, cr.Err, sr.Err)
				}
				mu.Lock()
				n := len(late)
				mu.Unlock()
				if n > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(name, ": nobody is asked")
				}
			}
			a.client.Close()
			a.server.Close()
			if r := a.server.Handshake(); !errors.Is(r.Err, net.ErrClosed) {
				t.Error(r)
			}
			for _, f := range late {
				f()
			}
			late = nil
		}
		for deadline := time.Now().Add(time.Minute); Live() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are left", Live()-before)
			}
		}
	})
}

// TestOffload: handshakes on goroutines of their own, with everything that may not be done meanwhile.
func TestOffload(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		server, client := mutual(v)
		server.Offload, client.Offload = true, true
		server.Certificates[0] = Certificate{ChainFile: testcerts.Path("big.pem"), KeyFile: testcerts.Path("big.key")}
		a := newAsked(t, engine, mustClient(t, client), mustServer(t, server))
		if r := a.client.Handshake(); r.Want != WantAsync {
			t.Fatalf("the first step answered %+v", r)
		}
		for what, got := range map[string]bool{
			"Take": a.client.Take(a.buf) > 0, "Unsent": a.client.Unsent() > 0,
			"HasPending": a.client.HasPending(), "Pending": a.client.Pending() > 0, "FreeBuffers": a.client.FreeBuffers(),
			"ALPN": a.client.ALPN() != "", "Negotiated": a.client.Negotiated().Version != 0,
		} {
			if got {
				t.Errorf("%s while a step is under way", what)
			}
		}
		for what, r := range map[string]Result{
			"Write": a.client.Write([]byte("x")), "Shutdown": a.client.Shutdown(), "KeyUpdate": a.client.KeyUpdate(true),
			"Renegotiate": a.client.Renegotiate(),
		} {
			if !errors.Is(r.Err, ErrState) {
				t.Errorf("%s: %+v", what, r)
			}
		}
		if r := a.client.Read(a.buf); r.Want != WantAsync && r.Want != WantRead {
			t.Errorf("Read: %+v", r)
		}
		a.succeeds()
		if !slices.Contains(a.wants, WantAsync) {
			t.Errorf("wants %v", a.wants)
		}
		if a.server.Negotiated().Version != v {
			t.Error(a.server.Negotiated())
		}
	})
}

// TestOffloadEnds: the peer goes away while a step is under way, or sends what is no TLS.
func TestOffloadEnds(t *testing.T) {
	server := serverConfig("ecdsa")
	server.Offload = true
	x := mustServer(t, server)
	for name, say := range map[string][]byte{"nothing": nil, "noise": bytes.Repeat([]byte("noise"), 100)} {
		for kind, engine := range transports {
			a := newAsked(t, engine, mustClient(t, clientConfig()), x)
			if engine {
				a.server.Feed(say)
				a.server.Handshake()
				a.server.FeedEOF()
			} else {
				syscall.Write(a.client.fd, say)
				a.server.Handshake()
				syscall.Shutdown(a.client.fd, syscall.SHUT_WR)
			}
			for {
				r := a.server.Handshake()
				if r.Err != nil {
					break
				}
				if r.Want.Application() {
					<-a.woken
				}
			}
			if kind == "" {
				t.Error(name)
			}
		}
	}
}

// TestSNIOffload: what the chosen Context asks for holds.
func TestSNIOffload(t *testing.T) {
	slow, client := mutual(TLS13)
	asked := false
	slow.VerifyPeer = func(v *PeerVerification) { asked = true; go v.Accept() }
	config := serverConfig("rsa")
	config.SNI = map[string]*Context{"localhost": mustServer(t, slow)}
	a := newAsked(t, false, mustClient(t, client), mustServer(t, config))
	a.succeeds()
	if !asked || !slices.Contains(a.wants, WantAsync) {
		t.Error(asked, a.wants)
	}
}

func TestJA4(t *testing.T) {
	// The example of the format's description: a browser's.
	h := &ClientHello{
		Versions: []TLSVersion{0x1a1a, TLS13, TLS12},
		ALPN:     []string{"h2", "http/1.1"},
		CipherSuites: []uint16{0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
			0x009c, 0x009d, 0x002f, 0x0035},
		Extensions: []uint16{0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
			0xff01, 0x000b, 0x000a, 0x0015, 0x4a4a},
		SignatureAlgorithms: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	}
	if got := h.JA4(); got != "t13d1516h2_8daaf6152771_e5627efa2ab1" {
		t.Error(got)
	}
	for _, c := range []struct {
		h    ClientHello
		want string
	}{
		{ClientHello{Versions: []TLSVersion{TLS12}}, "t12i000000_000000000000_000000000000"},
		{ClientHello{Versions: []TLSVersion{0x0301}, ALPN: []string{"\xab"}}, "t10i0000ab_000000000000_000000000000"},
		{ClientHello{Versions: []TLSVersion{0x7f1c}, ALPN: []string{"h\xcd"}}, "t00i00006d_000000000000_000000000000"},
		{ClientHello{Versions: []TLSVersion{0x0300}, ALPN: []string{"x"}}, "ts3i0000xx_000000000000_000000000000"},
	} {
		if got := c.h.JA4(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := parseHello(raw)
		if len(h.JA4()) < 36 {
			t.Error(h.JA4())
		}
	})
}
