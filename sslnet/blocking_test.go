package sslnet

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

// makeBlocking does to the socket below c what a program does that hands its descriptor to others: the mode belongs to all duplicates.
func makeBlocking(t testing.TB, c *Conn) {
	t.Helper()
	f, err := c.NetConn().(interface{ File() (*os.File, error) }).File()
	must(t, err)
	defer f.Close()
	f.Fd()
}

// TestSocketMadeBlocking (P41): nothing waits but in the poller, so all is as with a socket that does not block.
func TestSocketMadeBlocking(t *testing.T) {
	shared := map[string]network{"tcp": networks["tcp"], "unix": networks["unix"]}
	everywhere(t, shared, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		for _, c := range []*Conn{client, server} {
			makeBlocking(t, c)
		}
		// A Read beside which there are Writes, deadlines and a Close.
		must(t, client.SetReadDeadline(time.Now().Add(time.Millisecond)))
		timedOut(t, receive(t, later(reading(client)), "Read"))
		must(t, client.SetReadDeadline(time.Time{}))
		read := later(func() error { return expect(client, 1<<20) })
		echoed := later(func() error { _, err := io.CopyN(server, server, 1<<20); return err })
		must(t, receive(t, later(func() error { return send(client, 1<<20, 1<<14) }), "Write"))
		must(t, receive(t, echoed, "the echo"))
		must(t, receive(t, read, "Read"))
		read = later(reading(client))
		waiting(t, client, &client.reader, tlsio.WantRead)
		must(t, receive(t, later(client.Close), "Close"))
		is(t, receive(t, read, "Read"), net.ErrClosed)
		must(t, receive(t, later(server.Close), "the server's Close"))
	})
}

// TestSocketMadeBlockingCrossing: a half that waits for the other direction does so in the poller too.
func TestSocketMadeBlockingCrossing(t *testing.T) {
	for _, name := range []string{"tcp", "unix"} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, narrow[name], v12, big)
			makeBlocking(t, server)
			read, rekeyed, n := readMustWrite(t, client, server)
			finishRead(t, client, server, read, rekeyed, n)
		})
	}
}

// TestSocketMadeBlockingClose: Close throws away what was not read, and waits for no more.
func TestSocketMadeBlockingClose(t *testing.T) {
	for _, name := range []string{"tcp", "unix"} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, networks[name])
			must(t, send(client, 100_000, 1<<14))
			makeBlocking(t, server)
			must(t, receive(t, later(server.Close), "Close"))
		})
	}
}
