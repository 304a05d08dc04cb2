package cssl

/*
#include "decide.h"
#include "conn.h"
#include <openssl/x509_vfy.h>
*/
import "C"

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime/cgo"
	"sync"
	"time"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/hostname"
	"github.com/spacemonad/go-openssl/internal/sessionid"
)

// ErrDecisionTimeout: neither Accept nor Refuse was called within Config.DecisionTimeout.
var ErrDecisionTimeout = errors.New("the application did not decide in time")

// ErrCallbackPanic: the callback that was to decide panicked.
var ErrCallbackPanic = errors.New("the application's callback panicked")

// errRefused is of a Refuse without a reason.
var errRefused = errors.New("refused by the application")

func refusal(err error) error {
	if err == nil {
		return errRefused
	}
	return err
}

// PeerVerification is a peer's certificate that the application decides about: see [Config.VerifyPeer]. One of Accept and Refuse
// must be called, once, by the callback or later by any goroutine; what comes after the first is ignored.
type PeerVerification struct {
	// Sent is what the peer sent, leaf first. What crypto/x509 cannot parse ends the list, and Err says so; a leaf
	// that it cannot parse is refused without asking.
	Sent []*x509.Certificate
	// Chain is the way from the leaf to a trusted CA; nil if OpenSSL found none.
	Chain []*x509.Certificate
	// Err is nil if OpenSSL found the certificate valid and all of it could be parsed. OpenSSL's opinion can be another one with
	// VerifyApplication alone.
	Err error
	// ServerName is the name that the client asked for, or empty.
	ServerName string
	// Owner is what Conn.Bind was given.
	Owner any

	decision *decision
}

// Accept goes on with the handshake.
func (v *PeerVerification) Accept() { v.decision.decide(nil, nil) }

// Refuse ends the handshake. The connection's error has err in it; the alert is the [Alert] in err if it is one of those about certificates
// (42 to 48), or else bad_certificate.
func (v *PeerVerification) Refuse(err error) { v.decision.decide(nil, refusal(err)) }

// decision is one that the application makes, at once or later.
type decision struct {
	done chan struct{} // closed when it is made

	mu    sync.Mutex
	made  bool
	x     *Context
	err   error
	wake  func() // who waits, once somebody does
	timer *time.Timer
}

// decide makes the decision, if it was not made.
func (d *decision) decide(x *Context, err error) {
	d.mu.Lock()
	if d.made {
		d.mu.Unlock()
		return
	}
	d.made, d.x, d.err = true, x, err
	if d.timer != nil {
		d.timer.Stop()
	}
	wake := d.wake
	close(d.done) // under the lock: ask must not find it made, and its caller then not
	d.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// cancel makes the decision for a connection that was closed, and wakes nobody but who waits for done.
func (d *decision) cancel() {
	d.mu.Lock()
	d.wake = nil
	d.mu.Unlock()
	d.decide(nil, net.ErrClosed)
}

func (d *decision) isMade() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// ask calls the application, and answers whether it has decided. If not, wake is called when it has, by another goroutine. wake may be nil.
func ask(what string, timeout time.Duration, wake func(), call func(d *decision)) (*decision, bool) {
	d := &decision{done: make(chan struct{})}
	func() {
		defer func() {
			if v := recover(); v != nil {
				d.decide(nil, fmt.Errorf("%s: %w: %v", what, ErrCallbackPanic, v))
			}
		}()
		call(d)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.made {
		d.wake = wake
		d.timer = time.AfterFunc(timeout, func() { d.decide(nil, fmt.Errorf("%s: %w", what, ErrDecisionTimeout)) })
	}
	return d, d.made
}

// asking is what a Conn whose Context asks the application, or works off the caller's goroutine, has besides.
type asking struct {
	c     *C.cssl_conn
	st    *contextState // of the Context that is in use
	owner any
	wake  func()

	hello   *decision
	name    string // that the client asked for
	peer    *decision
	refused error // why the application ended the handshake

	over    bool // the first handshake is done
	offload bool
	early   bool // early data is being read: the handshake goes on there
	job     *job
	hungry  bool       // the last step wants to read
	in      []byte     // fed meanwhile
	room    int        // for in
	eof     bool       // FeedEOF came meanwhile
	ended   bool       // CloseWrite came meanwhile
	handle  cgo.Handle // for cssl_go_verify, or 0
}

// Bind says who owns c and how to wake it. wake is called, from any goroutine, when an operation that answered a [Want.Application] is to be called
// again: it must not call c itself. owner is passed on to the application's callbacks. Bind must be called before the first
// operation; without it such a wait ends only when the owner tries again.
func (c *Conn) Bind(owner any, wake func()) {
	if c.Asks() {
		c.ask.owner, c.ask.wake = owner, wake
	}
}

// Asks reports whether operations of c may answer a [Want.Application]. Then its owner calls Bind.
func (c *Conn) Asks() bool { return c.ask != nil }

func (a *asking) wakeOwner() {
	if a.wake != nil {
		a.wake()
	}
}

// decided deals with an operation that answered w, and reports whether it is to be tried again at once.
func (c *Conn) decided(w Want) bool {
	switch {
	case c.ask == nil:
	case w == WantClientHello:
		return c.ask.decideHello()
	case w == WantRetryVerify:
		return c.ask.decidePeer()
	}
	return false
}

// decideHello asks which Context it is to be.
func (a *asking) decideHello() bool {
	d := C.cssl_conn_decisions(a.c)
	if a.hello == nil {
		h := parseHello(blob(d.message))
		h.Owner, a.name = a.owner, h.ServerName
		a.hello, _ = ask("client hello", a.st.timeout, a.wakeOwner, func(d *decision) {
			h.decision = d
			if a.st.clientHello == nil {
				h.Accept(nil)
				return
			}
			a.st.clientHello(h)
		})
	}
	if !a.hello.isMade() {
		return false
	}
	chosen, err := a.choose()
	if err == nil {
		a.separate()
		d.hello, d.chosen = C.CSSL_ACCEPTED, chosen
		other := chosen != nil && chosen != C.SSL_get_SSL_CTX(C.cssl_conn_ssl(a.c))
		d.named = C.uchar(cbool(other && a.name != ""))
		return true
	}
	a.refused = err
	d.hello, d.alert = C.CSSL_REFUSED, C.SSL_AD_HANDSHAKE_FAILURE
	var alert Alert
	if errors.As(err, &alert) {
		d.alert = C.int(alert)
	}
	return true
}

// choose answers the SSL_CTX that was decided for, with a reference; nil to leave it as it is.
func (a *asking) choose() (chosen *C.SSL_CTX, err error) {
	x, err := a.hello.x, a.hello.err
	switch {
	case err != nil:
	case x == nil:
		if e, ok := a.st.lookup(a.name); ok {
			chosen = e.ptr
			C.SSL_CTX_up_ref(chosen)
			a.use(e.state)
		}
	case !x.server:
		err = errors.New("client hello: accepted with a client's Context")
	case x.state.lib != a.st.lib:
		err = errors.New("client hello: accepted with a Context of another Library")
	default:
		if err = x.use(func(p *C.SSL_CTX) { chosen = p; C.SSL_CTX_up_ref(p) }); err == nil {
			a.use(x.state)
		}
	}
	return chosen, err
}

// separate makes sessions with a VerifyPeer good for the name alone that the client asks for: for other names it may be another
// function, which nobody would ask.
func (a *asking) separate() {
	if a.st.verifyPeer == nil {
		return
	}
	C.cssl_conn_decisions(a.c).separated = 1
	own := C.GoBytes(unsafe.Pointer(&a.st.sessionID[0]), C.int(len(a.st.sessionID)))
	id := sessionid.ForName(own, hostname.Key(a.name))
	C.SSL_set_session_id_context(C.cssl_conn_ssl(a.c), (*C.uchar)(&id[0]), C.uint(len(id))) // fails if it is longer alone
}

// use makes the settings of a Context those that are in use.
func (a *asking) use(st *contextState) {
	a.st = st
	a.offload = a.offload || st.offload
	if st.verifyPeer != nil && a.handle == 0 && C.SSL_is_server(C.cssl_conn_ssl(a.c)) == 1 {
		a.handle = cgo.NewHandle(a)
		C.cssl_conn_decisions(a.c).handle = C.uintptr_t(a.handle)
	}
}

// decidePeer asks about a server's certificate.
func (a *asking) decidePeer() bool {
	d := C.cssl_conn_decisions(a.c)
	if a.peer == nil {
		a.peer, _ = a.askPeer(d, a.wakeOwner)
	}
	if !a.peer.isMade() {
		return false
	}
	a.answerPeer(d, a.peer.err)
	a.peer = nil // a renegotiation asks anew
	return true
}

func (a *asking) askPeer(d *C.cssl_decisions, wake func()) (*decision, bool) {
	v := &PeerVerification{Owner: a.owner,
		ServerName: C.GoString(C.SSL_get_servername(C.cssl_conn_ssl(a.c), C.TLSEXT_NAMETYPE_host_name))}
	if d.verdict != C.X509_V_OK {
		v.Err = errors.New(verifyText(C.long(d.verdict)))
	}
	var err, unreadable error
	if v.Sent, unreadable = parseChain(blob(d.sent)); v.Err == nil {
		v.Err = unreadable
	}
	if v.Chain, err = parseChain(blob(d.valid)); err != nil && v.Err == nil {
		v.Err = err
	}
	return ask("verification", a.st.timeout, wake, func(d *decision) {
		v.decision = d
		if len(v.Sent) == 0 {
			v.Refuse(unreadable) // nobody could say whose it is
			return
		}
		a.st.verifyPeer(v)
	})
}

// answerPeer leaves the decision for OpenSSL.
func (a *asking) answerPeer(d *C.cssl_decisions, err error) {
	if d.peer = C.CSSL_ACCEPTED; err != nil {
		a.refused = err
		d.peer, d.peer_error = C.CSSL_REFUSED, verifyErrorOf(err)
	}
}

// verifyErrorOf is the error of OpenSSL's that leads to the alert in err.
func verifyErrorOf(err error) C.int {
	var alert Alert
	if errors.As(err, &alert) {
		switch alert {
		case 43:
			return C.X509_V_ERR_INVALID_PURPOSE
		case 44:
			return C.X509_V_ERR_CERT_REVOKED
		case 45:
			return C.X509_V_ERR_CERT_HAS_EXPIRED
		case 46:
			return C.X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION
		case 48:
			return C.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
		}
	}
	return C.X509_V_ERR_CERT_REJECTED
}

func blob(b C.cssl_blob) []byte { return C.GoBytes(unsafe.Pointer(b.p), C.int(b.len)) }

// parseChain parses certificates that each stand behind their length.
func parseChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for len(b) > 4 {
		size := int(binary.BigEndian.Uint32(b))
		if size > len(b)-4 {
			return chain, errors.New("peer chain: OpenSSL gave a certificate of impossible length")
		}
		cert, err := x509.ParseCertificate(b[4 : 4+size])
		if err != nil {
			return chain, fmt.Errorf("peer chain: certificate %d: %w", len(chain), err)
		}
		chain = append(chain, cert)
		b = b[4+size:]
	}
	return chain, nil
}

var errCannotWait = errors.New("outside of the first handshake a server's VerifyPeer has to decide at once")

// cssl_go_verify asks about a client's certificate, inside a call of OpenSSL that cannot be suspended. In the first handshake that runs on a
// goroutine of its own, which can wait here.
//
//export cssl_go_verify
func cssl_go_verify(handle C.uintptr_t) {
	a := cgo.Handle(handle).Value().(*asking)
	d := C.cssl_conn_decisions(a.c)
	p, made := a.askPeer(d, nil)
	switch {
	case made:
	case a.job == nil:
		p.decide(nil, errCannotWait)
	default:
		a.job.wait(p)
	}
	a.answerPeer(d, p.err)
}

// close ends what is waited for. The owner is not woken.
func (a *asking) close() {
	for _, d := range []*decision{a.hello, a.peer} {
		if d != nil {
			d.cancel()
		}
	}
}

// free frees the connection and what belongs to it. It may run on any goroutine.
func (a *asking) free() {
	C.cssl_conn_free(a.c)
	a.release()
	conns.Add(-1)
}

// release lets go of what only cssl_go_verify needs.
func (a *asking) release() {
	if a.handle != 0 {
		a.handle.Delete()
		a.handle = 0
	}
}
