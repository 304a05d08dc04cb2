package sslnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
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
		client = tlstest.Value(Client(a, cx, cssl.ConnConfig{ServerName: "localhost", Session: session}))(t)
		server = tlstest.Value(Server(b, sx))(t)
		for _, c := range []*Conn{client, server} {
			t.Cleanup(func() { c.SetCloseTimeout(0); c.Close() })
		}
		if session != nil {
			break
		}
		shake(t, client, server)
		read := tlstest.Later(reading(client))
		say(t, server, "x")
		done(t, read, "the client's Read")
		session = client.Session()
	}
	return client, server
}

// hears reads what must be text.
func hears(t *testing.T, read func([]byte) (int, error), text string) {
	t.Helper()
	p := make([]byte, len(text)+1)
	if n := tlstest.Value(read(p))(t); string(p[:n]) != text {
		t.Fatalf("got %q, want %q", p[:n], text)
	}
}

// reader is a Reader of what a function reads.
type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// endsEarly makes the handshake behind early data, of which no more may come.
func endsEarly(t *testing.T, client, server *Conn) {
	t.Helper()
	ended := tlstest.Later(client.Handshake)
	if rest := tlstest.Value(readEarly(server))(t); len(rest) > 0 {
		t.Errorf("%q more", rest)
	}
	tlstest.Must(t, server.Handshake())
	done(t, ended, "the client's handshake")
}

// readEarly reads early data to its end.
func readEarly(c *Conn) ([]byte, error) { return io.ReadAll(reader(c.ReadEarlyData)) }

// TestEarlyData: a client writes before the handshake, the server answers before it is done, and both go on from there.
func TestEarlyData(t *testing.T) {
	for name, network := range narrow {
		for _, size := range []int{1, 300000} {
			t.Run(name, func(t *testing.T) {
				sx, cx := contexts(t, early(300000))
				client, server := earlyPair(t, network, sx, cx)
				data := new(tlstest.Stream).Next(size)
				served := tlstest.Later(func() error {
					if err := expect(reader(server.ReadEarlyData), size); err != nil {
						return err
					}
					_, err := server.WriteEarlyData([]byte("early answer"))
					rest, err2 := readEarly(server)
					if len(rest) > 0 {
						return fmt.Errorf("%d bytes too many", len(rest))
					}
					return errors.Join(err, err2, server.Handshake(), expect(server, 20000))
				})
				if n := tlstest.Value(client.WriteEarlyData(data))(t); n != size {
					t.Fatalf("%d bytes of %d", n, size)
				}
				hears(t, client.Read, "early answer")
				tlstest.Must(t, send(client, 20000, 5000))
				done(t, served, "the server")
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
	data := new(tlstest.Stream).Next(1500)
	n, err := client.WriteEarlyData(data)
	if n != 1000 || !errors.Is(err, tlsio.ErrState) {
		t.Fatalf("%d, %v", n, err)
	}
	shake(t, client, server)
	if s := client.State(); s.EarlyData != cssl.EarlyDataRejected {
		t.Fatalf("%v", s.EarlyData)
	}
	tlstest.Value(client.Write(data))(t)
	tlstest.Must(t, expect(server, len(data)))
	_, err = server.ReadEarlyData(make([]byte, 1))
	is(t, err, tlsio.ErrState)
	_, err = client.WriteEarlyData(make([]byte, 1))
	is(t, err, tlsio.ErrState)
}

// TestEarlyDataOrder: what is called too early is refused, and the connection is as good as before.
func TestEarlyDataOrder(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	tlstest.Value(client.WriteEarlyData([]byte("hello")))(t)
	hears(t, server.ReadEarlyData, "hello")
	is(t, reading(server)(), tlsio.ErrState)
	is(t, server.Handshake(), tlsio.ErrState)
	is(t, writing(server)(), tlsio.ErrState)
	endsEarly(t, client, server)

	// A client without a session, and a server that asks it.
	client, server = pair(t, networks["pipe"], early(1000))
	_, err := client.WriteEarlyData([]byte("hello"))
	is(t, err, tlsio.ErrState)
	endsEarly(t, client, server)
}

// TestEarlyDataEnds: deadlines, a peer that goes and a Close in the midst end what waits.
func TestEarlyDataEnds(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	read := func() error { _, err := server.ReadEarlyData(make([]byte, 100)); return err }
	tlstest.Must(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	timedOut(t, read())
	tlstest.Must(t, server.SetReadDeadline(noDeadline))
	tlstest.Value(client.WriteEarlyData([]byte("hello")))(t)
	hears(t, server.ReadEarlyData, "hello")
	ended := tlstest.Later(read)
	waiting(t, server, &server.reader, tlsio.WantRead)
	tlstest.Must(t, client.NetConn().(*net.TCPConn).CloseWrite())
	fails(t, ended, "ReadEarlyData", io.ErrUnexpectedEOF)
	is(t, server.Handshake(), io.ErrUnexpectedEOF)

	_, server = earlyPair(t, networks["tcp"], sx, cx)
	ended = tlstest.Later(read)
	waiting(t, server, &server.reader, tlsio.WantRead)
	tlstest.Must(t, server.Close())
	fails(t, ended, "ReadEarlyData", net.ErrClosed)
}
