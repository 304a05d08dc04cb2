package cssl

/*
#include "decide.h"
#include "conn.h"

// These never call Go and keep no pointer.
#cgo noescape cssl_detach
#cgo nocallback cssl_detach
#cgo noescape cssl_attach
#cgo nocallback cssl_attach
*/
import "C"

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/cgo"
	"sync"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/hostname"
	"github.com/spacemonad/go-openssl/internal/sessionid"
	"github.com/spacemonad/go-openssl/tlsio"
)

// handshaker runs the first handshake of a connection that may wait for the
// application (Config.ClientHello, SNI, VerifyPeer, VerifyConnection), or whose
// handshake runs on another goroutine than its owner's (Config.Offload, slow
// keys), or calls Config.Extensions. Other connections have none. After the
// first handshake it stays only for VerifyPeer and Extensions, which a
// renegotiation calls again, and for what Extensions have left in State.
type handshaker struct {
	c     *C.cssl_conn
	st    *contextState // of the Context that is in use
	owner any           // see Bind; wake too
	wake  func()

	phase   phase
	offload bool
	step    *step      // in phaseWorking
	pending *decision  // of the application, until applied; nil if none
	want    tlsio.Want // what pending is about

	name     string                // of the ClientHello
	peer     string                // that a client verifies
	chains   [][]*x509.Certificate // that the application has verified
	leaf     []byte                // hash of the certificate that a renegotiation may not change
	done     tlsio.Result          // of the handshake, in phaseConfirming
	refused  error                 // why the application ended the handshake
	value    any                   // of the Extensions
	encrypts bool                  // it sends an Encrypted Client Hello
	handle   cgo.Handle            // for cssl_go_verify and the Extensions, or 0
}

// phase says what the next call of firstHandshake does, and who may use the
// SSL.
//
//	ready ──► done
//	ready ──► deciding ──► ready
//	ready, starved ──► working ──► ready, starved
//	ready ──► confirming ──► done
type phase uint8

const (
	// phaseReady: it calls OpenSSL, here or on another goroutine.
	phaseReady phase = iota
	// phaseStarved is phaseReady after an offloaded step that wants input: the
	// next step waits until there is some.
	phaseStarved
	// phaseWorking: a step runs on its own goroutine, and only that goroutine
	// may use the SSL. A server's VerifyPeer is called there.
	phaseWorking
	// phaseDeciding: OpenSSL has suspended the handshake until pending is
	// decided.
	phaseDeciding
	// phaseConfirming: OpenSSL's part is done, and Config.VerifyConnection
	// decides.
	phaseConfirming
	// phaseDone: the first handshake is done, and firstHandshake is not called
	// any more. A renegotiation that waits for pending is in this phase too:
	// each operation then calls OpenSSL, which returns the want.
	phaseDone
)

// newHandshaker returns the handshaker of a new connection, or nil if it needs
// none.
func newHandshaker(c *C.cssl_conn, st *contextState) *handshaker {
	if !st.asks {
		return nil
	}
	h := &handshaker{c: c}
	h.use(st)
	return h
}

// first reports whether a handshaker still runs the first handshake.
func (c *Conn) first() bool { return c.hs != nil && c.hs.phase != phaseDone }

// usable reports whether the SSL exists and the owner may use it.
func (c *Conn) usable() bool { return c.c != nil && (c.hs == nil || c.hs.phase != phaseWorking) }

// Bind sets how to wake the owner of c. When an operation that returned a want
// for the application ([tlsio.Want].Application) can be called again, wake is
// called, on any goroutine; wake must not call methods of c. owner is passed to
// the application's callbacks ([ClientHello].Owner, [PeerVerification].Owner).
// Call Bind before the first operation. Without it, the owner must poll by
// repeating the operation.
func (c *Conn) Bind(owner any, wake func()) {
	if c.Asks() {
		c.hs.owner, c.hs.wake = owner, wake
	}
}

// Asks reports whether operations of c may return a want for the application
// ([tlsio.Want].Application). If so, its owner calls Bind.
func (c *Conn) Asks() bool { return c.hs != nil }

func (h *handshaker) wakeOwner() {
	if h.wake != nil {
		h.wake()
	}
}

// firstHandshake is Handshake while a handshaker runs the handshake.
func (c *Conn) firstHandshake() tlsio.Result {
	h := c.hs
	var moved C.uint32_t // by all steps
	for {
		var r C.cssl_result
		var wait tlsio.Want
		again := false
		switch h.phase {
		case phaseDeciding:
			if again = h.settle(); !again {
				wait = h.want
			}
		case phaseConfirming:
			if !h.pending.isMade() {
				out := h.done
				out.Want, out.Unsent = h.want, out.Unsent && c.Unsent() > 0
				h.done.In, h.done.Out = false, false // each is reported once
				return out
			}
			return c.confirmed()
		case phaseWorking:
			if r, wait = h.step.result(); wait == tlsio.WantNone {
				r = h.stop(r)
				// The transport may have become ready for this want meanwhile,
				// and reported it.
				again = r.code == C.SSL_ERROR_WANT_READ || r.code == C.SSL_ERROR_WANT_WRITE && r.flags&C.CSSL_UNSENT == 0
			}
		default:
			if !h.offload {
				r = C.cssl_handshake(h.c)
			} else if r = C.cssl_detach(h.c, cbool(h.phase == phaseStarved)); r.code == C.SSL_ERROR_NONE {
				h.start()
				wait = tlsio.WantAsync
			}
		}
		moved |= r.flags & (C.CSSL_MOVED_IN | C.CSSL_MOVED_OUT)
		if again {
			continue
		}
		if wait != tlsio.WantNone {
			return tlsio.Result{Want: wait, In: moved&C.CSSL_MOVED_IN != 0, Out: moved&C.CSSL_MOVED_OUT != 0}
		}
		r.flags |= moved
		out := c.result(tlsio.OpHandshake, r)
		if h.decide(out.Want) {
			continue
		}
		switch {
		case h.pending != nil && out.Want == h.want:
			h.phase = phaseDeciding
		case out.Want == tlsio.WantNone && out.Err == nil && h.st.verifyConnection != nil:
			h.phase, h.done = phaseConfirming, out
			h.want, h.pending = tlsio.WantRetryVerify, h.askConnection(c)
			moved = 0
			continue
		case out.Want == tlsio.WantNone && out.Err == nil:
			c.firstDone()
		}
		return out
	}
}

// firstDone ends the first handshake.
func (c *Conn) firstDone() {
	h := c.hs
	h.phase = phaseDone
	if ssl := c.ssl(); h.leaf == nil && ssl != nil && C.SSL_version(ssl) < C.TLS1_3_VERSION && h.st.verifyPeer != nil {
		h.leaf = leafSum(c.State().peer) // of a resumed session
	}
	if h.st.verifyPeer == nil && (len(h.st.extensions) == 0 || c.ssl() == nil) {
		h.release()
		if h.value == nil {
			c.hs = nil
		}
	}
}

// askConnection calls Config.VerifyConnection.
func (h *handshaker) askConnection(c *Conn) *decision {
	v := &ConnectionVerification{State: c.State(), Owner: h.owner, Server: c.server}
	return ask("verification", h.st.timeout, h.wakeOwner, func(d *decision) {
		v.decision = d
		h.st.verifyConnection(v)
	})
}

// confirmed applies the decision of Config.VerifyConnection. It returns the
// result of the handshake.
func (c *Conn) confirmed() tlsio.Result {
	h := c.hs
	out, err := h.done, h.pending.err
	out.Unsent = out.Unsent && c.Unsent() > 0
	h.pending, h.done = nil, tlsio.Result{}
	if err != nil {
		c.fatal = &tlsio.Error{Op: tlsio.OpHandshake, Err: err}
		return tlsio.Result{Err: c.fatal}
	}
	c.firstDone()
	return out
}

// decide calls the application if the want w needs its decision and it was not
// called yet. It returns true if the application has decided: then the
// operation is repeated at once.
func (h *handshaker) decide(w tlsio.Want) bool {
	switch {
	case w != tlsio.WantClientHello && w != tlsio.WantRetryVerify:
		return false
	case h.pending != nil:
	case w == tlsio.WantClientHello:
		h.want, h.pending = w, h.askHello()
	default:
		h.want, h.pending = w, h.askPeer(h.wakeOwner)
	}
	return h.settle()
}

// settle passes a decision to OpenSSL, which uses it when it is called again.
// It returns false while the decision is not made.
func (h *handshaker) settle() bool {
	d := h.pending
	if !d.isMade() {
		return false
	}
	h.pending = nil
	if h.phase == phaseDeciding {
		h.phase = phaseReady
	}
	if h.want == tlsio.WantClientHello {
		h.applyHello(d)
	} else {
		h.applyPeer(d)
	}
	return true
}

// askHello calls Config.ClientHello.
func (h *handshaker) askHello() *decision {
	decisions := C.cssl_conn_decisions(h.c)
	hello := parseHello(blob(decisions.message))
	if inner := blob(decisions.inner); len(inner) > 0 {
		outer := hello
		hello = parseHello(inner)
		hello.Outer = outer
	}
	hello.Owner, h.name = h.owner, hello.ServerName
	return ask("client hello", h.st.timeout, h.wakeOwner, func(d *decision) {
		hello.decision = d
		if hello.Outer != nil {
			hello.Outer.decision = d
		}
		if h.st.clientHello == nil {
			hello.Accept(nil)
			return
		}
		h.st.clientHello(hello)
	})
}

func (h *handshaker) applyHello(made *decision) {
	d := C.cssl_conn_decisions(h.c)
	chosen, err := h.choose(made)
	if err != nil {
		h.refused = err
		d.hello, d.alert = C.CSSL_REFUSED, C.SSL_AD_HANDSHAKE_FAILURE
		var alert tlsio.Alert
		if errors.As(err, &alert) {
			d.alert = C.int(alert)
		}
		return
	}
	h.separate()
	d.hello, d.chosen = C.CSSL_ACCEPTED, chosen
	other := chosen != nil && chosen != C.SSL_get_SSL_CTX(C.cssl_conn_ssl(h.c))
	d.named = C.uchar(cbool(other && h.name != ""))
}

// choose returns the SSL_CTX that was selected, with a reference; nil to keep
// the current one.
func (h *handshaker) choose(made *decision) (chosen *C.SSL_CTX, err error) {
	x, err := made.x, made.err
	switch {
	case err != nil:
	case x == nil:
		if e, ok := h.st.lookup(h.name); ok {
			chosen = e.ptr
			C.SSL_CTX_up_ref(chosen)
			h.use(e.state)
		}
	case !x.server:
		err = errors.New("client hello: accepted with a client's Context")
	case x.state.lib != h.st.lib:
		err = errors.New("client hello: accepted with a Context of another Library")
	default:
		if err = h.st.selectable(x.state); err != nil {
			err = fmt.Errorf("client hello: accepted with %w", err)
		} else if err = x.use(func(p *C.SSL_CTX) { chosen = p; C.SSL_CTX_up_ref(p) }); err == nil {
			h.use(x.state)
		}
	}
	return chosen, err
}

// use switches to the settings of a Context.
func (h *handshaker) use(st *contextState) {
	h.st = st
	h.offload = h.offload || st.offload
	called := len(st.extensions) > 0 || st.verifyPeer != nil && C.SSL_is_server(C.cssl_conn_ssl(h.c)) == 1
	if called && h.handle == 0 {
		h.handle = cgo.NewHandle(h)
		C.cssl_conn_decisions(h.c).handle = C.uintptr_t(h.handle)
	}
}

// separate binds sessions of a Context with VerifyPeer to the server name:
// another name may have another VerifyPeer, which a resumption would not call.
func (h *handshaker) separate() {
	if h.st.verifyPeer == nil {
		return
	}
	C.cssl_conn_decisions(h.c).separated = 1
	own := C.GoBytes(unsafe.Pointer(&h.st.sessionID[0]), C.int(len(h.st.sessionID)))
	id := sessionid.ForName(own, hostname.Key(h.name))
	C.SSL_set_session_id_context(C.cssl_conn_ssl(h.c), (*C.uchar)(&id[0]), C.uint(len(id))) // fails only if id is too long
}

// nameToVerify returns the name that the peer's certificate must be for; empty
// if it need not be for one. A server that has rejected an Encrypted Client
// Hello answers for the outer name.
func (h *handshaker) nameToVerify() string {
	if h.encrypts && h.peer != "" {
		var outer [C.CSSL_NAME]C.char
		if C.cssl_ssl_ech_status(C.cssl_conn_ssl(h.c), &outer[0]) == C.CSSL_ECH_REJECTED && outer[0] != 0 {
			return C.GoString(&outer[0])
		}
	}
	return h.peer
}

// askPeer calls Config.VerifyPeer about the peer's certificate.
func (h *handshaker) askPeer(wake func()) *decision {
	v, unreadable := newPeerVerification(h.c)
	v.Owner, v.PeerName = h.owner, h.nameToVerify()
	return ask("verification", h.st.timeout, wake, func(d *decision) {
		v.decision = d
		if len(v.Sent) == 0 && len(v.PublicKey) == 0 {
			v.Refuse(unreadable) // no certificate could be parsed
			return
		}
		h.st.verifyPeer(v)
	})
}

func (h *handshaker) applyPeer(made *decision) {
	d := C.cssl_conn_decisions(h.c)
	d.peer = C.CSSL_ACCEPTED
	err, leaf := made.err, leafSum(blob(d.sent))
	if C.SSL_version(C.cssl_conn_ssl(h.c)) < C.TLS1_3_VERSION && err == nil {
		if h.phase == phaseDone && h.leaf != nil && !bytes.Equal(h.leaf, leaf) {
			err = errPeerChanged
		} else {
			h.leaf = leaf
		}
	}
	if err == nil && made.vouched {
		h.chains = made.chains
		d.vouched = 1
		if len(made.chains) > 0 {
			chain := encodeChain(made.chains[0])
			d.chain.p, d.chain.len = (*C.uchar)(C.CBytes(chain)), C.long(len(chain))
		}
	}
	if err != nil {
		h.refused = err
		d.peer, d.peer_error = C.CSSL_REFUSED, verifyErrorOf(err)
	}
}

// errPeerChanged: what the application knows of the peer, such as State, is from
// the first handshake.
var errPeerChanged = errors.New("the peer's certificate changed in a renegotiation")

// leafSum returns a hash of the first certificate of a chain in the form of
// parseChain, or nil if there is none.
func leafSum(chain []byte) []byte {
	if len(chain) < 4 {
		return nil
	}
	size := min(int(binary.BigEndian.Uint32(chain)), len(chain)-4)
	sum := sha256.Sum256(chain[4 : 4+size])
	return sum[:]
}

var errCannotWait = errors.New("outside the first handshake a server's VerifyPeer must decide at once")

// cssl_go_verify calls Config.VerifyPeer about a client's certificate, inside a
// call of OpenSSL that cannot be suspended. The first handshake runs on its own
// goroutine, which can wait here.
//
//export cssl_go_verify
func cssl_go_verify(handle C.uintptr_t) {
	h := cgo.Handle(handle).Value().(*handshaker)
	d := h.askPeer(nil)
	switch {
	case d.isMade():
	case h.phase != phaseWorking:
		d.decide(nil, errCannotWait)
	default:
		h.step.wait(d)
	}
	h.applyPeer(d)
}

// close cancels the pending decision and frees the connection, at once or when
// the current step ends. It does not wake the owner.
func (h *handshaker) close() {
	if h.pending != nil {
		h.pending.cancel()
	}
	if h.phase != phaseWorking || !h.step.abandon() {
		h.free()
	}
}

// free may run on any goroutine.
func (h *handshaker) free() {
	freeConn(h.c)
	h.release()
}

// release frees what only C's calls of Go need.
func (h *handshaker) release() {
	if h.handle != 0 {
		h.handle.Delete()
		h.handle = 0
	}
}

// Each step occupies a thread while it runs in OpenSSL (places) or waits there
// for a decision (waiters). If all places are taken, steps wait for one; if all
// waiters are taken, further verifications are refused. Go allows 10,000
// threads.
var (
	places  = make(chan struct{}, 256)
	waiters = make(chan struct{}, 4096)
)

var errTooMany = errors.New("too many verifications wait for a decision")

// step is a part of the handshake, up to the next want, on its own goroutine.
// It uses buffers in memory; the owner has the socket.
type step struct {
	// What the owner did meanwhile, without a socket; the goroutine does not use
	// these.
	in    []byte // Feed
	room  int    // for in
	eof   bool   // FeedEOF
	ended bool   // CloseWrite

	mu        sync.Mutex
	done      bool
	abandoned bool          // the goroutine frees the connection
	r         C.cssl_result // if done
	peer      *decision     // that the step waits for
}

// start starts a step.
func (h *handshaker) start() {
	s := &step{room: int(C.cssl_feed_room(h.c))}
	h.phase, h.step = phaseWorking, s
	go func() {
		var r C.cssl_result
		places <- struct{}{}
		if !s.isAbandoned() { // while it waited for a place
			r = C.cssl_handshake(h.c)
		}
		<-places
		s.mu.Lock()
		s.r, s.done = r, true
		abandoned := s.abandoned
		s.mu.Unlock()
		if abandoned {
			h.free()
		} else {
			h.wakeOwner()
		}
	}()
}

// stop attaches the transport to the SSL again, after a step that returned r.
// It returns r, updated for the transport.
func (h *handshaker) stop(r C.cssl_result) C.cssl_result {
	s := h.step
	h.phase, h.step = phaseReady, nil
	if r.code == C.SSL_ERROR_WANT_READ {
		h.phase = phaseStarved
	}
	if len(s.in) > 0 {
		C.cssl_feed(h.c, (*C.uchar)(unsafe.SliceData(s.in)), C.size_t(len(s.in))) // it fits: feed takes at most room
	}
	if s.eof {
		C.cssl_feed_eof(h.c)
	}
	if s.ended {
		C.cssl_take_end(h.c)
	}
	return C.cssl_attach(h.c, r)
}

// result returns the result of the step, or what it waits for.
func (s *step) result() (r C.cssl_result, w tlsio.Want) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
		return s.r, tlsio.WantNone
	case s.peer != nil:
		return r, tlsio.WantRetryVerify
	}
	return r, tlsio.WantAsync
}

// abandon leaves the connection to the goroutine, which frees it when the step
// ends. It returns false if the step has ended.
func (s *step) abandon() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandoned = !s.done
	if s.peer != nil {
		s.peer.cancel()
	}
	return s.abandoned
}

func (s *step) isAbandoned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abandoned
}

// wait waits for a decision, on the step's goroutine. It frees its place
// meanwhile.
func (s *step) wait(d *decision) {
	select {
	case waiters <- struct{}{}:
	default:
		d.decide(nil, errTooMany)
		return
	}
	s.mu.Lock()
	s.peer = d
	s.mu.Unlock()
	if s.isAbandoned() {
		d.cancel()
	}
	<-places
	<-d.done
	places <- struct{}{}
	<-waiters
	s.mu.Lock()
	s.peer = nil
	s.mu.Unlock()
}

// feed stores input that arrives meanwhile, up to room bytes.
func (s *step) feed(p []byte) int {
	p = p[:min(len(p), s.room-len(s.in))]
	s.in = append(s.in, p...)
	return len(p)
}
