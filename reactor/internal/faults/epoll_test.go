package faults

import (
	"errors"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// epollErrnos are those of epoll_ctl(2).
var epollErrnos = []unix.Errno{unix.EBADF, unix.EEXIST, unix.EINVAL, unix.ELOOP, unix.ENOENT, unix.ENOMEM, unix.ENOSPC, unix.EPERM}

// TestEpollCtl: each errno of epoll_ctl, at each call of the server's poller and of the clients'. With room for
// one handshake the listener is taken out and put back in for each connection. A connection that cannot be waited
// for ends with the errno; one that cannot be taken out is closed, which does the same; the listener is tried
// again.
func TestEpollCtl(t *testing.T) {
	x := newContexts(t, cssl.Config{})
	for _, tc := range []struct {
		name   string
		side   int
		change func(*reactor.Server)
	}{
		{"of the server", 0, nil},
		{"of the server with room for one handshake", 0, func(s *reactor.Server) { s.MaxHandshakes = 1 }},
		{"of the client", 1, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := mustStart(t, x, tc.change)
			poller := w.epolls[tc.side]
			n := w.calls(t, Fault{Kind: EpollCtl, FD: poller}, nil)
			var y tally
			for _, errno := range epollErrnos {
				for _, call := range (answer{each: errno == unix.ENOSPC}).numbers(n) { // one of those that are treated alike
					client := -1
					l, r := w.run(t, Fault{Kind: EpollCtl, FD: poller, Call: call, Answer: int(errno)}, func(_ *Fault, fd int) { client = fd })
					y.add(r)
					side := &l.far
					if tc.side == 1 {
						side = &l.near
					}
					if r.Hit && r.Op != unix.EPOLL_CTL_DEL && !(tc.side == 0 && r.FD == w.listener) {
						if tc.side == 1 && r.FD != client {
							t.Errorf("it was for descriptor %d, the client's is %d", r.FD, client)
						}
						l.ended(t, side, errno)
					} else {
						l.survived(t)
					}
					if t.Failed() {
						t.Fatalf("epoll_ctl number %d (operation %d on %d) answers %s", call, r.Op, r.FD, unix.ErrnoName(errno))
					}
				}
			}
			y.log(t, "epoll_ctl")
			w.stop(t, reactor.ErrServerClosed, nil)
		})
	}
}

// TestEpollCtlAtStart: when a poller cannot be made, or the listener not be added, Serve or NewLoop says why and
// leaves nothing open.
func TestEpollCtlAtStart(t *testing.T) {
	x := newContexts(t, cssl.Config{})
	var y tally
	for _, errno := range epollErrnos {
		for call := 1; call <= 3; call++ { // the server's eventfd, its listener and the clients' eventfd
			base := take(t)
			Arm(Fault{Kind: EpollCtl, Call: call, Answer: int(errno)})
			w, err := start(t, x, nil)
			y.add(Disarm())
			if w != nil || !errors.Is(err, errno) {
				t.Fatalf("epoll_ctl number %d answers %s, and there is %v", call, unix.ErrnoName(errno), err)
			}
			new(world).settle(t, base)
		}
	}
	y.log(t, "epoll_ctl")
}

// TestEpollWait: EINTR is nothing. After any other errno the loop cannot go on: Serve or Run returns it, and every
// connection of the loop ends.
func TestEpollWait(t *testing.T) {
	x := newContexts(t, cssl.Config{})
	var y tally
	for side := range 2 {
		w := mustStart(t, x, nil)
		poller := w.epolls[side]
		n := w.calls(t, Fault{Kind: EpollWait, FD: poller}, nil)
		for _, call := range (answer{each: true}).numbers(n) {
			l, r := w.run(t, Fault{Kind: EpollWait, FD: poller, Call: call, Answer: int(unix.EINTR)}, nil)
			y.add(r)
			l.survived(t)
		}
		w.stop(t, reactor.ErrServerClosed, nil)
		for _, errno := range []unix.Errno{unix.EBADF, unix.EFAULT, unix.EINVAL} {
			for _, call := range (answer{}).numbers(n) {
				y.add(loopOver(t, x, side, call, errno))
				if t.Failed() {
					t.Fatalf("epoll_wait number %d of side %d answers %s", call, side, unix.ErrnoName(errno))
				}
			}
		}
	}
	y.log(t, "epoll_wait")
}

// loopOver lets the loop of one side fail in the midst of a life.
func loopOver(t *testing.T, x contexts, side, call int, errno unix.Errno) Report {
	w := mustStart(t, x, nil)
	l, fd := w.prepare(t, true)
	Arm(Fault{Kind: EpollWait, FD: w.epolls[side], Call: call, Answer: int(errno)})
	w.attach(t, l, fd)
	tlstest.Receive(t, l.near.ended, "the client's OnClose")
	r := Disarm()
	if !r.Hit { // the life was over before
		tlstest.Receive(t, l.far.ended, "the server's OnClose")
		l.survived(t)
		w.stop(t, reactor.ErrServerClosed, nil)
		return r
	}
	for _, l := range []*life{l, w.bystander} {
		tlstest.Receive(t, l.near.ended, "the client's OnClose")
		if l.far.conn.Load() != nil {
			tlstest.Receive(t, l.far.ended, "the server's OnClose")
		}
		hurt := &l.far
		if side == 1 {
			hurt = &l.near
		}
		if l == w.bystander && !errors.Is(hurt.err, reactor.ErrLoopClosed) {
			t.Errorf("the bystander ended with %v", hurt.err)
		}
	}
	if side == 0 {
		w.served <- tlstest.Receive(t, w.served, "Serve to return") // of itself, before stop closes the server
		w.stop(t, errno, nil)
	} else {
		w.stop(t, reactor.ErrServerClosed, errno)
	}
	return r
}
