package cssl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

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
	server.Certificates[0] = Certificate{ChainFile: testcerts.Path("big.pem"), KeyFile: testcerts.Path("big.key")}
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
	r := a.server.RequestCertificate()
	var e *tlsio.Error
	if !errors.As(r.Err, &e) || e.Err != tlsio.ErrState {
		t.Error(r.Err)
	}
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
			<-a.woken
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
	for live.Conns() > before {
		runtime.Gosched()
	}
	if step.r.flags != 0 {
		t.Error("the step was made")
	}
}

// TestEarlyDataThenOffload: early data is given up for a Context, chosen by its name, whose handshakes are offloaded; no key is used on this goroutine.
func TestEarlyDataThenOffload(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
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
		p = earlyPair(t, cx, sx, p.client.Session())
		p.writeEarly(tlstest.Bytes(500, 1))
		p.readEarly()
		sameBytes(t, "early data", p.early, nil)
		p.handshake()
		p.checkEarly(EarlyDataRejected)
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
	p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
	data := tlstest.Bytes(500, 1)
	p.writeEarly(data)
	p.readEarly()
	sameBytes(t, "early data", p.early, data)
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
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
