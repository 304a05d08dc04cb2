package faults

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// What becomes of the connection that waits when accept4 fails.
const (
	// skipped: the errno was that of another connection, and it comes next.
	skipped fate = iota + 100
	// rests: it comes after a while.
	rests
	// refused: there is no descriptor for it, and it is told so.
	refused
	// over: none can come any more, and Serve says why.
	over
)

// acceptAnswers are those of accept(2), with the network errors that it tells to take for EAGAIN.
var acceptAnswers = map[fate][]unix.Errno{
	skipped: {unix.EAGAIN, unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.EPERM, unix.ETIMEDOUT, unix.ENETDOWN, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH},
	rests:   {unix.ENOBUFS, unix.ENOMEM, unix.ENOSR, unix.ESOCKTNOSUPPORT, unix.EPROTONOSUPPORT},
	refused: {unix.EMFILE, unix.ENFILE},
	over:    {unix.EBADF, unix.EFAULT, unix.EINVAL, unix.ENOTSOCK},
}

// TestAccept: each errno of accept4, at each call that a connection leads to: the one that takes it, and the
// one that finds no other. A peer that is refused learns it, and the next one is taken.
func TestAccept(t *testing.T) {
	x := newContexts(t, cssl.Config{})
	w := mustStart(t, x, nil)
	n := w.calls(t, Fault{Kind: Accept}, nil)
	var y tally
	for fate, errnos := range acceptAnswers {
		for _, errno := range errnos {
			for call := 1; call <= n; call++ {
				if fate == over {
					y.add(listenerOver(t, x, errno, call))
				} else {
					y.add(w.acceptFails(t, fate, errno, call))
				}
				if t.Failed() {
					t.Fatalf("accept4 number %d answers %s", call, unix.ErrnoName(errno))
				}
			}
		}
	}
	y.log(t, "accept4")
	w.stop(t, reactor.ErrServerClosed, nil)
}

// acceptFails: what becomes of the connection that waits, and the next one is taken, also while the listener rests.
func (w *world) acceptFails(t *testing.T, fate fate, errno unix.Errno, call int) Report {
	begin, errs := time.Now(), w.server.Stats().AcceptErrors[unix.ErrnoName(errno)]
	l, r := w.run(t, Fault{Kind: Accept, Call: call, Answer: int(errno)}, nil)
	if fate == refused && call == 1 {
		// The handshake may have begun already, so the client finds the end or a reset.
		if l.near.err == nil || errors.Is(l.near.err, reactor.ErrHandshakeTimeout) {
			t.Errorf("a client that is refused ended with %v", l.near.err)
		}
	} else {
		l.survived(t)
	}
	if fate == rests && call == 1 && time.Since(begin) < 50*time.Millisecond {
		t.Errorf("it came back after %v", time.Since(begin))
	}
	if now := w.server.Stats().AcceptErrors[unix.ErrnoName(errno)]; errno != unix.EAGAIN && now != errs+1 {
		t.Errorf("it is counted %d times", now-errs)
	}
	l, _ = w.run(t, Fault{}, nil)
	l.survived(t)
	return r
}

// listenerOver: Serve returns the errno, and closes the listener; connections that live go on.
func listenerOver(t *testing.T, x contexts, errno unix.Errno, call int) Report {
	w := mustStart(t, x, nil)
	l, r := w.live(t, Fault{Kind: Accept, Call: call, Answer: int(errno)}, nil)
	if call > 1 {
		l.survived(t)
	} else if l.near.err == nil {
		t.Error("a client ended without an error that was never accepted")
	}
	tlstest.IsError(t, "Serve to return", tlstest.Receive(t, w.served, "Serve to return"), errno)
	w.served <- reactor.ErrServerClosed // for stop
	if c, err := net.Dial("tcp", w.addr.String()); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
	w.echo(t, 500)
	w.stop(t, reactor.ErrServerClosed, nil)
	return r
}
