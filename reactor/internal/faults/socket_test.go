package faults

import (
	"testing"

	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// recvAnswers are those of recv(2), with those that tcp(7) and ip(7) add.
var recvAnswers = []answer{
	{code: int(unix.EAGAIN), fate: survives, each: true},
	{code: int(unix.EINTR), fate: survives, each: true},
	{code: Short, fate: survives, each: true},
	{code: End, each: true},
	{code: int(unix.ECONNRESET), each: true},
	{code: int(unix.EBADF)},
	{code: int(unix.ECONNREFUSED)},
	{code: int(unix.EFAULT)},
	{code: int(unix.EINVAL)},
	{code: int(unix.ENOMEM)},
	{code: int(unix.ENOTCONN)},
	{code: int(unix.ENOTSOCK)},
	{code: int(unix.EPIPE)},
	{code: int(unix.ETIMEDOUT)},
	{code: int(unix.EHOSTUNREACH)},
	{code: int(unix.ENETUNREACH)},
}

// sendAnswers are those of send(2), with those that tcp(7) and ip(7) add. ENOBUFS and ENOMEM end a connection too:
// the kernel gives EAGAIN to a stream socket that has no room, and epoll would never tell when there is
// memory, so a wait for it would be a spin or have no end.
var sendAnswers = []answer{
	{code: int(unix.EAGAIN), fate: survives, each: true},
	{code: int(unix.EINTR), fate: survives, each: true},
	{code: Short, fate: survives, each: true},
	{code: int(unix.ECONNRESET), each: true},
	{code: int(unix.EPIPE), each: true},
	{code: int(unix.ENOBUFS), each: true},
	{code: int(unix.EACCES)},
	{code: int(unix.EALREADY)},
	{code: int(unix.EBADF)},
	{code: int(unix.EDESTADDRREQ)},
	{code: int(unix.EFAULT)},
	{code: int(unix.EINVAL)},
	{code: int(unix.EISCONN)},
	{code: int(unix.EMSGSIZE)},
	{code: int(unix.ENOMEM)},
	{code: int(unix.ENOTCONN)},
	{code: int(unix.ENOTSOCK)},
	{code: int(unix.EOPNOTSUPP)},
	{code: int(unix.ETIMEDOUT)},
	{code: int(unix.EHOSTUNREACH)},
	{code: int(unix.ENETDOWN)},
}

// TestSockets: each answer of recv and send, at each call of the server's and of the client's socket.
func TestSockets(t *testing.T) {
	for _, v := range versions() {
		w := mustStart(t, newContexts(t, v), nil)
		for _, kind := range []struct {
			kind    Kind
			answers []answer
		}{{Recv, recvAnswers}, {Send, sendAnswers}} {
			for _, server := range []bool{true, false} {
				name := v.String() + " " + kind.kind.String() + " of the client"
				if server {
					name = v.String() + " " + kind.kind.String() + " of the server"
				}
				t.Run(name, func(t *testing.T) { sockets(t, w, kind.kind, kind.answers, server) })
			}
		}
		w.stop(t, reactor.ErrServerClosed, nil)
	}
}

func sockets(t *testing.T, w *world, kind Kind, answers []answer, server bool) {
	aim := func(f *Fault, client int) {
		if f.Accepted = server; !server {
			f.FD = client
		}
	}
	n := most(func() Report { l, r := w.run(t, Fault{Kind: kind}, aim); l.survived(t); return r })
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
