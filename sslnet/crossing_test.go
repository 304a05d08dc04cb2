package sslnet

import (
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// crossings runs a test over each network, in TLS 1.2, with certificates that no tail has room for.
func crossings(t *testing.T, test pairTest) { connected(t, narrow, test, v12, big) }

// readMustWrite brings the server's Read, which ends on read, to where it must write: the client has asked for a
// renegotiation, and the certificates find no room. The client's Renegotiate ends on rekeyed; n bytes are on their
// way to it.
func readMustWrite(t *testing.T, client, server *Conn) (read, rekeyed <-chan error, n int) {
	t.Helper()
	n = full(t, server)
	rekeyed = tlstest.Later(client.Renegotiate)
	read = tlstest.Later(reading(server))
	waiting(t, server, &server.reader, tlsio.WantWrite)
	return read, rekeyed, n
}

// finishRead makes the client take what is on its way; then the server's Read ends.
func finishRead(t *testing.T, client, server *Conn, read, rekeyed <-chan error, n int) {
	t.Helper()
	take(t, server, client, n)
	// The renegotiation goes on with what comes behind the data.
	done(t, rekeyed, "Renegotiate")
	say(t, client, "x")
	done(t, read, "Read")
}

// TestReadMustWrite: a Read that must write waits for that, and goes on when
// the peer reads. Meanwhile the other half and what asks for facts are not held
// up: a Write waits for itself and hears its own deadline, and State has the
// first handshake, which OpenSSL forgets when another one begins.
func TestReadMustWrite(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, n := readMustWrite(t, client, server)
		for range 3 {
			written := tlstest.Later(writing(server))
			waiting(t, server, &server.writer, tlsio.WantWrite)
			for _, c := range []*Conn{client, server} {
				if s := c.State(); s.Version != cssl.TLS12 || s.Cipher == "" || !c.ConnectionState().HandshakeComplete {
					t.Errorf("in the midst of a renegotiation: %+v", s)
				}
			}
			expires(t, server.SetWriteDeadline, written, "Write")
		}
		waiting(t, server, &server.reader, tlsio.WantWrite)
		written := tlstest.Later(writing(server))
		finishRead(t, client, server, read, rekeyed, n)
		done(t, written, "Write")
		p := make([]byte, 2)
		if k, err := client.Read(p); string(p[:k]) != "x" {
			t.Errorf("got %q and %v, want what the last Write wrote, once", p[:k], err)
		}
	})
}

// renegotiates makes c begin a renegotiation, which then waits for the peer.
func renegotiates(t testing.TB, c *Conn) {
	t.Helper()
	rekeyed := tlstest.Later(c.Renegotiate)
	waiting(t, c, &c.writer, tlsio.WantRead)
	expires(t, c.SetWriteDeadline, rekeyed, "Renegotiate")
}

// writeMustRead brings the client's Write to where it must read: it has begun a renegotiation, and the server does
// not read.
func writeMustRead(t *testing.T, client *Conn) (written <-chan error) {
	t.Helper()
	renegotiates(t, client)
	written = tlstest.Later(writing(client))
	waiting(t, client, &client.writer, tlsio.WantRead)
	return written
}

// withData sends what then stands before the handshake message that the client's Write must read.
func withData(t *testing.T, client, server *Conn) {
	t.Helper()
	say(t, server, "y")
	waiting(t, client, &client.writer, tlsio.WantAppRead)
}

// TestWriteMustReadReader: a Read of the same end that is blocked meanwhile takes the answer in, and the Write
// goes on (P08).
func TestWriteMustReadReader(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		read := tlstest.Later(reading(client))
		waiting(t, client, &client.reader, tlsio.WantRead)
		done(t, tlstest.Later(reading(server)), "Read")
		done(t, written, "Write")
		say(t, server, "y")
		done(t, read, "Read")
	})
}

// TestWriteMustReadCloseData: Close throws away the data that stands before the answer to a renegotiation, so that
// close_notify can follow.
func TestWriteMustReadCloseData(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		withData(t, client, server)
		client.SetCloseTimeout(tlstest.Hang)
		closed := tlstest.Later(client.Close)
		fails(t, written, "Write", net.ErrClosed)
		fails(t, tlstest.Later(reading(server)), "the server's Read", io.EOF)
		done(t, closed, "Close")
	})
}
