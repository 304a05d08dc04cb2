package faults

import (
	"fmt"
	"slices"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// recvAnswers are those of recv(2), with those that tcp(7) and ip(7) add.
var recvAnswers = append([]answer{
	{code: int(unix.EAGAIN), fate: survives, each: true},
	{code: int(unix.EINTR), fate: survives, each: true},
	{code: Short, fate: survives, each: true},
	{code: End, each: true},
	{code: int(unix.ECONNRESET), each: true},
}, alike(unix.EBADF, unix.ECONNREFUSED, unix.EFAULT, unix.EINVAL, unix.ENOMEM, unix.ENOTCONN, unix.ENOTSOCK, unix.EPIPE, unix.ETIMEDOUT,
	unix.EHOSTUNREACH, unix.ENETUNREACH)...)

// sendAnswers are those of send(2), with those that tcp(7) and ip(7) add. ENOBUFS and ENOMEM end a connection too:
// the kernel gives EAGAIN to a stream socket that has no room, and epoll would never tell when there is
// memory, so a wait for it would be a spin or have no end.
var sendAnswers = append([]answer{
	{code: int(unix.EAGAIN), fate: survives, each: true},
	{code: int(unix.EINTR), fate: survives, each: true},
	{code: Short, fate: survives, each: true},
	{code: int(unix.ECONNRESET), each: true},
	{code: int(unix.EPIPE), each: true},
	{code: int(unix.ENOBUFS), each: true},
}, alike(unix.EACCES, unix.EALREADY, unix.EBADF, unix.EDESTADDRREQ, unix.EFAULT, unix.EINVAL, unix.EISCONN, unix.EMSGSIZE, unix.ENOMEM,
	unix.ENOTCONN, unix.ENOTSOCK, unix.EOPNOTSUPP, unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETDOWN)...)

// alike are answers that have no code of their own.
func alike(errnos ...unix.Errno) (as []answer) {
	for _, e := range errnos {
		as = append(as, answer{code: int(e)})
	}
	return as
}

// TestSockets: each answer of recv and send, at each call of the server's and of the client's socket.
func TestSockets(t *testing.T) {
	for _, v := range versions() {
		allSockets(t, v, nil, Recv, Send)
	}
}

// TestPlainSockets: the same for connections that begin in plain text.
func TestPlainSockets(t *testing.T) {
	kinds := []Kind{PlainRecv, PlainSend}
	if full {
		kinds = append(kinds, Recv, Send)
	}
	allSockets(t, cssl.TLS13, func(s *reactor.Server) { s.Plain = s.Handler.(reactor.PlainHandler) }, kinds...)
}

func allSockets(t *testing.T, v cssl.TLSVersion, change func(*reactor.Server), kinds ...Kind) {
	w := mustStart(t, newContexts(t, cssl.Config{MaxVersion: v}), change)
	answers := map[Kind][]answer{Recv: recvAnswers, Send: sendAnswers, PlainSend: sendAnswers,
		// In plain text the end of the stream is no fault.
		PlainRecv: slices.DeleteFunc(slices.Clone(recvAnswers), func(a answer) bool { return a.code == End })}
	for _, kind := range kinds {
		for side, server := range map[string]bool{"server": true, "client": false} {
			t.Run(fmt.Sprintf("%v %v of the %s", v, kind, side), func(t *testing.T) { sockets(t, w, kind, answers[kind], server) })
		}
	}
	w.stop(t, reactor.ErrServerClosed, nil)
}

func sockets(t *testing.T, w *world, kind Kind, answers []answer, server bool) {
	aim := func(f *Fault, client int) {
		if f.Accepted = server; !server {
			f.FD = client
		}
	}
	n := w.calls(t, Fault{Kind: kind}, aim)
	var y tally
	for _, a := range answers {
		for _, forever := range []bool{false, true} {
			if forever && (!full || a.fate == survives) {
				continue
			}
			for _, call := range a.numbers(n) {
				f := Fault{Kind: kind, Call: call, Answer: a.code, Forever: forever}
				l, r := w.run(t, f, aim)
				y.add(r)
				p := &l.near
				if server {
					p = &l.far
				}
				if a.fate == survives || !r.Hit {
					l.survived(t)
				} else {
					l.ended(t, p, a.err())
				}
				if t.Failed() {
					t.Fatalf("%v, number %d answers %v, for ever: %v", kind, call, a, forever)
				}
			}
		}
	}
	y.log(t, "sockets")
}
