// Blocking is a TLS echo server over blocking sockets, a thread for each: what SSL_MODE_AUTO_RETRY means there, and
// what package cssl makes of it. From the root of the module:
//
//	go run ./examples/blocking
//	openssl s_client -connect localhost:7449
//
// A record may hold nothing for the application: a KeyUpdate (s_client sends one for a line with a k), or for a
// client a ticket. Without auto retry SSL_read may answer WANT_READ when it has dealt with one, though the socket
// blocks. With it, OpenSSL's default, which cssl leaves on, SSL_read goes on to the next record and waits in recv.
//
// That does not make WANT_READ impossible: after a recv that brought less than it had room for, cssl takes the socket
// for empty, and Read answers WantRead instead of calling recv again. So finish calls Read again, and then recv waits:
// no busy loop. It is NewBlockingConn that lets recv wait. With NewConn nobody sees auto retry: recv answers EAGAIN,
// and that is WANT_READ anyway.
//
// A Conn belongs to one goroutine at a time, so nothing is written while a Read waits; and KeyUpdate, which looks for
// input, waits too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// finish calls op until it is done. A want of an op that has moved nothing means that recv or send answered EAGAIN,
// which on a blocking socket says that its own SO_RCVTIMEO or SO_SNDTIMEO has passed.
func finish(op func() tlsio.Result) (int, error) {
	for {
		switch r := op(); {
		case r.Want == tlsio.WantNone:
			return r.N, r.Err
		case !r.In && !r.Out:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// stream is a Conn over a blocking socket as an io.ReadWriter.
type stream struct{ *cssl.Conn }

// Read waits for data, or for the end.
func (s stream) Read(p []byte) (int, error) {
	return finish(func() tlsio.Result { return s.Conn.Read(p) })
}

// Write waits until the kernel has all of p.
func (s stream) Write(p []byte) (n int, err error) {
	for m := 0; n < len(p) && err == nil; n += m {
		m, err = finish(func() tlsio.Result { return s.Conn.Write(p[n:]) })
	}
	if err == nil {
		_, err = finish(s.Flush) // a signal may cut a send short, and then cssl keeps the rest
	}
	return n, err
}

// serve has a connection from its beginning to its end.
func serve(ctx context.Context, fd int, x *cssl.Context, timeout time.Duration) error {
	tls, err := x.NewBlockingConn(fd, cssl.ConnConfig{})
	if err != nil {
		return err
	}
	defer tls.Close()
	limit := unix.NsecToTimeval(int64(timeout)) // of each recv and send; the whole may take longer
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if _, err := finish(tls.Handshake); err != nil {
		return err
	}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{}) // an open connection has no deadline
	_, err = io.Copy(stream{tls}, stream{tls})
	finish(tls.Shutdown) // close_notify, if the connection is fit for one
	finish(tls.Flush)
	return err
}

// open serves c over a blocking descriptor. When ctx is done, that looks as if the peer had ended the connection.
func open(ctx context.Context, c *net.TCPConn, x *cssl.Context, timeout time.Duration) error {
	f, err := c.File() // a duplicate
	c.Close()
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	end := func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RD) } // recv answers 0; closing fd would not wake it
	defer context.AfterFunc(ctx, func() { raw.Control(end) })()
	return serve(ctx, fd, x, timeout)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "blocking:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("blocking", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7449", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	timeout := flags.Duration("timeout", 10*time.Second, "for each wait in a handshake, and for each write")
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
	context.AfterFunc(ctx, func() { listener.Close() })
	fmt.Fprintln(stdout, "listening on", listener.Addr())
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			time.Sleep(time.Second / 10) // such as EMFILE
			continue
		}
		wg.Go(func() { fmt.Fprintln(stdout, "closed:", open(ctx, c.(*net.TCPConn), tls, *timeout)) })
	}
}
