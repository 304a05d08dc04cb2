// Mux serves TLS and plain HTTP on one port, with a PROXY protocol header in front or without. The first bytes decide: an HTTP
// request in the clear is redirected to https, and TLS gets an echo. From the root of the module:
//
//	go run ./examples/mux
//	openssl s_client -quiet -connect localhost:7448
//	curl -i http://localhost:7448/page
//	curl -i --haproxy-protocol http://localhost:7448/page
//
// A real server takes a PROXY header from its proxies only, or anyone could choose an address; see adapters/proxyproto.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	maxRequest   = 8 << 10 // bytes
	drainTimeout = 10 * time.Second
	v2           = "\r\n\r\n\x00\r\nQUIT\n" // how a PROXY header of version 2 begins
)

// server is the handler of both phases, for all loops.
type server struct{ reactor.BaseHandler }

// OnConnect implements reactor.PlainHandler.
func (server) OnConnect(*reactor.Conn) {}

// OnPlain implements reactor.PlainHandler.
func (server) OnPlain(c *reactor.Conn, p []byte) int {
	if p[0] == 0x16 { // a TLS handshake record
		if err := c.StartTLS(reactor.StartTLSConfig{Leftover: tlsio.LeftoverTLS}); err != nil {
			c.Abort(err)
		}
		return 0
	}
	head, _, whole := bytes.Cut(p, []byte("\r\n\r\n"))
	line, _, _ := strings.Cut(string(head), "\r\n")
	words := strings.Split(line, " ")
	var host string
	for field := range strings.SplitSeq(string(head), "\r\n") {
		if name, value, _ := strings.Cut(field, ":"); strings.EqualFold(name, "Host") {
			host = strings.TrimSpace(value)
		}
	}
	switch {
	case len(p) > maxRequest, whole && (len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") || host == ""):
		c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
	case !whole:
		return 0
	default:
		fmt.Fprintf(c, "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://%s%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", host, words[1])
	}
	c.Close()
	return len(p)
}

// OnOpen implements reactor.Handler.
func (server) OnOpen(c *reactor.Conn) { fmt.Fprintf(c, "hello %v\n", c.RemoteAddr()) }

// OnData implements reactor.Handler.
func (server) OnData(c *reactor.Conn, p []byte) {
	if _, err := c.Write(p); err != nil {
		c.Abort(err)
	}
}

// header is Server.Header: it parses a PROXY header, if there is one.
func header(c *reactor.Conn, p []byte) (n int, done bool, err error) {
	switch {
	case begins(p, v2):
		return header2(c, p)
	case !begins(p, "PROXY "):
		return 0, true, nil
	}
	line, _, whole := bytes.Cut(p, []byte("\r\n"))
	if !whole || len(line) > 105 {
		if len(p) > 107 {
			err = errors.New("a PROXY header is too long")
		}
		return 0, false, err
	}
	words := strings.Split(string(line), " ")
	if words[1] == "UNKNOWN" {
		return len(line) + 2, true, nil
	}
	if len(words) != 6 {
		return 0, false, fmt.Errorf("PROXY header %q: it needs six words", line)
	}
	remote, err := netip.ParseAddrPort(net.JoinHostPort(words[2], words[4]))
	c.SetRemote(remote)
	return len(line) + 2, true, err
}

// begins reports whether p begins with start, or may when there is more of it.
func begins(p []byte, start string) bool {
	n := min(len(p), len(start))
	return string(p[:n]) == start[:n]
}

// header2 parses a header of version 2.
func header2(c *reactor.Conn, p []byte) (n int, done bool, err error) {
	if len(p) < 16 {
		return 0, false, nil
	}
	n = 16 + int(binary.BigEndian.Uint16(p[14:]))
	if len(p) < n {
		return 0, false, nil
	}
	addrs := p[16:n]
	switch {
	case p[12] == 0x21 && p[13] == 0x11 && len(addrs) >= 12: // PROXY, TCP over IPv4
		c.SetRemote(netip.AddrPortFrom(netip.AddrFrom4([4]byte(addrs)), binary.BigEndian.Uint16(addrs[8:])))
	case p[12] == 0x21 && p[13] == 0x21 && len(addrs) >= 36: // PROXY, TCP over IPv6
		c.SetRemote(netip.AddrPortFrom(netip.AddrFrom16([16]byte(addrs)), binary.BigEndian.Uint16(addrs[32:])))
	case p[12] != 0x20: // LOCAL: the proxy itself
		err = fmt.Errorf("a PROXY header of kind %#x", p[12:14])
	}
	return n, true, err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mux:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("mux", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7448", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	flags.Parse(args)

	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}})
	if err != nil {
		return err
	}
	defer tls.Close()
	s := &reactor.Server{Addr: *listen, Handler: server{}, Plain: server{}, Header: header, Context: tls, Limits: reactor.Limits{IdleTimeout: time.Minute}}
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
