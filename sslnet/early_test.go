package sslnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// early makes the server accept early data.
func early(n uint32) change { return func(server, _ *cssl.Config) { server.MaxEarlyData = n } }

// earlyPair makes a client with a session, and a server, of the same Contexts as an earlier connection.
func earlyPair(t *testing.T, network network, sx, cx *cssl.Context) (client, server *Conn) {
	t.Helper()
	var session *cssl.Session
	for range 2 {
		a, b := network(t)
		var err error
		client, err = Client(a, cx, cssl.ConnConfig{ServerName: "localhost", Session: session})
		must(t, err)
		server, err = Server(b, sx)
		must(t, err)
		for _, c := range []*Conn{client, server} {
			t.Cleanup(func() { c.SetCloseTimeout(0); c.Close() })
		}
		if session != nil {
			break
		}
		shake(t, client, server)
		read := later(reading(client))
		_, err = server.Write([]byte("x"))
		must(t, err)
		must(t, receive(t, read, "the client's Read"))
		session = client.Session()
	}
	return client, server
}

// readEarly reads early data to its end.
func readEarly(c *Conn) ([]byte, error) {
	var all []byte
	p := make([]byte, 5000)
	for {
		n, err := c.ReadEarlyData(p)
		if all = append(all, p[:n]...); err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// TestEarlyData: a client writes before the handshake, the server answers before it is done, and both go on from there.
func TestEarlyData(t *testing.T) {
	for name, network := range narrow {
		for _, size := range []int{1, 300000} {
			t.Run(name, func(t *testing.T) {
				sx, cx := contexts(t, early(300000))
				client, server := earlyPair(t, network, sx, cx)
				data := make([]byte, size)
				new(sequence).fill(data)
				var got []byte
				served := later(func() error {
					n := 0
					p := make([]byte, 5000)
					for {
						k, err := server.ReadEarlyData(p)
						got = append(got, p[:k]...)
						if n += k; err == io.EOF {
							break
						} else if err != nil {
							return err
						}
						if n == len(data) {
							if _, err := server.WriteEarlyData([]byte("early answer")); err != nil {
								return err
							}
						}
					}
					if err := server.Handshake(); err != nil {
						return err
					}
					return expect(server, 20000)
				})
				n, err := client.WriteEarlyData(data)
				must(t, err)
				if n != size {
					t.Fatalf("%d bytes of %d", n, size)
				}
				p := make([]byte, len("early answer"))
				_, err = io.ReadFull(client, p)
				must(t, err)
				if string(p) != "early answer" {
					t.Fatalf("%q", p)
				}
				must(t, send(client, 20000, 5000))
				must(t, receive(t, served, "the server"))
				if !bytes.Equal(got, data) {
					t.Fatalf("%d bytes came, or others", len(got))
				}
				for _, c := range []*Conn{client, server} {
					if s := c.State(); s.EarlyData != cssl.EarlyDataAccepted || !s.Resumed {
						t.Errorf("%+v", s)
					}
				}
			})
		}
	}
}

// TestEarlyDataRejected: the server does not ask, or has not allowed as much; what is written again arrives once.
func TestEarlyDataRejected(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	data := make([]byte, 1500)
	new(sequence).fill(data)
	n, err := client.WriteEarlyData(data)
	if n != 1000 || !errors.Is(err, tlsio.ErrState) {
		t.Fatalf("%d, %v", n, err)
	}
	shake(t, client, server)
	if s := client.State(); s.EarlyData != cssl.EarlyDataRejected {
		t.Fatalf("%v", s.EarlyData)
	}
	_, err = client.Write(data)
	must(t, err)
	must(t, expect(server, len(data)))
	if _, err := server.ReadEarlyData(make([]byte, 1)); !errors.Is(err, tlsio.ErrState) {
		t.Errorf("after the handshake: %v", err)
	}
	if _, err := client.WriteEarlyData(make([]byte, 1)); !errors.Is(err, tlsio.ErrState) {
		t.Errorf("after the handshake: %v", err)
	}
}

// TestEarlyDataOrder: what is called too early is refused, and the connection is as good as before.
func TestEarlyDataOrder(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	_, err := client.WriteEarlyData([]byte("hello"))
	must(t, err)
	p := make([]byte, 5)
	n, err := server.ReadEarlyData(p)
	must(t, err)
	if n != 5 {
		t.Fatalf("%d bytes", n)
	}
	is(t, reading(server)(), tlsio.ErrState)
	is(t, server.Handshake(), tlsio.ErrState)
	_, err = server.Write([]byte("x"))
	is(t, err, tlsio.ErrState)
	ended := later(client.Handshake)
	rest, err := readEarly(server)
	must(t, err)
	if len(rest) > 0 {
		t.Errorf("%q more", rest)
	}
	must(t, server.Handshake())
	must(t, receive(t, ended, "the client's handshake"))

	// A client without a session, and a server that asks it.
	client, server = pair(t, networks["pipe"], early(1000))
	_, err = client.WriteEarlyData([]byte("hello"))
	is(t, err, tlsio.ErrState)
	ended = later(client.Handshake)
	rest, err = readEarly(server)
	must(t, err)
	must(t, server.Handshake())
	must(t, receive(t, ended, "the client's handshake"))
	if len(rest) > 0 {
		t.Errorf("%q", rest)
	}
}

// TestEarlyDataEnds: deadlines, a peer that goes and a Close in the midst end what waits.
func TestEarlyDataEnds(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	p := make([]byte, 100)
	must(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := server.ReadEarlyData(p)
	timedOut(t, err)
	must(t, server.SetReadDeadline(time.Time{}))
	_, err = client.WriteEarlyData([]byte("hello"))
	must(t, err)
	n, err := server.ReadEarlyData(p)
	must(t, err)
	if string(p[:n]) != "hello" {
		t.Errorf("%q", p[:n])
	}
	ended := later(func() error { _, err := server.ReadEarlyData(p); return err })
	waiting(t, server, &server.reader, tlsio.WantRead)
	must(t, client.NetConn().(*net.TCPConn).CloseWrite())
	is(t, receive(t, ended, "ReadEarlyData"), io.ErrUnexpectedEOF)
	is(t, server.Handshake(), io.ErrUnexpectedEOF)

	_, server = earlyPair(t, networks["tcp"], sx, cx)
	ended = later(func() error { _, err := server.ReadEarlyData(p); return err })
	waiting(t, server, &server.reader, tlsio.WantRead)
	must(t, server.Close())
	is(t, receive(t, ended, "ReadEarlyData"), net.ErrClosed)
}
