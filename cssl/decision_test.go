package cssl

import (
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// asked are a client and a server whose operations may wait for the application.
type asked struct {
	t              testing.TB
	client, server *Conn
	woken          chan struct{}
	wants          []tlsio.Want // of the application that were answered
	engine         bool
	buf            []byte
	rest           [2][]byte // taken and not yet fed, to the server and to the client
}

// transports join a client and a server, over a socket and in engine mode.
var transports = map[string]bool{"socket": false, "engine": true}

func newAsked(t testing.TB, engine bool, client, server *Context) *asked {
	t.Helper()
	a := &asked{t: t, woken: make(chan struct{}, 100), engine: engine, buf: make([]byte, 1<<16)}
	a.client, a.server = a.connect(client, server)
	a.client.Bind("the client", func() { a.woken <- struct{}{} })
	a.server.Bind("the server", func() { a.woken <- struct{}{} })
	return a
}

func (a *asked) connect(client, server *Context) (c, s *Conn) {
	if a.engine {
		p := newPair(a.t, client, server)
		return p.client, p.server
	}
	x, y := socketEnds(a.t, "unix", false, client, server)
	return x.c, y.c
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
			var r tlsio.Result
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
			if r.Err == nil && r.Want == tlsio.WantNone {
				steps[i]++
			}
			progress = progress || r.Err != nil || r.Want == tlsio.WantNone || r.In || r.Out
			c.Flush()
		}
		if progress {
			continue
		}
		tlstest.Receive(a.t, a.woken, fmt.Sprintf("a wake-up; steps %v, errors %v, wants %v", steps, errs, a.wants))
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
		for _, v := range versions {
			t.Run(fmt.Sprint(name, " ", v), func(t *testing.T) { test(t, engine, v) })
		}
	}
}

// mutual is a server that wants a certificate, and the client that has one.
func mutual(v TLSVersion) (server, client Config) {
	server, client = serverConfig("ecdsa"), clientConfig()
	server.CAFile, server.Verify = testcerts.Path("root.pem"), VerifyRequire
	client.Certificates = serverConfig("client").Certificates
	server.MaxVersion, client.MaxVersion = v, v
	return server, client
}

// TestDecisionAtOnce: a decision that comes while the callback returns is seen at once, or wakes its owner.
func TestDecisionAtOnce(t *testing.T) {
	var given atomic.Pointer[decision]
	var ended atomic.Bool
	var decided atomic.Int64
	defer ended.Store(true)
	go func() {
		for !ended.Load() {
			if d := given.Swap(nil); d != nil {
				d.decide(nil, nil)
				decided.Add(1)
			} else {
				runtime.Gosched()
			}
		}
	}()
	for i := range 200_000 {
		var woken atomic.Bool
		d := ask("test", time.Hour, func() { woken.Store(true) }, func(d *decision) {
			given.Store(d)
			for range i % 200 { // the other goroutine is as far as that
				_ = given.Load()
			}
		})
		seen := d.isMade()
		for decided.Load() <= int64(i) {
			runtime.Gosched()
		}
		if !seen && !woken.Load() {
			t.Fatalf("%d: the decision is not seen, and the owner is not woken", i)
		}
	}
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
			chain, err := a.client.State().PeerCertificates()
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
		if chain, err := a.client.State().PeerCertificates(); err != nil || chain[0].PublicKeyAlgorithm != kind {
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
			alert  tlsio.Alert
		}{
			"at once":          {func(h *ClientHello) { h.Refuse(mine); h.Accept(nil) }, mine, 40},
			"later":            {func(h *ClientHello) { go h.Refuse(mine) }, mine, 40},
			"with an alert":    {func(h *ClientHello) { h.Refuse(fmt.Errorf("%w: %w", mine, tlsio.AlertUnrecognizedName)) }, mine, 112},
			"without a reason": {func(h *ClientHello) { h.Refuse(nil) }, errRefused, 40},
			"panic":            {func(h *ClientHello) { panic("oops") }, ErrCallbackPanic, 40},
			"late":             {func(h *ClientHello) {}, ErrDecisionTimeout, 40},
			"closed Context":   {func(h *ClientHello) { h.Accept(closed) }, errContextClosed, 40},
		} {
			config := serverConfig("ecdsa")
			config.ClientHello, config.DecisionTimeout = c.decide, time.Minute
			if name == "late" {
				config.DecisionTimeout = time.Millisecond
			}
			a := newAsked(t, engine, mustClient(t, clientUpTo(v)), mustServer(t, config))
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
	if calls != 1 || a.client.State().Group != "secp384r1" {
		t.Errorf("asked %d times, group %s", calls, a.client.State().Group)
	}
}

// TestDecideWithEarlyData: a decision that comes later goes together with early data; a server that works off its caller's goroutine takes none, and
// the connection is resumed all the same.
func TestDecideWithEarlyData(t *testing.T) {
	for _, offload := range []bool{false, true} {
		config := earlyServer(1000)
		config.ClientHello = func(h *ClientHello) { go h.Accept(nil) }
		config.Offload = offload
		cx, sx := mustClient(t, clientConfig()), mustServer(t, config)
		p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
		data, want := tlstest.Bytes(500, 1), EarlyDataAccepted
		p.writeEarly(data)
		p.readEarly()
		if offload {
			data, want = nil, EarlyDataRejected
		}
		sameBytes(t, "early data", p.early, data)
		p.handshake()
		p.checkEarly(want)
		if !p.server.State().Resumed {
			t.Error("not resumed")
		}
	}
}
