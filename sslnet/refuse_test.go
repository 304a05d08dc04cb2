package sslnet

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestRefused: what cannot work is refused with an error that says so, and the connection stays the caller's.
func TestRefused(t *testing.T) {
	sx, cx := contexts(t)
	noTail, noTailClient := contexts(t, func(server, client *cssl.Config) { server.Tail, client.Tail = -1, -1 })
	closed, closedClient := contexts(t)
	closed.Close()
	closedClient.Close()
	a, b := networks["tcp"](t)
	defer a.Close()
	defer b.Close()
	done, _ := networks["tcp"](t)
	tlstest.Must(t, done.Close())
	var noTCP *net.TCPConn
	var noUnix *net.UnixConn
	var noConn *Conn
	named, unnamed := cssl.ConnConfig{ServerName: "localhost"}, cssl.ConnConfig{}
	asServer := func(c net.Conn, x *cssl.Context, _ cssl.ConnConfig) (*Conn, error) { return Server(c, x) }
	for name, tc := range map[string]struct {
		make func(net.Conn, *cssl.Context, cssl.ConnConfig) (*Conn, error)
		conn net.Conn
		x    *cssl.Context
		cfg  cssl.ConnConfig
		want string
	}{
		"Client: no connection":        {Client, nil, cx, named, "the connection is nil"},
		"Client: no TCP connection":    {Client, noTCP, cx, named, "the connection is nil"},
		"Client: no unix connection":   {Client, noUnix, cx, named, "the connection is nil"},
		"Client: no Conn":              {Client, noConn, cx, named, "the connection is nil"},
		"Client: no context":           {Client, a, nil, named, "the Context is nil"},
		"Client: a server's context":   {Client, a, sx, named, "Client needs a client's Context"},
		"Client: no tail":              {Client, a, noTailClient, named, "Tail"},
		"Client: a closed context":     {Client, a, closedClient, named, "closed"},
		"Client: a closed connection":  {Client, done, cx, named, "use of closed network connection"},
		"Client: an empty connection":  {Client, new(net.TCPConn), cx, named, "invalid argument"},
		"Client: no name to check":     {Client, a, cx, unnamed, "ServerName"},
		"Client: a name with a NUL":    {Client, a, cx, cssl.ConnConfig{ServerName: "a\x00b"}, "NUL"},
		"Client: no name over a valve": {Client, newValve(a), cx, unnamed, "ServerName"},
		"Server: no connection":        {asServer, nil, sx, unnamed, "the connection is nil"},
		"Server: no TCP connection":    {asServer, noTCP, sx, unnamed, "the connection is nil"},
		"Server: no context":           {asServer, a, nil, unnamed, "the Context is nil"},
		"Server: a client's context":   {asServer, a, cx, unnamed, "Server needs a server's Context"},
		"Server: no tail":              {asServer, a, noTail, unnamed, "Tail"},
		"Server: a closed context":     {asServer, a, closed, unnamed, "closed"},
		"Server: a closed connection":  {asServer, done, sx, unnamed, "use of closed network connection"},
	} {
		t.Run(name, func(t *testing.T) {
			alive := live.Conns()
			c, err := tc.make(tc.conn, tc.x, tc.cfg)
			if c != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v and %v, want an error with %q", c, err, tc.want)
			}
			tlstest.Equal(t, "SSLs", live.Conns(), alive)
		})
	}
	// It was not touched.
	client := tlstest.Value(Client(a, cx, named))(t)
	defer client.Close()
	server := tlstest.Value(Server(b, sx))(t)
	defer server.Close()
	shake(t, client, server)
}

// homeless is a connection without addresses.
type homeless struct{ net.Conn }

func (homeless) LocalAddr() net.Addr  { return nil }
func (homeless) RemoteAddr() net.Addr { return nil }

// TestNoAddresses: a connection that has none makes errors without them.
func TestNoAddresses(t *testing.T) {
	a, b := net.Pipe()
	client, server := pairOver(t, homeless{a}, homeless{b})
	shake(t, client, server)
	tlstest.Must(t, client.SetReadDeadline(longAgo))
	timedOut(t, reading(client)())
	client.SetCloseTimeout(tlstest.Hang)
	tlstest.Must(t, client.Close())
	is(t, reading(client)(), net.ErrClosed)
}

// TestRekeyOfOtherVersion: there is no KeyUpdate in TLS 1.2, and no renegotiation in TLS 1.3 or where it was not
// allowed.
func TestRekeyOfOtherVersion(t *testing.T) {
	for what, tc := range map[string]struct {
		v  change
		op func(*Conn) error
	}{
		"KeyUpdate":            {v12, func(c *Conn) error { return c.KeyUpdate(true) }},
		"Renegotiate":          {v13, (*Conn).Renegotiate},
		"Renegotiate, refused": {func(s, c *cssl.Config) { s.MaxVersion = cssl.TLS12 }, (*Conn).Renegotiate},
	} {
		t.Run(what, func(t *testing.T) {
			connected(t, networks, func(t *testing.T, client, server *Conn) {
				is(t, tc.op(client), tlsio.ErrState)
				is(t, tc.op(server), tlsio.ErrState)
				flows(t, client, server, 100, 10)
			}, tc.v)
		})
	}
}

// TestOverLimit: a peer that asks for too many keys gets close_notify, and the reader tlsio.ErrLimit.
func TestOverLimit(t *testing.T) {
	connected(t, networks, func(t *testing.T, client, server *Conn) {
		for range 3 {
			tlstest.Must(t, client.KeyUpdate(false))
		}
		is(t, reading(server)(), tlsio.ErrLimit)
		is(t, writing(server)(), tlsio.ErrLimit)
		closed := tlstest.Later(server.Close)
		is(t, reading(client)(), io.EOF)
		done(t, closed, "Close")
	}, func(s, _ *cssl.Config) { s.MaxMessages = 2 })
}

// diverted is a socket whose Control answers a regular file, which epoll refuses.
type diverted struct {
	syscall.RawConn
	f *os.File
}

func (d diverted) Control(f func(fd uintptr)) error { f(d.f.Fd()); return nil }

// TestCrossRefused: where epoll refuses the descriptor, what must wait for the
// other direction fails instead of waiting for ever.
func TestCrossRefused(t *testing.T) {
	client, server := pair(t, networks["tcp"])
	f := tlstest.Value(os.Create(socketPath(t)))(t)
	defer f.Close()
	s := client.transport.(*socket)
	raw := s.raw
	s.raw = diverted{raw, f}
	is(t, writing(client)(), syscall.EPERM) // it must read, in the handshake
	s.raw = raw
	shake(t, client, server)
}
