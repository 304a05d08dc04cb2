package cssl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
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
		equal(t, knows(t, p.server), 0, "certificates in the handshake")
		for i := range 3 {
			p.chunk = chunk
			answered, cerr, serr := p.request()
			demand(t, answered && cerr == nil && serr == nil, "%d: answered %v, client: %v, server: %v", i, answered, cerr, serr)
			checkVerified(t, p.server, true)
			tlstest.Must(t, p.server.State().VerifyError)
			p.talk()
		}
		// The ticket that came after it knows the client too.
		q := p.again(mustClient(t, c), sx, "localhost")
		check(t, q.server.State().Resumed, "not resumed")
		equal(t, knows(t, q.server), 1, "certificates of the resumed session")
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
		equal(t, answered, tt.alert == 0, "%+v: answered", tt)
		if tt.alert == 0 {
			noErrors(t, cerr, serr)
			equal(t, knows(t, p.server) > 0, tt.name != "", "%+v: the server knows the client", tt)
			continue
		}
		checkAlerts(t, serr, cerr, tt.alert)
		check(t, p.server.Write([]byte("x")).Err != nil, "%+v: a write after it", tt)
	}
}

// TestRequestCertificateState: where it cannot be asked, nothing happens, and the error says why.
func TestRequestCertificateState(t *testing.T) {
	refused := func(what, why string, r tlsio.Result) {
		t.Helper()
		badState(t, what, r)
		says(t, what, r.Err, why, "request certificate")
	}
	c, s := authConfigs("client", VerifyRequire)
	cx, sx := mustClient(t, c), mustServer(t, s)
	p := newPair(t, cx, sx)
	refused("before the handshake", "", p.server.RequestCertificate())
	p.handshake()
	refused("a client asks", "", p.client.RequestCertificate())
	wants(t, "request", p.server.RequestCertificate(), tlsio.WantNone)
	refused("twice", "request", p.server.RequestCertificate())
	p.pass(p.server, p.client, []byte("meanwhile"), p.buf) // a client that does not answer is served like any
	_, _, serr := p.request()
	tlstest.IsError(t, "a request while it still waits", serr, tlsio.ErrState)
	p.finish()
	answered, cerr, serr := p.request()
	check(t, answered && cerr == nil && serr == nil, "answered %v, client: %v, server: %v", answered, cerr, serr)
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
		equal(t, knows(t, p.server) > 0, name == "TLS 1.2", "%s: the server knows the client", name)
	}
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"nothing is demanded", func(c *Config) { c.PostHandshakeAuth = true }, "PostHandshakeAuth", ""}})
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
		check(t, b.seen[tlsio.OpRequestCertificate][tlsio.WantNone] != 0, "%s: never asked", name)
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
		if i == 5 {
			tlstest.IsError(t, "one too many", cerr, tlsio.ErrLimit)
			return
		}
		noErrors(t, cerr, serr)
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
		check(t, answered == (c.err == nil) && errors.Is(serr, c.err) && (c.err != nil || cerr == nil),
			"%s: answered %v, client %v, server %v", name, answered, cerr, serr)
		tlstest.IsError(t, name+": a read afterwards", p.server.Read(p.buf).Err, c.err)
	}
}

// TestRenegotiateBothSides: a client asks for a renegotiation while the server's HelloRequest has come
// in part, with application data behind it. OpenSSL 3.0 alone would take that data for a protocol error.
func TestRenegotiateBothSides(t *testing.T) {
	for _, first := range []int{1, 5, 20, 1000} {
		for _, chunk := range []int{1, 3, 7, 1000} {
			cc, sc := clientConfig(), serverConfig("ecdsa")
			cc.Renegotiation, sc.Renegotiation, cc.MaxVersion = true, true, TLS12
			p := pairOf(t, cc, sc).shaken()
			tlstest.Must(t, p.server.Renegotiate().Err)
			p.server.Write([]byte("hello"))
			p.chunk = first
			p.move(p.server, p.client)
			got := string(p.buf[:p.client.Read(p.buf).N])
			r := p.client.Renegotiate()
			demand(t, r.Err == nil || first == 1000, "client, after %d bytes: %+v", first, r)
			p.chunk = chunk
			read := func(c *Conn) {
				tlstest.Must(t, c.Handshake().Err)
				r := c.Read(p.buf)
				tlstest.Must(t, r.Err)
				got += string(p.buf[:r.N])
			}
			for moved := 1; moved > 0; {
				moved = p.move(p.server, p.client)
				read(p.client)
				moved += p.move(p.client, p.server)
				read(p.server)
			}
			check(t, got == "hello", "after %d bytes and then %d at a time: got %q", first, chunk, got)
			for _, c := range []*Conn{p.client, p.server} {
				wants(t, fmt.Sprintf("what is left after %d bytes and then %d at a time", first, chunk), c.Handshake(), tlsio.WantNone)
			}
		}
	}
}

// TestRenegotiationSetting: off, the peer is told so and Renegotiate is refused without harm; on, both sides can begin.
func TestRenegotiationSetting(t *testing.T) {
	for _, version := range versions {
		for _, on := range []bool{false, true} {
			c, s := clientConfig(), serverConfig("ecdsa")
			c.Renegotiation, s.Renegotiation, c.MaxVersion = on, on, version
			p := pairOf(t, c, s).opened()
			for _, x := range []*Conn{p.client, p.server} {
				r := x.Renegotiate()
				equal(t, r.Err == nil, on && version == TLS12, "%v, %v: allowed (%v)", version, on, r.Err)
				p.finish()
				p.finish()
			}
			p.talk()
		}
	}
}

// TestLimits floods one side with post-handshake messages: it answers ErrLimit, and the
// flooder gets a close_notify (P36).
func TestLimits(t *testing.T) {
	limited := func(c *Config) { c.MaxMessages, c.MaxRenegotiations, c.Renegotiation = 5, 3, true }
	for _, tt := range []struct {
		name    string
		version TLSVersion
		change  func(c, s *Config)
		victim  string
		flood   func(p *pair) tlsio.Result
	}{
		{"key updates", TLS13, func(c, s *Config) { limited(s) }, "server", func(p *pair) tlsio.Result { return p.client.KeyUpdate(false) }},
		{"key updates with request", TLS13, func(c, s *Config) { limited(c) }, "client", func(p *pair) tlsio.Result { return p.server.KeyUpdate(true) }},
		{"tickets", TLS13, func(c, s *Config) { limited(c); s.Tickets = 20 }, "client", func(p *pair) tlsio.Result { return tlsio.Result{} }},
		{"renegotiations of the client", TLS12, func(c, s *Config) { c.Renegotiation = true; limited(s) }, "server", func(p *pair) tlsio.Result { return p.client.Renegotiate() }},
		{"renegotiations of the server", TLS12, func(c, s *Config) { s.Renegotiation = true; limited(c) }, "client", func(p *pair) tlsio.Result { return p.server.Renegotiate() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := clientUpTo(tt.version), serverConfig("ecdsa")
			tt.change(&c, &s)
			p := pairOf(t, c, s).shaken()
			victim, flooder := p.server, p.client
			if tt.victim == "client" {
				victim, flooder = p.client, p.server
			}
			var err error
			rounds := 0
			for ; err == nil && rounds < 50; rounds++ {
				tt.flood(p) // refused while an earlier one is under way
				for range 6 {
					p.move(flooder, victim)
					if r := victim.Read(p.buf); r.Err != nil {
						err = r.Err
						break
					}
					p.move(victim, flooder)
					flooder.Peek(p.buf)
				}
			}
			_, ok := errors.AsType[*tlsio.Error](err)
			demand(t, ok && errors.Is(err, tlsio.ErrLimit), "after %d rounds: %v", rounds, err)
			p.move(victim, flooder)
			r := flooder.Read(p.buf)
			for r.N > 0 {
				r = flooder.Read(p.buf)
			}
			check(t, r.Err == io.EOF || errors.Is(r.Err, tlsio.AlertNoRenegotiation), "the flooder hears %+v", r)
		})
	}
}

// TestLimitEndsInput: what stands behind the message that is one too many is neither given out nor, but for what was read
// ahead, taken from the socket. Direct records are always read ahead.
func TestLimitEndsInput(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	s.MaxMessages = 5
	for _, ahead := range []bool{true, false} {
		s.NoReadAhead = !ahead
		a, b := readyEnds(t, "unix", false, mustClient(t, c), mustServer(t, s))
		cc, sc := a.c, b.c
		for range 6 {
			wants(t, "key update", cc.KeyUpdate(false), tlsio.WantNone)
		}
		send(t, cc, "data")
		r := sc.Read(b.readBuf)
		check(t, errors.Is(r.Err, tlsio.ErrLimit) && r.N == 0, "read ahead %v: %+v", ahead, r)
		left := tlstest.Value(unix.IoctlGetInt(sc.fd, unix.TIOCINQ))(t)
		equal(t, left == 0, ahead || testmain.Direct(), "read ahead %v: the socket is empty", ahead)
	}
}

// TestOwnRenegotiationsAreNotCounted: the limit is for what the peer begins.
func TestOwnRenegotiationsAreNotCounted(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.Renegotiation, s.Renegotiation, c.MaxVersion, s.MaxRenegotiations = true, true, TLS12, 2
	p := pairOf(t, c, s).shaken()
	for range 6 {
		tlstest.Must(t, p.server.Renegotiate().Err)
		for range 3 {
			p.finish()
		}
	}
}

// TestEmptyRecords: OpenSSL ends a flood of empty records itself, after 32 in a row (P36).
func TestEmptyRecords(t *testing.T) {
	p := newRecordPeers(t, gcmSuites[0]).connect(t, mustServer(t, serverConfig("ecdsa")))
	var r tlsio.Result
	n := 0
	for ; n < 1000 && r.Err == nil; n++ {
		p.server.Feed(p.data(""))
		r = p.server.Read(p.buf)
	}
	e, ok := errors.AsType[*tlsio.Error](r.Err)
	check(t, ok && e.Errno == 0 && e.Err == nil && e.AlertSide == tlsio.AlertSent && n == 33, "after %d empty records: %+v", n, r)
}

// TestHugeHello: a hello that announces more than OpenSSL takes (131,396 bytes) is refused when its header has come, and one
// of that size is not. This bounds what a peer makes a server allocate before anything is known of it.
func TestHugeHello(t *testing.T) {
	for _, tc := range []struct {
		announced int
		refused   bool
	}{{131396, false}, {131397, true}, {1<<24 - 1, true}} {
		c := engineConn(t, mustServer(t, serverConfig("ecdsa")), ConnConfig{})
		n := tc.announced
		c.Feed([]byte{22, 3, 1, 0, 5, 1, byte(n >> 16), byte(n >> 8), byte(n), 3})
		r := c.Handshake()
		if tc.refused {
			e, ok := errors.AsType[*tlsio.Error](r.Err)
			check(t, ok && e.AlertSide == tlsio.AlertSent && e.Reasons[0].Text == "excessive message size", "a hello of %d bytes: %v", n, r.Err)
		} else {
			wants(t, "a large hello", r, tlsio.WantRead)
		}
	}
}

// TestHugeChain: a client's certificate chain of more than 100 KiB is refused, before any of it is checked.
func TestHugeChain(t *testing.T) {
	leaf, other := testcerts.Read(t, "client.pem"), testcerts.Read(t, "root.pem")
	for _, tc := range []struct {
		extra   int
		refused bool
	}{{20, false}, {300, true}} {
		c, s := clientConfig(), serverConfig("ecdsa")
		c.Certificates = []Certificate{{ChainPEM: append(bytes.Clone(leaf), bytes.Repeat(other, tc.extra)...), KeyPEM: testcerts.Read(t, "client.key")}}
		s.Verify, s.CAPEM = VerifyRequire, other
		p := pairOf(t, c, s)
		var err error
		for done := false; !done && err == nil; {
			tlstest.Must(t, p.client.Handshake().Err)
			// A little at a time, since the server takes no more when it has refused.
			if n := p.client.Take(p.buf[:1000]); n > 0 {
				demand(t, p.server.Feed(p.buf[:n]) == n, "the server takes no more input")
			}
			r := p.server.Handshake()
			err, done = r.Err, r.Want == tlsio.WantNone
			if n := p.server.Take(p.buf); n > 0 {
				p.client.Feed(p.buf[:n])
			}
		}
		e, ok := errors.AsType[*tlsio.Error](err)
		check(t, ok == tc.refused && (!ok || e.Reasons[0].Text == "excessive message size"), "a chain with %d more certificates: %v", tc.extra, err)
	}
}

// TestRenegotiateAtCloseNotify: a server asks for a renegotiation while a part of the client's close_notify has come. The renegotiation,
// which begins with the next Write, makes OpenSSL forget the close_notify.
func TestRenegotiateAtCloseNotify(t *testing.T) {
	c, s := clientUpTo(TLS12), serverConfig("ecdsa")
	c.Renegotiation, s.Renegotiation = true, true
	p := pairOf(t, c, s).shaken()
	tlstest.Must(t, p.client.Shutdown().Err)
	sent := p.buf[:p.client.Take(p.buf)]
	equal(t, p.server.Feed(sent[:7]), 7, "fed")
	wants(t, "read", p.server.Read(make([]byte, 1)), tlsio.WantRead)
	p.server.Feed(sent[7:])
	tlstest.Must(t, p.server.Renegotiate().Err)
	tlstest.Must(t, p.server.Write([]byte("x")).Err)
	p.server.FeedEOF()
	equal(t, p.server.Read(make([]byte, 1)).Err, io.EOF, "the end")
}
