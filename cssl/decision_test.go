package cssl

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
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
	demand(t, client == nil && server == nil, "client: %v, server: %v", client, server)
}

func failedWith(t testing.TB, err, want error) {
	t.Helper()
	demand(t, errors.Is(err, want), "error %v, want %v in it", err, want)
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
		demand(t, seen || woken.Load(), "%d: the decision is not seen, and the owner is not woken", i)
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
			equal(t, leaf(t, a.client).PublicKeyAlgorithm, x509.RSA, "the key of the other Context")
			check(t, seen.ServerName == "localhost" && slices.Equal(seen.ALPN, client.ALPN) && seen.Owner == "the server" &&
				len(seen.CipherSuites) > 0 && len(seen.Groups) > 0 && len(seen.SignatureAlgorithms) > 0 &&
				slices.Contains(seen.Versions, TLS13) == (v == TLS13) && seen.Raw[0] == 1, "%+v", seen)
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
		equal(t, leaf(t, a.client).PublicKeyAlgorithm, kind, "SNI for %s", name)
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
	fails(NewClientContext(config))(t, "a client's", "only a server")
	server := serverConfig("ecdsa")
	server.ClientHello = func(h *ClientHello) { h.Accept(mustClient(t, clientConfig())) }
	a := newAsked(t, false, mustClient(t, clientConfig()), mustServer(t, server))
	_, err := a.run()
	says(t, "a client's Context", err, "client's Context")
}

// TestHelloRetryRequest: the second ClientHello of a handshake asks nobody again.
func TestHelloRetryRequest(t *testing.T) {
	calls := 0
	config, client := serverConfig("ecdsa"), clientConfig()
	config.Groups, client.Groups = "P-384", "X25519:P-384"
	config.ClientHello = func(h *ClientHello) { calls++; h.Accept(nil) }
	a := newAsked(t, true, mustClient(t, client), mustServer(t, config))
	a.succeeds()
	check(t, calls == 1 && a.client.State().Group == "secp384r1", "asked %d times, group %s", calls, a.client.State().Group)
}

// TestDecideWithEarlyData: a decision that comes later goes together with early data; a server that works off its
// caller's goroutine takes none, and the connection is resumed all the same.
func TestDecideWithEarlyData(t *testing.T) {
	for offload, want := range map[bool]EarlyDataStatus{false: EarlyDataAccepted, true: EarlyDataRejected} {
		config := earlyServer(1000)
		config.ClientHello = func(h *ClientHello) { go h.Accept(nil) }
		config.Offload = offload
		cx, sx := mustClient(t, clientConfig()), mustServer(t, config)
		p := sendsEarly(t, cx, sx, ticketOf(t, cx, sx), string(tlstest.Bytes(500, 1)), want)
		check(t, p.server.State().Resumed, "not resumed")
	}
}

// TestCloseWhileAsked: a connection is closed while it waits; the decision comes later, for nobody.
func TestCloseWhileAsked(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		before := live.Conns()
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
			tlstest.Until(t, name+" is asked", func() bool {
				a.carry()
				noErrors(t, a.client.Handshake().Err, a.server.Handshake().Err)
				mu.Lock()
				defer mu.Unlock()
				return len(late) > 0
			})
			a.client.Close()
			a.server.Close()
			tlstest.IsError(t, "handshake", a.server.Handshake().Err, net.ErrClosed)
			for _, f := range late {
				f()
			}
			late = nil
		}
		tlstest.Until(t, "no connection is left", func() bool { return live.Conns() <= before })
	})
}

// TestOffload: handshakes on goroutines of their own, with everything that may not be done meanwhile.
func TestOffload(t *testing.T) {
	overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
		server, client := mutual(v)
		server.Offload, client.Offload = true, true
		server.Certificates[0] = testCertificate("big")
		a := newAsked(t, engine, mustClient(t, client), mustServer(t, server))
		wants(t, "the first step", a.client.Handshake(), tlsio.WantAsync)
		for what, got := range map[string]bool{
			"Take": a.client.Take(a.buf) > 0, "Unsent": a.client.Unsent() > 0,
			"hasPending": a.client.hasPending(), "FreeBuffers": a.client.FreeBuffers(),
			"ALPN": a.client.State().ALPN != "", "Negotiated": a.client.State().Version != 0,
		} {
			check(t, !got, "%s while a step is under way", what)
		}
		for what, r := range map[string]tlsio.Result{
			"Write": a.client.Write([]byte("x")), "Shutdown": a.client.Shutdown(), "KeyUpdate": a.client.KeyUpdate(true),
			"Renegotiate": a.client.Renegotiate(),
		} {
			badState(t, what, r)
		}
		r := a.client.Read(a.buf)
		check(t, r.Want == tlsio.WantAsync || r.Want == tlsio.WantRead, "Read: %+v", r)
		a.succeeds()
		check(t, slices.Contains(a.wants, tlsio.WantAsync), "wants %v", a.wants)
		check(t, a.server.State().Version == v, "%v", a.server.State())
	})
}

// TestOffloadEnds: the peer goes away while a step is under way, or sends what is no TLS.
func TestOffloadEnds(t *testing.T) {
	server := serverConfig("ecdsa")
	server.Offload = true
	x := mustServer(t, server)
	for name, say := range map[string][]byte{"nothing": nil, "noise": bytes.Repeat([]byte("noise"), 100)} {
		for _, engine := range transports {
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
			for r := a.server.Handshake(); r.Err == nil; r = a.server.Handshake() {
				if r.Want.Application() {
					tlstest.Receive(t, a.woken, name)
				}
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
	check(t, asked && slices.Contains(a.wants, tlsio.WantAsync), "%v, %v", asked, a.wants)
}

// TestHandshakerIsFreed: what a connection asked with goes when the Context that it got has nothing more to ask.
func TestHandshakerIsFreed(t *testing.T) {
	first, client := mutual(TLS13)
	first.VerifyPeer = func(v *PeerVerification) { v.Accept() }
	first.SNI = map[string]*Context{"localhost": mustServer(t, serverConfig("rsa"))}
	sx, cx := mustServer(t, first), mustClient(t, client)
	freed := make(chan struct{})
	func() {
		a := newAsked(t, false, cx, sx)
		owner := new([16]byte)
		runtime.AddCleanup(owner, func(int) { close(freed) }, 0)
		a.server.Bind(owner, a.server.hs.wake)
		a.succeeds()
		a.server.Close()
	}()
	tlstest.Until(t, "the owner of a closed connection is freed", func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	})
}

// TestHandshakerPSKRefused: a connection that asks or works off its owner's goroutine says as well as another that the keys differ.
func TestHandshakerPSKRefused(t *testing.T) {
	server, client := Config{PSKs: []PSK{psk("a", "1", "")}}, Config{PSKs: []PSK{psk("a", "2", "")}}
	server.Offload, client.Offload = true, true
	a := newAsked(t, false, mustClient(t, client), mustServer(t, server))
	cerr, serr := a.run()
	failedWith(t, cerr, tlsio.ErrPSK)
	failedWith(t, serr, tlsio.ErrPSK)
}

// TestOffloadWithoutTail: a step that may keep nothing for the socket still has to hand over what it says.
func TestOffloadWithoutTail(t *testing.T) {
	server, client := mutual(TLS13)
	for _, c := range []*Config{&server, &client} {
		c.Offload, c.Tail = true, -1
	}
	server.Certificates[0] = testCertificate("big")
	a := newAsked(t, false, mustClient(t, client), mustServer(t, server))
	a.succeeds()
}

// TestOffloadRequestCertificate: nothing of OpenSSL is looked at while a step is under way.
func TestOffloadRequestCertificate(t *testing.T) {
	server := serverConfig("ecdsa")
	server.Offload = true
	a := newAsked(t, true, mustClient(t, clientConfig()), mustServer(t, server))
	equal(t, a.server.Handshake().Want, tlsio.WantAsync, "handshake")
	badState(t, "RequestCertificate", a.server.RequestCertificate())
}

// TestOffloadUnsent: an end of our own direction is found by a handshake that has nothing to read.
func TestOffloadUnsent(t *testing.T) {
	for _, offload := range []bool{false, true} {
		client := clientConfig()
		client.Offload = offload
		a := newAsked(t, false, mustClient(t, client), mustServer(t, serverConfig("ecdsa")))
		tlstest.Must(t, a.client.CloseWrite())
		for {
			r := a.client.Handshake()
			if r.Err != nil {
				failedWith(t, r.Err, syscall.EPIPE)
				break
			}
			if r.Want == tlsio.WantRead {
				t.Errorf("offload %v: waits for an answer to what was not sent", offload)
				break
			}
			tlstest.Receive(t, a.woken, "the client")
		}
	}
}

// TestOffloadAbandoned: a step that has no place yet is left out when its connection is closed.
func TestOffloadAbandoned(t *testing.T) {
	before := live.Conns()
	config := serverConfig("ecdsa")
	config.Offload = true
	a := newAsked(t, true, mustClient(t, clientConfig()), mustServer(t, config))
	for range cap(places) {
		places <- struct{}{}
	}
	a.client.Handshake()
	a.carry()
	equal(t, a.server.Handshake().Want, tlsio.WantAsync, "handshake")
	step := a.server.hs.step
	a.server.Close()
	a.client.Close()
	for range cap(places) {
		<-places
	}
	tlstest.Until(t, "no connection is left", func() bool { return live.Conns() <= before })
	check(t, step.r.flags == 0, "the step was made")
}

// TestEarlyDataThenOffload: early data is given up for a Context, chosen by its name, whose handshakes are offloaded; no key is
// used on this goroutine.
func TestEarlyDataThenOffload(t *testing.T) {
	for _, v := range versions {
		inner, client := mutual(TLS13)
		inner.MaxVersion, client.MaxVersion, inner.MaxEarlyData = 0, v, 1000
		inner.VerifyPeer = func(v *PeerVerification) { go v.Accept() }
		config := earlyServer(1000)
		config.SNI = map[string]*Context{"localhost": mustServer(t, inner)}
		cx, sx := mustClient(t, client), mustServer(t, config)
		p := newPair(t, cx, sx)
		p.readEarly()
		p.handshake()
		if v == TLS12 {
			continue
		}
		p.finish()
		p = sendsEarly(t, cx, sx, p.client.Session(), string(tlstest.Bytes(500, 1)), EarlyDataRejected)
		check(t, p.server.State().Resumed, "not resumed")
	}
}

// TestOffloadedClientEarlyData: a client whose handshake is offloaded sends early data before it.
func TestOffloadedClientEarlyData(t *testing.T) {
	client := clientConfig()
	client.Offload = true
	cx, sx := mustClient(t, client), mustServer(t, earlyServer(1000))
	sendsEarly(t, cx, sx, ticketOf(t, cx, sx), string(tlstest.Bytes(500, 1)), EarlyDataAccepted)
}

// TestVerifyPeerUnreadable: a leaf of which the application could see nothing is refused without asking.
func TestVerifyPeerUnreadable(t *testing.T) {
	cert := newAuthority(t, "ca", nil, newKey(t)).issue(x509.Certificate{SerialNumber: big.NewInt(0x7171717171)})
	block, _ := pem.Decode(cert.ChainPEM)
	block.Bytes[bytes.Index(block.Bytes, []byte("qqqqq"))] = 0x81 // crypto/x509 takes no negative number, OpenSSL does
	fails(x509.ParseCertificate(block.Bytes))(t, "crypto/x509 takes it")
	cert.ChainPEM = pem.EncodeToMemory(block)
	server := Config{Certificates: []Certificate{cert}}
	client := clientConfig()
	client.Verify, client.VerifyPeer = VerifyApplication, func(v *PeerVerification) {
		t.Errorf("asked about %d certificates", len(v.Sent))
		v.Accept()
	}
	a := newAsked(t, false, mustClient(t, client), mustServer(t, server))
	cerr, serr := a.run()
	failedWith(t, cerr, tlsio.AlertBadCertificate)
	failedWith(t, serr, tlsio.AlertBadCertificate)
	check(t, strings.Contains(cerr.Error(), "serial number"), "%v", cerr)
}
