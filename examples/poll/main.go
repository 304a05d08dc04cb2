// Poll is a TLS echo server on a bare poll(2) loop: all that an event loop of one's own owes to package session.
// From the root of the module:
//
//	go run ./examples/poll
//	openssl s_client -quiet -connect localhost:7446
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

// conn is a connection, and the Handler of its own Session. There is no half-close: the session answers a peer's
// close_notify with what is queued, and then with ours.
type conn struct {
	session.BaseHandler
	session.Session
	tls   *cssl.Conn
	fd    int
	since time.Time // when it was accepted, or last seen open: the deadline counts from here
	out   io.Writer
}

// OnData queues a copy of p. The Ready that has called it writes that too.
func (c *conn) OnData(p []byte) {
	if err := c.Write(p); err != nil {
		c.Abort(err) // an echo with a hole in it is none
	}
}

// OnClose comes last, whatever has happened. err is nil if both sides ended the connection cleanly.
func (c *conn) OnClose(err error) {
	fmt.Fprintln(c.out, "closed:", err)
	c.tls.Close()
	unix.Close(c.fd) // accept can give the number to another; it comes when this turn's events have been dealt with
}

// bits are those of poll for a session's Interest: nothing, Readable, Writable, or both.
var bits = [...]int16{0, unix.POLLIN, unix.POLLOUT, unix.POLLIN | unix.POLLOUT}

// serve is the event loop. It runs until ctx is done and all connections have closed.
func serve(ctx context.Context, listener int, tls *cssl.Context, timeout time.Duration, out io.Writer) error {
	var fds []unix.PollFd
	var conns []*conn
	shared := new(session.Config)                                       // with the read buffer of all connections
	unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // what is accepted inherits it
	for full, stopping := false, false; !stopping || len(conns) > 0; {
		wait := 1000 // ms; so often are the deadlines looked at
		fds = append(fds[:0], unix.PollFd{Fd: int32(listener), Events: unix.POLLIN})
		if full || stopping {
			fds[0].Fd = -1 // poll leaves it out
		}
		for _, c := range conns {
			fds = append(fds, unix.PollFd{Fd: int32(c.fd), Events: bits[c.Interest()]})
			if c.Runnable() {
				wait = 0 // no event would tell of what it has to do
			}
		}
		if _, err := unix.Poll(fds, wait); err != nil && err != unix.EINTR {
			return err
		}
		now := time.Now()
		stopping = ctx.Err() != nil
		for i, c := range conns {
			if c.Phase() == session.Open {
				c.since = now
			} else if now.Sub(c.since) >= timeout { // the handshake or the close takes too long
				c.Abort(os.ErrDeadlineExceeded)
			}
			if stopping {
				c.Close(nil) // what is queued still goes out, then close_notify and FIN
			}
			var got session.Event
			if fds[i+1].Revents&^unix.POLLOUT != 0 { // POLLHUP and POLLERR, which come unasked, are both directions
				got |= session.Readable
			}
			if fds[i+1].Revents&^unix.POLLIN != 0 {
				got |= session.Writable
			}
			if got != 0 || c.Runnable() { // Abort and Close make it runnable
				c.Ready(got)
			}
		}
		conns = slices.DeleteFunc(conns, func(c *conn) bool { return c.Phase() == session.Closed })
		for full = false; fds[0].Revents != 0 && !stopping; {
			fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				full = err != unix.EAGAIN // such as EMFILE, which the next poll would bring again: leave that one out
				break
			}
			c := &conn{fd: fd, since: now, out: out}
			if c.tls, err = tls.NewConn(fd, cssl.ConnConfig{}); err != nil {
				unix.Close(fd)
				continue
			}
			c.Init(c.tls, c, shared)
			c.ExpectPeer() // there is nothing to do before the client has spoken
			conns = append(conns, c)
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "poll:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("poll", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7446", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	timeout := flags.Duration("timeout", 10*time.Second, "for a handshake, and for a close")
	flags.Parse(args)
	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}})
	if err != nil {
		return err
	}
	defer tls.Close()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintln(stdout, "listening on", listener.Addr())
	raw, _ := listener.(*net.TCPListener).SyscallConn()               // there is one as long as the listener is open
	wake := func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RD) } // poll reports it
	context.AfterFunc(ctx, func() { raw.Control(wake) })
	raw.Control(func(fd uintptr) { err = serve(ctx, int(fd), tls, *timeout, stdout) })
	return err
}
