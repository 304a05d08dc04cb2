package cssl

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/tlsio"
)

// The directions in which a transport may have become ready.
const (
	readable = 1 << iota
	writable
)

// action is an operation besides read and write that an endpoint performs once it has sent so many bytes.
type action struct {
	after int
	op    tlsio.Op
	run   func(*Conn) tlsio.Result
}

// endpoint is one side of a connection as an event loop sees it: each operation
// holds its own want and is called again only when that direction became ready
// or when another operation moved something.
type endpoint struct {
	t       testing.TB
	name    string
	c       *Conn
	out     []byte // what is to be sent, and how much of it was
	sent    int
	in      []byte
	echo    bool // what is read is appended to out
	close   bool // shut down once out is sent; an echo does so after the peer's end
	expect  int  // bytes that must have come before the shutdown
	last    bool // shut down after the peer
	record  int  // bytes offered to one Write; 0 is all
	actions []action
	hs      bool // a handshake is to be carried on
	shut    bool
	unsent  bool
	end     error // of reading
	readBuf []byte
	wants   [tlsio.Ops]tlsio.Want
	seen    [tlsio.Ops][tlsio.WantAppRead + 1]int
	calls   int
	mayFail bool
	moved   bool // since the inner loop of turn began
}

func newEndpoint(t testing.TB, name string, c *Conn) *endpoint {
	return &endpoint{t: t, name: name, c: c, hs: true, readBuf: make([]byte, 16384)}
}

// note records a result. True means that the operation moved on.
func (e *endpoint) note(op tlsio.Op, r tlsio.Result) bool {
	e.calls++
	e.moved = e.moved || r.Want == tlsio.WantNone || r.In
	if r.Err != nil {
		e.fail(r.Err)
	}
	e.unsent = r.Unsent
	e.wants[op] = r.Want
	e.seen[op][r.Want]++
	if r.Want == tlsio.WantNone || r.In {
		// Progress makes what the others waited for stale (P08).
		for o := range e.wants {
			if tlsio.Op(o) != op {
				e.wants[o] = tlsio.WantNone
			}
		}
	}
	return r.Want == tlsio.WantNone
}

// turn carries on every operation that waits for what became ready.
func (e *endpoint) turn(ready int) {
	for o, w := range e.wants {
		if w == tlsio.WantRead && ready&readable != 0 || w == tlsio.WantWrite && ready&writable != 0 {
			e.wants[o] = tlsio.WantNone
		}
	}
	for e.moved = true; e.moved; {
		e.moved = false
		if e.hs && e.wants[tlsio.OpHandshake] == tlsio.WantNone && e.note(tlsio.OpHandshake, e.c.Handshake()) {
			e.hs = false
		}
		if !e.hs && len(e.actions) > 0 && e.sent >= e.actions[0].after {
			a := e.actions[0]
			r := a.run(e.c)
			if e.wants[tlsio.OpHandshake] = tlsio.WantNone; r.Err == nil {
				e.actions = e.actions[1:]
				e.hs = !e.note(a.op, r)
				e.wants[a.op] = tlsio.WantNone
				e.moved = true
			} else if !errors.Is(r.Err, tlsio.ErrState) {
				e.fail(r.Err)
			}
		}
		for e.established() && e.sent < len(e.out) && e.wants[tlsio.OpWrite] == tlsio.WantNone {
			p := e.out[e.sent:]
			if e.record > 0 && len(p) > e.record {
				p = p[:e.record]
			}
			r := e.c.Write(p)
			if !e.note(tlsio.OpWrite, r) {
				break
			}
			e.sent += r.N
			if len(e.actions) > 0 && e.sent >= e.actions[0].after {
				break
			}
		}
		for e.established() && e.end == nil && e.wants[tlsio.OpRead] == tlsio.WantNone {
			r := e.c.Read(e.readBuf)
			if isEOF(r.Err) {
				e.end = r.Err
				r.Err = nil
			}
			if !e.note(tlsio.OpRead, r) {
				break
			}
			e.in = append(e.in, e.readBuf[:r.N]...)
			if e.echo {
				e.out = append(e.out, e.readBuf[:r.N]...)
			}
			if r.Drained {
				e.wants[tlsio.OpRead] = tlsio.WantRead
			}
		}
		if e.established() && e.close && !e.shut && e.sent == len(e.out) && len(e.actions) == 0 && !e.hs && len(e.in) >= e.expect &&
			(!e.echo && !e.last || e.end != nil) && e.wants[tlsio.OpShutdown] == tlsio.WantNone && e.note(tlsio.OpShutdown, e.c.Shutdown()) {
			e.shut = true
		}
		if e.unsent && e.c.fd >= 0 && e.wants[tlsio.OpFlush] == tlsio.WantNone {
			e.note(tlsio.OpFlush, e.c.Flush())
		}
	}
}

// fail ends the test, or with mayFail the run.
func (e *endpoint) fail(err error) {
	if e.mayFail {
		panic(stopped{err})
	}
	e.t.Helper()
	e.t.Fatalf("%s: %v", e.name, err)
}

// stopped carries an error out of a run of endpoints that may fail.
type stopped struct{ err error }

// errorOf answers the error that an endpoint with mayFail met while f ran.
func errorOf(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			err = r.err
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

func (e *endpoint) established() bool { return e.seen[tlsio.OpHandshake][tlsio.WantNone] > 0 }

func (e *endpoint) done() bool {
	return e.established() && !e.hs && e.sent == len(e.out) && len(e.actions) == 0 && !e.unsent &&
		(!e.close || e.shut && e.end != nil)
}

func (e *endpoint) String() string {
	return fmt.Sprintf("%s{sent %d of %d, got %d, hs %v, shut %v, end %v, unsent %d, wants %v}",
		e.name, e.sent, len(e.out), len(e.in), e.hs, e.shut, e.end, e.c.Unsent(), e.wants)
}

func isEOF(err error) bool {
	return err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// runEngine joins two engine mode endpoints and lets chunk bytes pass at a time, until stop
// answers true. A turn in which nothing moves fails the test instead of hanging it.
func runEngine(t testing.TB, a, b *endpoint, chunk int, stop func() bool) {
	t.Helper()
	// What a Conn does not take stays on the wire.
	var wire [2][]byte
	buf := make([]byte, chunk)
	carry := func(from, to *endpoint, w *[]byte) (fromReady, toReady int) {
		if len(*w) == 0 {
			*w = append((*w)[:0], buf[:from.c.Take(buf)]...)
			if len(*w) > 0 {
				fromReady = writable
			}
		}
		if n := to.c.Feed(*w); n > 0 {
			*w = (*w)[n:]
			toReady = readable
		}
		return
	}
	a.turn(readable | writable)
	b.turn(readable | writable)
	for !stop() {
		ar, br := carry(a, b, &wire[0])
		br2, ar2 := carry(b, a, &wire[1])
		if ar, br = ar|ar2, br|br2; ar|br == 0 {
			if stop() {
				return
			}
			t.Fatalf("no progress:\n%v\n%v", a, b)
		}
		a.turn(ar)
		b.turn(br)
		a.unsent, b.unsent = a.c.Unsent() > 0, b.c.Unsent() > 0
	}
}

// runSockets is an event loop over the sockets of two endpoints.
func runSockets(t testing.TB, a, b *endpoint, stop func() bool) {
	t.Helper()
	ends := []*endpoint{a, b}
	a.turn(readable | writable)
	b.turn(readable | writable)
	for idle := 0; !stop(); {
		fds := make([]unix.PollFd, 2)
		for i, e := range ends {
			fds[i].Fd = int32(e.c.fd)
			for _, w := range e.wants {
				if w == tlsio.WantRead {
					fds[i].Events |= unix.POLLIN
				} else if w == tlsio.WantWrite {
					fds[i].Events |= unix.POLLOUT
				}
			}
			if e.end != nil {
				fds[i].Events &^= unix.POLLIN
			}
		}
		n, err := unix.Poll(fds, 2000)
		if err == syscall.EINTR {
			continue
		}
		demand(t, err == nil && n != 0, "no progress (%v):\n%v\n%v", err, a, b)
		before := a.sent + len(a.in) + b.sent + len(b.in)
		for i, e := range ends {
			ready := 0
			if fds[i].Revents&^unix.POLLOUT != 0 {
				ready |= readable
			}
			if fds[i].Revents&^unix.POLLIN != 0 {
				ready |= writable
			}
			if ready != 0 {
				e.turn(ready)
			}
		}
		if idle++; before != a.sent+len(a.in)+b.sent+len(b.in) {
			idle = 0
		}
		demand(t, idle <= 20000, "spinning:\n%v\n%v", a, b)
	}
}
