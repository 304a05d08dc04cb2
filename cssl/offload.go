package cssl

/*
#include "decide.h"
#include "conn.h"
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"
)

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
