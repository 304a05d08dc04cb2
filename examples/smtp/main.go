// Smtp is a mail server that takes mail with TLS only, and drops it. From the root of the module:
//
//	go run ./examples/smtp
//	openssl s_client -starttls smtp -connect localhost:7447
//	swaks --server localhost --port 7447 --tls --to you@example.com
//
// The connection begins in plain text. STARTTLS (RFC 3207) makes it TLS; then the client begins again with EHLO. Commands that
// come in the clear behind STARTTLS, in the hope to be taken for encrypted ones, end the connection.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
)

const (
	maxLine      = 1000 // bytes (RFC 5321, section 4.5.3.1)
	idleTimeout  = 5 * time.Minute
	drainTimeout = 10 * time.Second
)

// client is the Data of a connection.
type client struct {
	secure bool
	begun  []byte // of a line whose end has not come, with TLS
	mail   bool   // in the midst of DATA
}

// server is the handler of both phases, for all loops.
type server struct{ reactor.BaseHandler }

// OnConnect implements reactor.PlainHandler.
func (server) OnConnect(c *reactor.Conn) {
	c.Data = new(client)
	c.Write([]byte("220 localhost ESMTP\r\n"))
}

// OnPlain implements reactor.PlainHandler. It is called with each line.
func (server) OnPlain(c *reactor.Conn, p []byte) int { return c.Data.(*client).line(c, p) }

// OnOpen implements reactor.Handler. What the client said in the clear is forgotten.
func (server) OnOpen(c *reactor.Conn) { c.Data = &client{secure: true} }

// OnData implements reactor.Handler.
func (server) OnData(c *reactor.Conn, p []byte) {
	s := c.Data.(*client)
	s.begun = append(s.begun, p...)
	for n := s.line(c, s.begun); n > 0; n = s.line(c, s.begun) {
		s.begun = s.begun[n:]
	}
}

// line handles the first line of p and returns its size, or 0 while it has no end.
func (s *client) line(c *reactor.Conn, p []byte) int {
	end := bytes.IndexByte(p, '\n')
	if end >= maxLine || end < 0 && len(p) >= maxLine {
		c.Write([]byte("500 the line is too long\r\n"))
		c.Close()
		return len(p)
	}
	if end < 0 {
		return 0
	}
	line := strings.TrimSuffix(string(p[:end]), "\r")
	if s.mail {
		if s.mail = line != "."; !s.mail {
			c.Write([]byte("250 dropped\r\n"))
		}
		return end + 1
	}
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch {
	case verb == "EHLO" && !s.secure:
		c.Write([]byte("250-localhost\r\n250 STARTTLS\r\n"))
	case verb == "EHLO", verb == "HELO":
		c.Write([]byte("250 localhost\r\n"))
	case verb == "NOOP", verb == "RSET":
		c.Write([]byte("250 OK\r\n"))
	case verb == "QUIT":
		c.Write([]byte("221 bye\r\n"))
		c.Close()
	case verb == "STARTTLS" && !s.secure:
		c.Write([]byte("220 go ahead\r\n"))
		if err := c.StartTLS(reactor.StartTLSConfig{}); err != nil {
			c.Abort(err)
		}
	case !s.secure:
		c.Write([]byte("530 Must issue a STARTTLS command first\r\n"))
	case verb == "MAIL", verb == "RCPT":
		c.Write([]byte("250 OK\r\n"))
	case verb == "DATA":
		s.mail = true
		c.Write([]byte("354 end with a dot\r\n"))
	default:
		c.Write([]byte("502 not known\r\n"))
	}
	return end + 1
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "smtp:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("smtp", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7447", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	flags.Parse(args)

	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}})
	if err != nil {
		return err
	}
	defer tls.Close()
	s := &reactor.Server{Addr: *listen, Handler: server{}, Plain: server{}, Context: tls, Limits: reactor.Limits{IdleTimeout: idleTimeout}}
	listeners, err := s.Listen()
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", listeners[0].Addr())
	served := make(chan error, 1)
	go func() { served <- s.Serve(listeners...) }()
	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if s.Shutdown(drain) != nil {
		s.Close()
	}
	return failed
}
