package cssl

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestBrokenSocket: writing to a peer that has gone is EPIPE or ECONNRESET and no signal (P28). The
// failure belongs to writing: what the peer sent before can still be read. The kernel tells of a
// reset once, and a write may be the first to ask; reading gets it all the same, and not a peer's
// orderly end.
//
// Go's runtime swallows a SIGPIPE that C code caused, except in a program that asked
// for the signal; so the test asks for it.
func TestBrokenSocket(t *testing.T) {
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGPIPE, syscall.SIGWINCH)
	defer func() {
		defer signal.Stop(signals)
		// Signals are handed on by another goroutine, those of lower numbers first.
		tlstest.Must(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH))
		for got := range signals {
			if got == syscall.SIGWINCH {
				return
			}
			t.Errorf("got %v", got)
		}
	}()
	for network, end := range map[string]error{"unix": io.ErrUnexpectedEOF, "tcp": syscall.ECONNRESET} {
		for _, version := range versions {
			cx, sx := mode{version: version, ahead: true, cert: "ecdsa"}.contexts(t)
			c, s := leavingEnds(t, network, cx, sx)
			cc, sc, cfd := c.c, s.c, c.c.fd
			if network == "unix" {
				c.turn(readable) // the tickets, so that close does not reset
				send(t, cc, "last words")
				syscall.Close(cfd)
				for range 3 {
					r := sc.Write([]byte("x"))
					check(t, errors.Is(r.Err, syscall.EPIPE) || errors.Is(r.Err, syscall.ECONNRESET), "%v: write: %+v", version, r)
				}
			} else {
				send(t, cc, "last words")
				reset(t, cfd)
				tlstest.IsError(t, fmt.Sprintf("%v: write", version), sc.Write([]byte("x")).Err, syscall.ECONNRESET)
			}
			reads(t, sc, "last words")
			tlstest.IsError(t, fmt.Sprintf("%s, %v: end", network, version), sc.Read(s.readBuf).Err, end)
			for name, r := range map[string]tlsio.Result{"flush": sc.Flush(), "shutdown": sc.Shutdown()} {
				e, ok := errors.AsType[*tlsio.Error](r.Err)
				check(t, ok && e.Errno != 0, "%s, %v: %s: %+v", network, version, name, r)
			}
		}
	}
}

// TestClientLeavesBeforeTickets: a client that sends its request and closes does not wait for tickets.
// Sending them fails, which must fail neither the server's handshake nor the reading of the request (P14).
func TestClientLeavesBeforeTickets(t *testing.T) {
	cx, sx := mode{version: TLS13, ahead: true, cert: "ecdsa"}.contexts(t)
	cfd, sfd := socketPair(t, "unix", false)
	defer syscall.Close(sfd)
	cc, sc := overSockets(t, cx, sx, cfd, sfd)
	cc.Handshake()
	sc.Handshake()
	wants(t, "client", cc.Handshake(), tlsio.WantNone)
	send(t, cc, "request")
	cc.Shutdown()
	syscall.Close(cfd)
	wants(t, "server's handshake", sc.Handshake(), tlsio.WantNone)
	buf := make([]byte, 100)
	reads(t, sc, "request")
	tlstest.Equal(t, "end", sc.Read(buf).Err, io.EOF)
}

// leavingEnds is a client and a server after the handshake. The test closes the client's socket.
func leavingEnds(t *testing.T, network string, client, server *Context) (c, s *endpoint) {
	t.Helper()
	cfd, sfd := socketPair(t, network, false)
	t.Cleanup(func() { syscall.Close(sfd) })
	cc, sc := overSockets(t, client, server, cfd, sfd)
	c, s = newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
	runSockets(t, c, s, func() bool { return c.established() && s.established() })
	return c, s
}

// reset closes a socket of TCP so that its peer gets a reset.
func reset(t *testing.T, fd int) {
	t.Helper()
	tlstest.Must(t, syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}))
	syscall.Close(fd)
}

// TestCloseWriteAfterClose: the number of the descriptor may be another's by then (P32).
func TestCloseWriteAfterClose(t *testing.T) {
	c := tlstest.Value(mustClient(t, clientConfig()).NewConn(0, ConnConfig{ServerName: "localhost"}))(t)
	c.Close()
	err := c.CloseWrite()
	check(t, errors.Is(err, net.ErrClosed), "CloseWrite: %v", err)
}

// TestResetDuringWriteIsNotLost: the kernel reports a reset once. When the peek that a
// Write makes during a renegotiation takes the report, the next Read must still have it.
func TestResetDuringWriteIsNotLost(t *testing.T) {
	s := serverConfig("ecdsa")
	s.Renegotiation = true
	c, e := leavingEnds(t, "tcp", mustClient(t, clientUpTo(TLS12)), mustServer(t, s))
	sc := e.c
	tlstest.Must(t, sc.Renegotiate().Err)
	reset(t, c.c.fd)
	for range 100 { // the reset arrives at once on loopback, but not before close returns
		if r := sc.Write([]byte("x")); r.Err != nil {
			break
		}
	}
	tlstest.IsError(t, "read", sc.Read(make([]byte, 10)).Err, syscall.ECONNRESET)
}

// TestShutdownRefused: the transport refuses close_notify more than once. It must not be lost.
func TestShutdownRefused(t *testing.T) {
	for _, version := range versions {
		cx, sx := mode{version: version, tail: -1, ahead: true, cert: "ecdsa"}.contexts(t)
		c, s := socketEnds(t, "unix", true, cx, sx)
		runSockets(t, c, s, func() bool { return c.established() && s.established() && !s.unsent })
		filled := 0
		for {
			n, err := syscall.Write(s.c.fd, make([]byte, 256))
			if filled += max(n, 0); err == syscall.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			r := s.c.Shutdown()
			demand(t, r.Want == tlsio.WantWrite && !r.Out, "%v: shutdown with the transport full: %+v", version, r)
		}
		buf := make([]byte, 1<<20)
		for drained := 0; drained < filled; {
			n := tlstest.Value(syscall.Read(c.c.fd, buf))(t)
			drained += n
		}
		r := s.c.Shutdown()
		check(t, r.Want == tlsio.WantNone && r.Err == nil && r.Out, "%v: shutdown: %+v", version, r)
		n := tlstest.Value(syscall.Read(c.c.fd, buf))(t)
		check(t, n >= 7, "%v: %d bytes of close_notify came", version, n)
	}
}

// promptly is the result of an operation that must not wait. One that does ends the process: nothing may be freed below it.
func promptly(what string, op func() tlsio.Result) tlsio.Result {
	defer time.AfterFunc(time.Minute, func() { panic(what + " waits") }).Stop()
	return op()
}

// TestSocketMadeBlocking (P41): whoever shares the socket can make it block at any time, such as by os.File's Fd. No operation
// waits for all that.
func TestSocketMadeBlocking(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, version := range versions {
			t.Run(network+" "+version.String(), func(t *testing.T) {
				cx, sx := mode{version: version, ahead: true, cert: "ecdsa"}.contexts(t)
				c, s := socketEnds(t, network, true, cx, sx)
				for _, e := range []*endpoint{c, s} {
					tlstest.Must(t, syscall.SetNonblock(e.c.fd, false))
				}
				wants(t, "the server's Handshake, before there was a hello", promptly("Handshake", s.c.Handshake), tlsio.WantRead)
				promptly("the handshake", func() tlsio.Result {
					runSockets(t, c, s, func() bool { return c.established() && s.established() })
					return tlsio.Result{}
				})
				wants(t, "Read", promptly("Read", func() tlsio.Result { return s.c.Read(s.readBuf) }), tlsio.WantRead)
				p := make([]byte, 16<<10)
				for r := (tlsio.Result{}); r.Want != tlsio.WantWrite; {
					r = promptly("Write", func() tlsio.Result { return s.c.Write(p) })
					tlstest.Must(t, r.Err)
				}
				for what, op := range map[string]func() tlsio.Result{"Flush": s.c.Flush, "Shutdown": s.c.Shutdown,
					"KeyUpdate": func() tlsio.Result { return s.c.KeyUpdate(true) }, "Handshake": s.c.Handshake} {
					promptly(what, op)
				}
			})
		}
	}
}

// TestBlockingConn: where it is asked for, the operations wait as long as the socket does.
func TestBlockingConn(t *testing.T) {
	cx, sx := mode{version: TLS13, ahead: true, cert: "ecdsa"}.contexts(t)
	cfd, sfd := socketPair(t, "unix", false)
	defer syscall.Close(cfd)
	defer syscall.Close(sfd)
	sc := tlstest.Value(sx.NewBlockingConn(sfd, ConnConfig{}))(t)
	defer sc.Close()
	r := sc.Handshake()
	demand(t, r.Want == tlsio.WantRead && !r.In, "Handshake over a socket that does not block: %+v", r)
	tlstest.Must(t, syscall.SetNonblock(sfd, false))
	cc := socketConn(t, cx, cfd, ConnConfig{ServerName: "localhost"})
	done := tlstest.Later(func() tlsio.Result {
		for {
			if r := sc.Handshake(); r.Want == tlsio.WantNone || !r.In { // In: a recv came back short
				return r
			}
		}
	})
	for r := (tlsio.Result{Want: tlsio.WantRead}); r.Want != tlsio.WantNone; {
		r = cc.Handshake()
		tlstest.Must(t, r.Err)
		time.Sleep(time.Millisecond)
	}
	wants(t, "Handshake", <-done, tlsio.WantNone)
	fails(sx.NewBlockingConn(-1, ConnConfig{}))(t, "there is a connection over no socket")
}
