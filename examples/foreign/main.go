// Foreign is a TLS echo server inside a framework that owns the sockets and hands bytes over: cssl's engine mode.
// What stands for the framework is in framework.go. From the root of the module:
//
//	go run ./examples/foreign
//	openssl s_client -quiet -connect localhost:7448
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// conn is a connection: the framework's handler of a link, and the Handler of its own Session.
type conn struct {
	session.BaseHandler
	session.Session
	server *server
	tls    *cssl.Conn
	link   *link
	out    [32 << 10]byte // ciphertext; the framework's while the link is busy
	phase  session.Phase
}

// OnTraffic carries bytes between link and engine. Backpressure goes all the way round: a peer that does not read keeps
// the link busy, so there is no Room, and in the end the framework, whose bytes are not consumed, reads no more.
func (c *conn) OnTraffic() {
	if err := c.link.end; err != nil && err != io.EOF {
		c.Broken(err)
	}
	done := c.Exchange((*transport)(c))
	if p := c.Phase(); p != c.phase { // each but Open has a deadline. When it passes, the link has an end
		c.phase = p
		var deadline time.Time
		if p != session.Open {
			deadline = time.Now().Add(c.server.timeout)
		}
		c.link.tcp.SetDeadline(deadline)
	}
	if done {
		c.tls.Close()
		c.link.close()
	}
}

// OnStop begins a close in good order.
func (c *conn) OnStop() {
	c.Close(nil)
	c.OnTraffic()
}

func (c *conn) OnClose(err error) { fmt.Fprintln(c.server.stdout, "closed:", err) }

func (c *conn) OnData(p []byte) {
	if err := c.Write(p); err != nil {
		c.Abort(err) // an echo with a hole in it is none
	}
}

// transport is the link of a conn, as its Session sees it.
type transport conn

func (t *transport) Received() (p []byte, end bool) { return t.link.in, t.link.end != nil }
func (t *transport) Consume(n int)                  { t.link.take(n) }
func (t *transport) Send(n int)                     { t.link.send(t.out[:n]) }
func (t *transport) CloseWrite()                    { t.link.send(nil) }

func (t *transport) Room() []byte {
	if t.link.busy {
		return nil
	}
	return t.out[:]
}

// server is what the connections share.
type server struct {
	tls     *cssl.Context
	shared  *session.Config
	timeout time.Duration
	stdout  io.Writer
}

func (s *server) open(l *link) (handler, error) {
	tls, err := s.tls.NewEngineConn(cssl.ConnConfig{})
	if err != nil {
		return nil, err
	}
	l.tcp.SetDeadline(time.Now().Add(s.timeout)) // for the handshake
	c := &conn{server: s, tls: tls, link: l}
	c.Init(tls, c, s.shared)
	c.ExpectPeer() // there is nothing to do before the client has spoken
	return c, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "foreign:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("foreign", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7448", "address to listen on")
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
	fmt.Fprintln(stdout, "listening on", listener.Addr())
	serve(ctx, listener, (&server{tls, new(session.Config), *timeout, stdout}).open)
	return nil
}
