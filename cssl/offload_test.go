package cssl

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
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
		for deadline := time.Now().Add(time.Minute); live.Conns() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are left", live.Conns()-before)
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
			if !errors.Is(r.Err, tlsio.ErrState) {
				t.Errorf("%s: %+v", what, r)
			}
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
	if !asked || !slices.Contains(a.wants, tlsio.WantAsync) {
		t.Error(asked, a.wants)
	}
}
