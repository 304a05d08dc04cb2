// Postgres is a server that psql can talk to, with TLS only. It knows one kind of query. From the root of the module:
//
//	go run ./examples/postgres
//	psql "host=localhost port=7446 user=me dbname=db sslmode=verify-full sslrootcert=testdata/certs/root.pem" -c 'select hello'
//
// A connection begins in plain text. A client asks for TLS with an SSLRequest, or begins with a ClientHello at once
// (sslnegotiation=direct, from PostgreSQL 17 on), which must then name the protocol by ALPN; see "Message Flow" in
// PostgreSQL's manual. What the client sends in the clear behind an SSLRequest, before the response to it, ends the
// connection (CVE-2021-23214).
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
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
	"github.com/spacemonad/go-openssl/tlsio"
)

const (
	codeCancel = 1234<<16 | 5678
	codeSSL    = 1234<<16 | 5679
	codeGSS    = 1234<<16 | 5680

	maxMessage   = 64 << 10
	alpn         = "postgresql"
	drainTimeout = 10 * time.Second
)

// client is the Data of a connection.
type client struct {
	direct  bool   // it began with a ClientHello
	begun   []byte // of a message whose end has not come
	started bool   // its startup message has come
}

// server is the handler of both phases, for all loops.
type server struct{ reactor.BaseHandler }

// OnConnect implements reactor.PlainHandler: the client speaks first.
func (server) OnConnect(c *reactor.Conn) { c.Data = new(client) }

// OnPlain implements reactor.PlainHandler.
func (server) OnPlain(c *reactor.Conn, p []byte) int {
	if p[0] == 0x16 { // a TLS handshake record
		c.Data.(*client).direct = true
		startTLS(c, tlsio.LeftoverTLS)
		return 0
	}
	size, code := startup(p)
	switch {
	case size == 0:
		return 0
	case code == codeSSL:
		c.Write([]byte("S"))
		startTLS(c, tlsio.LeftoverRefuse)
	case code == codeGSS:
		c.Write([]byte("N"))
	case code == codeCancel:
		c.Close()
	default:
		fail(c, "08P01", "this server wants TLS: use sslmode=require")
	}
	return min(size, len(p))
}

func startTLS(c *reactor.Conn, leftover tlsio.Leftover) {
	if err := c.StartTLS(reactor.StartTLSConfig{Leftover: leftover}); err != nil {
		c.Abort(err)
	}
}

// startup returns the size and the code of the first message of p, or 0 while it is not complete.
func startup(p []byte) (size int, code uint32) {
	if len(p) < 8 {
		return 0, 0
	}
	size, code = int(binary.BigEndian.Uint32(p)), binary.BigEndian.Uint32(p[4:])
	if size < 8 || size > maxMessage {
		return len(p), 0 // not a startup message
	}
	if len(p) < size {
		return 0, 0
	}
	return size, code
}

// OnOpen implements reactor.Handler.
func (server) OnOpen(c *reactor.Conn) {
	if c.Data.(*client).direct && c.State().ALPN != alpn {
		c.Abort(errors.New("a direct connection without ALPN"))
	}
}

// OnData implements reactor.Handler.
func (server) OnData(c *reactor.Conn, p []byte) {
	s := c.Data.(*client)
	for s.begun = append(s.begun, p...); ; {
		n := s.message(c)
		if n == 0 || n > len(s.begun) {
			break
		}
		s.begun = s.begun[n:]
	}
	if len(s.begun) > maxMessage {
		fail(c, "54000", "a message is too long")
	}
}

// message responds to the first message of begun, and returns its size, or 0 while it is not complete.
func (s *client) message(c *reactor.Conn) int {
	if !s.started {
		size, code := startup(s.begun)
		if size > 0 && code>>16 != 3 {
			fail(c, "08P01", "not a startup message of protocol 3")
		} else if size > 0 {
			s.started = true
			c.Write(message('R', make([]byte, 4))) // AuthenticationOk
			c.Write(message('S', []byte("server_version\x0015.0\x00")))
			c.Write(message('S', []byte("client_encoding\x00UTF8\x00")))
			c.Write(message('Z', []byte("I"))) // ReadyForQuery
		}
		return size
	}
	if len(s.begun) < 5 {
		return 0
	}
	size := 1 + int(binary.BigEndian.Uint32(s.begun[1:]))
	if size < 5 || size > len(s.begun) {
		return 0
	}
	body := s.begun[5:size]
	switch s.begun[0] {
	case 'X': // Terminate
		c.Close()
	case 'Q':
		query(c, string(bytes.TrimRight(body, "\x00")))
	default:
		fail(c, "0A000", "this server has simple queries only")
	}
	return size
}

// query responds to a query with what it selects.
func query(c *reactor.Conn, q string) {
	verb, value, _ := strings.Cut(strings.TrimRight(q, "; "), " ")
	if !strings.EqualFold(verb, "select") {
		c.Write(problem("ERROR", "0A000", "this server knows SELECT only"))
	} else {
		// One column: its name, no table, of type text (25), of any size, as text.
		c.Write(message('T', []byte("\x00\x01value\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")))
		row := binary.BigEndian.AppendUint32([]byte{0, 1}, uint32(len(value)))
		c.Write(message('D', append(row, value...)))
		c.Write(message('C', []byte("SELECT 1\x00")))
	}
	c.Write(message('Z', []byte("I")))
}

// fail ends a connection, in the clear or with TLS, with an error that the client shows.
func fail(c *reactor.Conn, code, text string) {
	c.Write(problem("FATAL", code, text))
	c.Close()
}

// problem is an ErrorResponse.
func problem(severity, code, text string) []byte {
	return message('E', fmt.Appendf(nil, "S%s\x00C%s\x00M%s\x00\x00", severity, code, text))
}

// message is a message with its type and length.
func message(kind byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "postgres:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("postgres", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7446", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	flags.Parse(args)

	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}, ALPN: []string{alpn}})
	if err != nil {
		return err
	}
	defer tls.Close()
	s := &reactor.Server{Addr: *listen, Handler: server{}, Plain: server{}, Context: tls, Limits: reactor.Limits{IdleTimeout: time.Hour}}
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
