package sslnet

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// makeBlocking does to the socket below c what a program does that hands its descriptor to others: the mode belongs to all duplicates.
func makeBlocking(t testing.TB, c *Conn) {
	t.Helper()
	f := tlstest.Value(c.NetConn().(interface{ File() (*os.File, error) }).File())(t)
	defer f.Close()
	f.Fd()
}

// TestSocketMadeBlocking (P41): nothing waits but in the poller, so all is as with a socket that does not block.
func TestSocketMadeBlocking(t *testing.T) {
	everywhere(t, sockets, func(t *testing.T, client, server *Conn) {
		for _, c := range []*Conn{client, server} {
			makeBlocking(t, c)
		}
		// A Read beside which there are Writes, deadlines and a Close.
		tlstest.Must(t, client.SetReadDeadline(time.Now().Add(time.Millisecond)))
		timedOut(t, tlstest.Receive(t, tlstest.Later(reading(client)), "Read"))
		tlstest.Must(t, client.SetReadDeadline(noDeadline))
		read := tlstest.Later(func() error { return expect(client, 1<<20) })
		echoed := tlstest.Later(func() error { _, err := io.CopyN(server, server, 1<<20); return err })
		done(t, tlstest.Later(func() error { return send(client, 1<<20, 1<<14) }), "Write")
		done(t, echoed, "the echo")
		done(t, read, "Read")
		read = tlstest.Later(reading(client))
		waiting(t, client, &client.reader, tlsio.WantRead)
		done(t, tlstest.Later(client.Close), "Close")
		fails(t, read, "Read", net.ErrClosed)
		done(t, tlstest.Later(server.Close), "the server's Close")
	})
}

// TestSocketMadeBlockingCrossing: a half that waits for the other direction does so in the poller too.
func TestSocketMadeBlockingCrossing(t *testing.T) {
	connected(t, narrowSockets, func(t *testing.T, client, server *Conn) {
		makeBlocking(t, server)
		read, rekeyed, n := readMustWrite(t, client, server)
		finishRead(t, client, server, read, rekeyed, n)
	}, v12, big)
}

// TestSocketMadeBlockingClose: Close throws away what was not read, and waits for no more.
func TestSocketMadeBlockingClose(t *testing.T) {
	connected(t, sockets, func(t *testing.T, client, server *Conn) {
		tlstest.Must(t, send(client, 100_000, 1<<14))
		makeBlocking(t, server)
		done(t, tlstest.Later(server.Close), "Close")
	})
}
