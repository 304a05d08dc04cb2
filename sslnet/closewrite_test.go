package sslnet

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestCloseWrite: each end ends its direction; the other one goes on until its own end. A Write after it is
// tlsio.ErrShutdown, and a second CloseWrite is nothing new.
func TestCloseWrite(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		for i, c := range []*Conn{client, server} {
			peer := []*Conn{server, client}[i]
			sent := later(func() error { return errors.Join(send(c, 50_000, 20_000), c.CloseWrite(), c.CloseWrite()) })
			must(t, expect(peer, 50_000))
			for range 2 {
				is(t, reading(peer)(), io.EOF)
			}
			must(t, receive(t, sent, "CloseWrite"))
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
		must(t, client.Close())
		must(t, server.Close())
	})
}

// TestCloseWriteEarly: before the handshake is done there is nothing that CloseWrite could say.
func TestCloseWriteEarly(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, network)
			is(t, client.CloseWrite(), tlsio.ErrState)
			shake(t, client, server)
			must(t, client.CloseWrite())
			is(t, reading(server)(), io.EOF)
		})
	}
}

// TestCloseWriteAnswers: after CloseWrite a KeyUpdate that asks for an answer does not disturb reading.
func TestCloseWriteAnswers(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network)
			must(t, client.CloseWrite())
			is(t, reading(server)(), io.EOF)
			read := later(func() error { return expect(client, 1000) })
			must(t, server.KeyUpdate(true))
			must(t, send(server, 1000, 10))
			must(t, receive(t, read, "Read"))
			must(t, server.Close())
			is(t, reading(client)(), io.EOF)
			must(t, client.Close())
		})
	}
}

// TestCloseWriteCarriesOn: a CloseWrite in the midst of a renegotiation ends that first, though what it has to say
// did not find room in the transport.
func TestCloseWriteCarriesOn(t *testing.T) {
	for name, network := range narrow {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network, v12)
			n := full(t, client)
			rekeyed := later(client.Renegotiate)
			waiting(t, client, &client.writer, tlsio.WantRead)
			must(t, client.SetWriteDeadline(longAgo))
			timedOut(t, receive(t, rekeyed, "Renegotiate"))
			must(t, client.SetWriteDeadline(noDeadline))
			ended := later(client.CloseWrite)
			waiting(t, client, &client.writer, tlsio.WantRead)
			take(t, client, server, n)
			is(t, reading(server)(), io.EOF)
			must(t, receive(t, ended, "CloseWrite"))
		})
	}
}

// TestRenegotiateFromFull: a client whose request for a renegotiation finds no room sends it as soon as there is
// some, with nothing but Renegotiate being called.
func TestRenegotiateFromFull(t *testing.T) {
	for name, network := range narrow {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network, v12)
			n := full(t, client)
			rekeyed := later(client.Renegotiate)
			waiting(t, client, &client.writer, tlsio.WantRead)
			take(t, client, server, n)
			read := later(reading(server))
			must(t, receive(t, rekeyed, "Renegotiate"))
			_, err := client.Write([]byte("x"))
			must(t, err)
			must(t, receive(t, read, "Read"))
		})
	}
}

// TestRekeyWaitsForAnother: what begins while the peer's renegotiation is under way waits for its end and is no
// error.
func TestRekeyWaitsForAnother(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, n := readMustWrite(t, client, server)
		again := later(server.Renegotiate)
		waiting(t, server, &server.writer, tlsio.WantWrite)
		finishRead(t, client, server, read, rekeyed, n)
		must(t, receive(t, again, "the server's Renegotiate"))
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
	ended := later(client.CloseWrite)
	receive(t, slow.called, "CloseWrite below")
	is(t, receive(t, later(reading(server)), "the end"), io.EOF)
	_, err := server.Write([]byte("x"))
	must(t, err)
	must(t, receive(t, later(reading(client)), "Read"))
	must(t, receive(t, later(client.Close), "Close"))
	close(slow.released)
	must(t, receive(t, ended, "CloseWrite"))
}
