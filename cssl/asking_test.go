package cssl

import (
	"errors"
	"runtime"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// TestAskingIsFreed: what a connection asked with goes when the Context that it got has nothing more to ask.
func TestAskingIsFreed(t *testing.T) {
	first, client := mutual(TLS13)
	first.VerifyPeer = func(v *PeerVerification) { v.Accept() }
	first.SNI = map[string]*Context{"localhost": mustServer(t, serverConfig("rsa"))}
	sx, cx := mustServer(t, first), mustClient(t, client)
	freed := make(chan struct{})
	func() {
		a := newAsked(t, false, cx, sx)
		owner := new([16]byte)
		runtime.AddCleanup(owner, func(int) { close(freed) }, 0)
		a.server.Bind(owner, a.server.ask.wake)
		a.succeeds()
		a.server.Close()
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("the owner of a closed connection is still held")
}

// TestAskingPSKRefused: a connection that asks or works off its owner's goroutine says as well as another that the keys differ.
func TestAskingPSKRefused(t *testing.T) {
	server, client := Config{PSKs: []PSK{psk("a", "1", "")}}, Config{PSKs: []PSK{psk("a", "2", "")}}
	server.Offload, client.Offload = true, true
	a := newAsked(t, false, mustClient(t, client), mustServer(t, server))
	cerr, serr := a.run()
	failedWith(t, cerr, ErrPSK)
	failedWith(t, serr, ErrPSK)
}

// TestOffloadWithoutTail: a step that may keep nothing for the socket still has to hand over what it says.
func TestOffloadWithoutTail(t *testing.T) {
	server, client := mutual(TLS13)
	for _, c := range []*Config{&server, &client} {
		c.Offload, c.Tail = true, -1
	}
	server.Certificates[0] = Certificate{ChainFile: testcerts.Path("big.pem"), KeyFile: testcerts.Path("big.key")}
	a := newAsked(t, false, mustClient(t, client), mustServer(t, server))
	a.succeeds()
}

// TestOffloadRequestCertificate: nothing of OpenSSL is looked at while a step is under way.
func TestOffloadRequestCertificate(t *testing.T) {
	server := serverConfig("ecdsa")
	server.Offload = true
	a := newAsked(t, true, mustClient(t, clientConfig()), mustServer(t, server))
	if r := a.server.Handshake(); r.Want != WantAsync {
		t.Fatal(r)
	}
	r := a.server.RequestCertificate()
	var e *Error
	if !errors.As(r.Err, &e) || e.Err != ErrState {
		t.Error(r.Err)
	}
}

// TestOffloadUnsent: an end of our own direction is found by a handshake that has nothing to read.
func TestOffloadUnsent(t *testing.T) {
	for _, offload := range []bool{false, true} {
		client := clientConfig()
		client.Offload = offload
		a := newAsked(t, false, mustClient(t, client), mustServer(t, serverConfig("ecdsa")))
		if err := a.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for {
			r := a.client.Handshake()
			if r.Err != nil {
				failedWith(t, r.Err, syscall.EPIPE)
				break
			}
			if r.Want == WantRead {
				t.Errorf("offload %v: waits for an answer to what was not sent", offload)
				break
			}
			<-a.woken
		}
	}
}

// TestOffloadAbandoned: a step that has no place yet is left out when its connection is closed.
func TestOffloadAbandoned(t *testing.T) {
	before := Live()
	config := serverConfig("ecdsa")
	config.Offload = true
	a := newAsked(t, true, mustClient(t, clientConfig()), mustServer(t, config))
	for range cap(places) {
		places <- struct{}{}
	}
	a.client.Handshake()
	a.carry()
	if r := a.server.Handshake(); r.Want != WantAsync {
		t.Error(r)
	}
	step := a.server.ask.job
	a.server.Close()
	a.client.Close()
	for range cap(places) {
		<-places
	}
	for Live() > before {
		runtime.Gosched()
	}
	if step.r.flags != 0 {
		t.Error("the step was made")
	}
}
