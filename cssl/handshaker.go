package cssl

/*
#include "decide.h"
#include "conn.h"
#include <openssl/x509_vfy.h>

// These never call back into Go, and keep no pointer.
#cgo noescape cssl_detach
#cgo nocallback cssl_detach
#cgo noescape cssl_attach
#cgo nocallback cssl_attach
*/
import "C"

import (
	"errors"
	"runtime/cgo"
	"sync"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/hostname"
	"github.com/spacemonad/go-openssl/internal/sessionid"
)

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

// Each handshake that is worked on off its owner's goroutine occupies a thread while it is inside OpenSSL, or waits there for a
// decision. More of the first wait for a place; more of the second are refused. Go allows 10,000 threads.
var (
	places  = make(chan struct{}, 256)
	waiters = make(chan struct{}, 4096)
)

var errTooMany = errors.New("too many verifications wait for a decision")

// job is one step of a handshake on a goroutine of its own.
type job struct {
	c *C.cssl_conn

	mu        sync.Mutex
	done      bool
	abandoned bool
	r         C.cssl_result
	peer      *decision // that it waits for
}

// start begins a step. The socket is not touched meanwhile.
func (a *asking) start() {
	j := &job{c: a.c}
	a.job, a.room = j, int(C.cssl_feed_room(a.c))
	go func() {
		var r C.cssl_result
		places <- struct{}{}
		if !j.isAbandoned() { // while it waited for a place
			r = C.cssl_handshake(j.c)
		}
		<-places
		j.mu.Lock()
		j.r, j.done = r, true
		abandoned := j.abandoned
		j.mu.Unlock()
		if abandoned {
			a.free()
		} else {
			a.wakeOwner()
		}
	}()
}

// result is what the step answered, or what it waits for.
func (j *job) result() (r C.cssl_result, w Want) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.done:
		return j.r, WantNone
	case j.peer != nil:
		return r, WantRetryVerify
	}
	return r, WantAsync
}

// abandon leaves the connection to the goroutine, which frees it in the end, unless it has ended already.
func (j *job) abandon() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.abandoned = !j.done
	if j.peer != nil {
		j.peer.cancel()
	}
	return j.abandoned
}

func (j *job) isAbandoned() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.abandoned
}

// wait waits for a decision, on the step's own goroutine, whose place is free for others meanwhile.
func (j *job) wait(p *decision) {
	select {
	case waiters <- struct{}{}:
	default:
		p.decide(nil, errTooMany)
		return
	}
	j.mu.Lock()
	j.peer = p
	j.mu.Unlock()
	if j.isAbandoned() {
		p.cancel()
	}
	<-places
	<-p.done
	places <- struct{}{}
	<-waiters
	j.mu.Lock()
	j.peer = nil
	j.mu.Unlock()
}

// busy reports whether a step is under way, during which c may not be used.
func (c *Conn) busy() bool { return c.ask != nil && c.ask.job != nil }

// feed keeps what comes meanwhile, as far as there will be room for it.
func (a *asking) feed(p []byte) int {
	p = p[:min(len(p), a.room-len(a.in))]
	a.in = append(a.in, p...)
	return len(p)
}

// usable reports whether there is a connection that may be looked at.
func (c *Conn) usable() bool { return c.c != nil && !c.busy() }

// firstHandshake is Handshake for who asks the application or works off the caller's goroutine.
func (c *Conn) firstHandshake() Result {
	a := c.ask
	switch {
	case a.hello != nil && !a.hello.isMade():
		return Result{Want: WantClientHello}
	case a.peer != nil && !a.peer.isMade():
		return Result{Want: WantRetryVerify}
	}
	var moved C.uint32_t
	for {
		r, again, w := a.step()
		moved |= r.flags & (C.CSSL_MOVED_IN | C.CSSL_MOVED_OUT)
		if w != WantNone {
			return Result{Want: w, In: moved&C.CSSL_MOVED_IN != 0, Out: moved&C.CSSL_MOVED_OUT != 0}
		}
		if again {
			continue
		}
		r.flags |= moved
		out := c.result(OpHandshake, r)
		if out.Want.Application() && c.decided(out.Want) {
			continue
		}
		if out.Want == WantNone && out.Err == nil {
			a.over = true
			if a.st.verifyPeer == nil {
				a.release()
				c.ask = nil // nothing more is asked
			}
		}
		return out
	}
}

// step carries the handshake on. It answers what OpenSSL did, or what the step that is under way waits for. again: try at once.
func (a *asking) step() (r C.cssl_result, again bool, w Want) {
	if a.job != nil {
		if r, w = a.job.result(); w != WantNone {
			return r, false, w
		}
		a.job = nil
		if len(a.in) > 0 {
			C.cssl_feed(a.c, (*C.uchar)(unsafe.SliceData(a.in)), C.size_t(len(a.in))) // there is room for all of it
			a.in = nil
		}
		if a.eof {
			C.cssl_feed_eof(a.c)
		}
		if a.ended {
			C.cssl_take_end(a.c)
		}
		r = C.cssl_attach(a.c, r)
		// What came meanwhile may be what it wants, and has brought its event already.
		a.hungry = r.code == C.SSL_ERROR_WANT_READ
		return r, a.hungry || r.code == C.SSL_ERROR_WANT_WRITE && r.flags&C.CSSL_UNSENT == 0, WantNone
	}
	if !a.offload {
		return C.cssl_handshake(a.c), false, WantNone
	}
	if r = C.cssl_detach(a.c, cbool(a.hungry)); r.code != C.SSL_ERROR_NONE {
		return r, false, WantNone
	}
	a.start()
	return r, false, WantAsync
}
