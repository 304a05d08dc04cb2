// Select is a TLS echo server on a select(2) loop. From the root of the module:
//
//	go run ./examples/select
//	openssl s_client -quiet -connect localhost:7447
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

// conn is a connection, and the Handler of its own Session.
type conn struct {
	session.BaseHandler
	session.Session
	tls   *cssl.Conn
	fd    int
	since time.Time // when it was accepted, or last seen open: the deadline counts from here
}

func (c *conn) OnData(p []byte) {
	if err := c.Write(p); err != nil {
		c.Abort(err) // an echo with a hole in it is none
	}
}

func (c *conn) OnClose(err error) {
	c.tls.Close()
	unix.Close(c.fd)
}

// errSetSize: an FdSet has a fixed size. Set panics behind its end; the same in C writes there.
var errSetSize = fmt.Errorf("select(2) takes descriptors below %d (FD_SETSIZE) only: use poll or epoll", unix.FD_SETSIZE)

// serve is the event loop. It runs until ctx is done and all connections have closed.
func serve(ctx context.Context, listener int, tls *cssl.Context, timeout time.Duration, out io.Writer) error {
	if listener >= unix.FD_SETSIZE {
		return errSetSize
	}
	var conns []*conn
	shared := new(session.Config)                                       // with the read buffer of all connections
	unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // what is accepted inherits it
	for full, stopping := false, false; !stopping || len(conns) > 0; {
		var r, w unix.FdSet
		wait := unix.Timeval{Sec: 1} // so often are the deadlines looked at
		if !full && !stopping {
			r.Set(listener)
		}
		for _, c := range conns {
			if c.Interest()&session.Readable != 0 {
				r.Set(c.fd)
			}
			if c.Interest()&session.Writable != 0 { // never because there is something to send
				w.Set(c.fd)
			}
			if c.Runnable() {
				wait.Sec = 0 // no event would tell of what it has to do
			}
		}
		if _, err := unix.Select(unix.FD_SETSIZE, &r, &w, nil, &wait); err != nil && err != unix.EINTR {
			return err // EINTR leaves the sets as they were, and to try what is not ready does no harm
		}
		stopping = ctx.Err() != nil
		for _, c := range conns {
			if c.Phase() == session.Open {
				c.since = time.Now()
			} else if time.Since(c.since) >= timeout { // the handshake or the close takes too long
				c.Abort(os.ErrDeadlineExceeded)
			}
			if stopping {
				c.Close(nil)
			}
			var got session.Event // a reset is in each of the sets that it was asked for in
			if r.IsSet(c.fd) {
				got |= session.Readable
			}
			if w.IsSet(c.fd) {
				got |= session.Writable
			}
			c.Ready(got) // for 0 it does what is Runnable, or nothing
		}
		conns = slices.DeleteFunc(conns, func(c *conn) bool { return c.Phase() == session.Closed })
		for full = false; r.IsSet(listener) && !stopping; {
			fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				full = err != unix.EAGAIN // such as EMFILE, which the next select would bring again: leave that one out
				break
			}
			c := &conn{fd: fd, since: time.Now()}
			if err = errSetSize; fd < unix.FD_SETSIZE {
				c.tls, err = tls.NewConn(fd, cssl.ConnConfig{})
			}
			if err != nil {
				fmt.Fprintf(out, "descriptor %d is refused: %v\n", fd, err)
				unix.Close(fd)
				continue
			}
			c.Init(c.tls, c, shared)
			c.ExpectPeer()
			conns = append(conns, c)
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "select:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("select", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7447", "address to listen on")
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
	raw, _ := listener.(*net.TCPListener).SyscallConn() // there is one as long as the listener is open
	context.AfterFunc(ctx, func() { raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RD) }) })
	raw.Control(func(fd uintptr) { err = serve(ctx, int(fd), tls, *timeout, stdout) })
	return err
}
