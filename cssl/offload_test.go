package cssl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"runtime"
	"strings"

	"bytes"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

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
			if r := a.server.Handshake(); !errors.Is(r.Err, net.ErrClosed) {
				t.Error(r)
			}
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
		if r := a.client.Handshake(); r.Want != tlsio.WantAsync {
			t.Fatalf("the first step answered %+v", r)
		}
		for what, got := range map[string]bool{
			"Take": a.client.Take(a.buf) > 0, "Unsent": a.client.Unsent() > 0,
			"hasPending": a.client.hasPending(), "FreeBuffers": a.client.FreeBuffers(),
			"ALPN": a.client.State().ALPN != "", "Negotiated": a.client.State().Version != 0,
		} {
			if got {
				t.Errorf("%s while a step is under way", what)
			}
		}
		for what, r := range map[string]tlsio.Result{
			"Write": a.client.Write([]byte("x")), "Shutdown": a.client.Shutdown(), "KeyUpdate": a.client.KeyUpdate(true),
			"Renegotiate": a.client.Renegotiate(),
		} {
			badState(t, what, r)
		}
		if r := a.client.Read(a.buf); r.Want != tlsio.WantAsync && r.Want != tlsio.WantRead {
			t.Errorf("Read: %+v", r)
		}
		a.succeeds()
		if !slices.Contains(a.wants, tlsio.WantAsync) {
			t.Errorf("wants %v", a.wants)
		}
		if a.server.State().Version != v {
			t.Error(a.server.State())
		}
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
	if !asked || !slices.Contains(a.wants, tlsio.WantAsync) {
		t.Error(asked, a.wants)
	}
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
	if r := a.server.Handshake(); r.Want != tlsio.WantAsync {
		t.Fatal(r)
	}
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
	if r := a.server.Handshake(); r.Want != tlsio.WantAsync {
		t.Error(r)
	}
	step := a.server.hs.step
	a.server.Close()
	a.client.Close()
	for range cap(places) {
		<-places
	}
	tlstest.Until(t, "no connection is left", func() bool { return live.Conns() <= before })
	if step.r.flags != 0 {
		t.Error("the step was made")
	}
}

// TestEarlyDataThenOffload: early data is given up for a Context, chosen by its name, whose handshakes are offloaded; no key is used on this goroutine.
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
		if !p.server.State().Resumed {
			t.Error("not resumed")
		}
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
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(0x7171717171), NotAfter: time.Now().Add(time.Hour)}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	der[bytes.Index(der, []byte("qqqqq"))] = 0x81 // crypto/x509 takes no negative number, OpenSSL does
	if _, err := x509.ParseCertificate(der); err == nil {
		t.Fatal("crypto/x509 takes it")
	}
	pkcs8 := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(t)
	server := serverConfig("ecdsa")
	server.Certificates = []Certificate{{ChainPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}}
	client := clientConfig()
	client.Verify, client.VerifyPeer = VerifyApplication, func(v *PeerVerification) {
		t.Errorf("asked about %d certificates", len(v.Sent))
		v.Accept()
	}
	a := newAsked(t, false, mustClient(t, client), mustServer(t, server))
	cerr, serr := a.run()
	failedWith(t, cerr, tlsio.AlertBadCertificate)
	failedWith(t, serr, tlsio.AlertBadCertificate)
	if !strings.Contains(cerr.Error(), "serial number") {
		t.Error(cerr)
	}
}
