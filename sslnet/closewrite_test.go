package sslnet

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestCloseWrite: each end ends its direction; the other one goes on until its own end. A Write after it is
// tlsio.ErrShutdown, and a second CloseWrite is nothing new.
func TestCloseWrite(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		for i, c := range []*Conn{client, server} {
			peer := []*Conn{server, client}[i]
			sent := tlstest.Later(func() error { return errors.Join(send(c, 50_000, 20_000), c.CloseWrite(), c.CloseWrite()) })
			tlstest.Must(t, expect(peer, 50_000))
			for range 2 {
				is(t, reading(peer)(), io.EOF)
			}
			done(t, sent, "CloseWrite")
			for _, p := range [][]byte{[]byte("x"), nil} {
				n, err := c.Write(p)
				if n != 0 || !errors.Is(err, tlsio.ErrShutdown) {
					t.Errorf("a Write of %d bytes after CloseWrite: %d, %v", len(p), n, err)
				}
			}
			if err := c.KeyUpdate(false); !errors.Is(err, tlsio.ErrState) {
				t.Errorf("KeyUpdate after CloseWrite: %v", err)
			}
		}
		tlstest.Must(t, client.Close())
		tlstest.Must(t, server.Close())
	})
}

// TestCloseWriteEarly: before the handshake is done there is nothing that CloseWrite could say.
func TestCloseWriteEarly(t *testing.T) {
	pairs(t, networks, func(t *testing.T, client, server *Conn) {
		is(t, client.CloseWrite(), tlsio.ErrState)
		shake(t, client, server)
		tlstest.Must(t, client.CloseWrite())
		is(t, reading(server)(), io.EOF)
	})
}

// TestCloseWriteAnswers: after CloseWrite a KeyUpdate that asks for an answer does not disturb reading.
func TestCloseWriteAnswers(t *testing.T) {
	connected(t, networks, func(t *testing.T, client, server *Conn) {
		tlstest.Must(t, client.CloseWrite())
		is(t, reading(server)(), io.EOF)
		read := tlstest.Later(func() error { return expect(client, 1000) })
		tlstest.Must(t, server.KeyUpdate(true))
		tlstest.Must(t, send(server, 1000, 10))
		done(t, read, "Read")
		tlstest.Must(t, server.Close())
		is(t, reading(client)(), io.EOF)
		tlstest.Must(t, client.Close())
	})
}

// TestCloseWriteCarriesOn: a CloseWrite in the midst of a renegotiation ends that first, though what it has to say
// did not find room in the transport.
func TestCloseWriteCarriesOn(t *testing.T) {
	connected(t, narrow, func(t *testing.T, client, server *Conn) {
		n := full(t, client)
		renegotiates(t, client)
		ended := tlstest.Later(client.CloseWrite)
		waiting(t, client, &client.writer, tlsio.WantRead)
		take(t, client, server, n)
		is(t, reading(server)(), io.EOF)
		done(t, ended, "CloseWrite")
	}, v12)
}

// TestRenegotiateFromFull: a client whose request for a renegotiation finds no room sends it as soon as there is
// some, with nothing but Renegotiate being called.
func TestRenegotiateFromFull(t *testing.T) {
	connected(t, narrow, func(t *testing.T, client, server *Conn) {
		n := full(t, client)
		rekeyed := tlstest.Later(client.Renegotiate)
		waiting(t, client, &client.writer, tlsio.WantRead)
		take(t, client, server, n)
		read := tlstest.Later(reading(server))
		done(t, rekeyed, "Renegotiate")
		say(t, client, "x")
		done(t, read, "Read")
	}, v12)
}

// TestRekeyWaitsForAnother: what begins while the peer's renegotiation is under way waits for its end and is no
// error.
func TestRekeyWaitsForAnother(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, n := readMustWrite(t, client, server)
		again := tlstest.Later(server.Renegotiate)
		waiting(t, server, &server.writer, tlsio.WantWrite)
		finishRead(t, client, server, read, rekeyed, n)
		done(t, again, "the server's Renegotiate")
	})
}

// slowEnd is a connection whose own CloseWrite waits.
type slowEnd struct {
	net.Conn
	called, released chan struct{}
}

func (s *slowEnd) CloseWrite() error {
	close(s.called)
	<-s.released
	return nil
}

// TestCloseWriteBelow: the connection below has a CloseWrite that waits, as that of TLS does. Meanwhile reading
// and Close are not held up.
func TestCloseWriteBelow(t *testing.T) {
	a, b := net.Pipe()
	slow := &slowEnd{Conn: a, called: make(chan struct{}), released: make(chan struct{})}
	client, server := pairOver(t, slow, b)
	shake(t, client, server)
	ended := tlstest.Later(client.CloseWrite)
	tlstest.Receive(t, slow.called, "CloseWrite below")
	fails(t, tlstest.Later(reading(server)), "the end", io.EOF)
	say(t, server, "x")
	done(t, tlstest.Later(reading(client)), "Read")
	done(t, tlstest.Later(client.Close), "Close")
	close(slow.released)
	done(t, ended, "CloseWrite")
}
