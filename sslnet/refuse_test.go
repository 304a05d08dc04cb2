package sslnet

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
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
	must(t, done.Close())
	var noTCP *net.TCPConn
	var noUnix *net.UnixConn
	var noConn *Conn
	named := cssl.ConnConfig{ServerName: "localhost"}
	for name, tc := range map[string]struct {
		conn net.Conn
		x    *cssl.Context
		cfg  cssl.ConnConfig
		want string
	}{
		"no connection":        {nil, cx, named, "the connection is nil"},
		"no TCP connection":    {noTCP, cx, named, "the connection is nil"},
		"no unix connection":   {noUnix, cx, named, "the connection is nil"},
		"no Conn":              {noConn, cx, named, "the connection is nil"},
		"no context":           {a, nil, named, "the Context is nil"},
		"a server's context":   {a, sx, named, "Client needs a client's Context"},
		"no tail":              {a, noTailClient, named, "Tail"},
		"a closed context":     {a, closedClient, named, "closed"},
		"a closed connection":  {done, cx, named, "use of closed network connection"},
		"an empty connection":  {new(net.TCPConn), cx, named, "invalid argument"},
		"no name to check":     {a, cx, cssl.ConnConfig{}, "ServerName"},
		"a name with a NUL":    {a, cx, cssl.ConnConfig{ServerName: "a\x00b"}, "NUL"},
		"no name over a valve": {newValve(a), cx, cssl.ConnConfig{}, "ServerName"},
	} {
		t.Run("Client: "+name, func(t *testing.T) {
			refused(t, tc.want, func() (*Conn, error) { return Client(tc.conn, tc.x, tc.cfg) })
		})
	}
	for name, tc := range map[string]struct {
		conn net.Conn
		x    *cssl.Context
		want string
	}{
		"no connection":       {nil, sx, "the connection is nil"},
		"no TCP connection":   {noTCP, sx, "the connection is nil"},
		"no context":          {a, nil, "the Context is nil"},
		"a client's context":  {a, cx, "Server needs a server's Context"},
		"no tail":             {a, noTail, "Tail"},
		"a closed context":    {a, closed, "closed"},
		"a closed connection": {done, sx, "use of closed network connection"},
	} {
		t.Run("Server: "+name, func(t *testing.T) {
			refused(t, tc.want, func() (*Conn, error) { return Server(tc.conn, tc.x) })
		})
	}
	// It was not touched.
	client, err := Client(a, cx, named)
	must(t, err)
	defer client.Close()
	server, err := Server(b, sx)
	must(t, err)
	defer server.Close()
	shake(t, client, server)
}

func refused(t *testing.T, want string, f func() (*Conn, error)) {
	t.Helper()
	alive := live.Conns()
	c, err := f()
	if c != nil || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v and %v, want an error with %q", c, err, want)
	}
	if n := live.Conns(); n != alive {
		t.Errorf("%d SSLs more than before", n-alive)
	}
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
	must(t, client.SetReadDeadline(longAgo))
	timedOut(t, reading(client)())
	client.SetCloseTimeout(hang)
	must(t, client.Close())
	is(t, reading(client)(), net.ErrClosed)
}

// TestExporter: both ends derive the same, and a wrong question is an error.
func TestExporter(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		a, err := client.ExportKeyingMaterial("EXPERIMENTAL test", []byte("context"), 40)
		must(t, err)
		b, err := server.ExportKeyingMaterial("EXPERIMENTAL test", []byte("context"), 40)
		must(t, err)
		if len(a) != 40 || string(a) != string(b) {
			t.Errorf("the ends have %x and %x", a, b)
		}
		if _, err := client.ExportKeyingMaterial("EXPERIMENTAL test", nil, 0); err == nil {
			t.Error("nothing was exported without an error")
		}
	})
	client, _ := pair(t, networks["tcp"])
	if _, err := client.ExportKeyingMaterial("EXPERIMENTAL test", nil, 32); !errors.Is(err, tlsio.ErrState) {
		t.Errorf("before the handshake: %v", err)
	}
}

// TestRekeyOfOtherVersion: there is no KeyUpdate in TLS 1.2, and no renegotiation in TLS 1.3 or where it was not
// allowed.
func TestRekeyOfOtherVersion(t *testing.T) {
	for name, network := range networks {
		for what, tc := range map[string]struct {
			v  change
			op func(*Conn) error
		}{
			"KeyUpdate":            {v12, func(c *Conn) error { return c.KeyUpdate(true) }},
			"Renegotiate":          {v13, (*Conn).Renegotiate},
			"Renegotiate, refused": {func(s, c *cssl.Config) { s.MaxVersion = cssl.TLS12 }, (*Conn).Renegotiate},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				client, server := connect(t, network, tc.v)
				is(t, tc.op(client), tlsio.ErrState)
				is(t, tc.op(server), tlsio.ErrState)
				sent := later(func() error { return send(client, 100, 10) })
				must(t, expect(server, 100))
				must(t, receive(t, sent, "Write"))
			})
		}
	}
}

// TestOverLimit: a peer that asks for too many keys gets close_notify, and the reader tlsio.ErrLimit.
func TestOverLimit(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network, func(s, _ *cssl.Config) { s.MaxMessages = 2 })
			for range 3 {
				must(t, client.KeyUpdate(false))
			}
			is(t, reading(server)(), tlsio.ErrLimit)
			_, err := server.Write([]byte("x"))
			is(t, err, tlsio.ErrLimit)
			closed := later(server.Close)
			is(t, reading(client)(), io.EOF)
			must(t, receive(t, closed, "Close"))
		})
	}
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
	f, err := os.Create(socketPath(t))
	must(t, err)
	defer f.Close()
	s := client.transport.(*socket)
	raw := s.raw
	s.raw = diverted{raw, f}
	_, err = client.Write([]byte("x")) // which must read, in the handshake
	is(t, err, syscall.EPERM)
	s.raw = raw
	shake(t, client, server)
}
