package sslnet

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// Deadlines: one that has passed, and none.
var (
	longAgo    = time.Unix(1, 0)
	noDeadline time.Time
)

// crossings runs a test over each network, in TLS 1.2, with certificates that no tail has room for.
func crossings(t *testing.T, test func(t *testing.T, client, server *Conn)) {
	for name, network := range narrow {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network, v12, big)
			test(t, client, server)
		})
	}
}

// readMustWrite brings the server's Read, which ends on read, to where it must write: the client has asked for a
// renegotiation, and the certificates find no room. The client's Renegotiate ends on rekeyed; n bytes are on their
// way to it.
func readMustWrite(t *testing.T, client, server *Conn) (read, rekeyed <-chan error, n int) {
	t.Helper()
	n = full(t, server)
	rekeyed = later(client.Renegotiate)
	read = later(reading(server))
	waiting(t, server, &server.reader, tlsio.WantWrite)
	return read, rekeyed, n
}

// finishRead makes the client take what is on its way; then the server's Read ends.
func finishRead(t *testing.T, client, server *Conn, read, rekeyed <-chan error, n int) {
	t.Helper()
	take(t, server, client, n)
	// The renegotiation goes on with what comes behind the data.
	must(t, receive(t, rekeyed, "Renegotiate"))
	_, err := client.Write([]byte("x"))
	must(t, err)
	must(t, receive(t, read, "Read"))
}

// TestReadMustWrite: a Read that must write waits for that, and goes on when the peer reads.
func TestReadMustWrite(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, n := readMustWrite(t, client, server)
		finishRead(t, client, server, read, rekeyed, n)
	})
}

// TestReadMustWriteMeanwhile: while a Read must write, the other half and what asks for facts are not held up: a
// Write waits for itself and hears its own deadline.
func TestReadMustWriteMeanwhile(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, n := readMustWrite(t, client, server)
		for range 3 {
			written := later(func() error { _, err := server.Write([]byte("y")); return err })
			waiting(t, server, &server.writer, tlsio.WantWrite)
			if s := server.State(); s.Version != cssl.TLS12 {
				t.Errorf("state: %+v", s)
			}
			must(t, server.SetWriteDeadline(longAgo))
			timedOut(t, receive(t, written, "Write"))
			must(t, server.SetWriteDeadline(time.Time{}))
		}
		waiting(t, server, &server.reader, tlsio.WantWrite)
		written := later(func() error { _, err := server.Write([]byte("y")); return err })
		finishRead(t, client, server, read, rekeyed, n)
		must(t, receive(t, written, "Write"))
		p := make([]byte, 2)
		if k, err := client.Read(p); string(p[:k]) != "y" {
			t.Errorf("got %q and %v, want what the last Write wrote, once", p[:k], err)
		}
	})
}

// TestReadMustWriteDeadline: the read deadline ends a Read that must write, and another Read carries on.
func TestReadMustWriteDeadline(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, n := readMustWrite(t, client, server)
		for range 3 {
			must(t, server.SetReadDeadline(longAgo))
			timedOut(t, receive(t, read, "Read"))
			must(t, server.SetReadDeadline(time.Time{}))
			read = later(reading(server))
			waiting(t, server, &server.reader, tlsio.WantWrite)
		}
		finishRead(t, client, server, read, rekeyed, n)
	})
}

// TestReadMustWriteClose: Close ends a Read that must write.
func TestReadMustWriteClose(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		read, rekeyed, _ := readMustWrite(t, client, server)
		server.SetCloseTimeout(0)
		timedOut(t, server.Close())
		is(t, receive(t, read, "Read"), net.ErrClosed)
		client.SetCloseTimeout(0)
		client.Close()
		// Over a pipe the server's end may be seen first.
		if err := receive(t, rekeyed, "Renegotiate"); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the client's Renegotiate: %v", err)
		}
	})
}

// writeMustRead brings the client's Write to where it must read: it has begun a renegotiation, and the server does
// not read.
func writeMustRead(t *testing.T, client *Conn) (written <-chan error) {
	t.Helper()
	rekeyed := later(client.Renegotiate)
	waiting(t, client, &client.writer, tlsio.WantRead)
	must(t, client.SetWriteDeadline(longAgo))
	timedOut(t, receive(t, rekeyed, "Renegotiate"))
	must(t, client.SetWriteDeadline(time.Time{}))
	written = later(func() error { _, err := client.Write([]byte("x")); return err })
	waiting(t, client, &client.writer, tlsio.WantRead)
	return written
}

// withData sends what then stands before the handshake message that the client's Write must read.
func withData(t *testing.T, client, server *Conn) {
	t.Helper()
	_, err := server.Write([]byte("y"))
	must(t, err)
	waiting(t, client, &client.writer, tlsio.WantAppRead)
}

// TestWriteMustRead: a Write that must read waits for that, and goes on when the peer answers. Data that comes
// before the answer must be read first.
func TestWriteMustRead(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		withData(t, client, server)
		must(t, receive(t, later(reading(client)), "Read"))
		waiting(t, client, &client.writer, tlsio.WantRead)
		must(t, receive(t, later(reading(server)), "Read")) // which answers the renegotiation
		must(t, receive(t, written, "Write"))
	})
}

// TestWriteMustReadReader: a Read of the same end that is blocked meanwhile takes the answer in, and the Write
// goes on (P08).
func TestWriteMustReadReader(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		read := later(reading(client))
		waiting(t, client, &client.reader, tlsio.WantRead)
		must(t, receive(t, later(reading(server)), "Read"))
		must(t, receive(t, written, "Write"))
		_, err := server.Write([]byte("y"))
		must(t, err)
		must(t, receive(t, read, "Read"))
	})
}

// TestWriteMustReadDeadline: the write deadline ends a Write that must read, in either way, and another Write
// carries on.
func TestWriteMustReadDeadline(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		again := func(w tlsio.Want) {
			t.Helper()
			must(t, client.SetWriteDeadline(longAgo))
			timedOut(t, receive(t, written, "Write"))
			must(t, client.SetWriteDeadline(time.Time{}))
			written = later(func() error { _, err := client.Write([]byte("x")); return err })
			waiting(t, client, &client.writer, w)
		}
		again(tlsio.WantRead)
		withData(t, client, server)
		again(tlsio.WantAppRead)
		must(t, receive(t, later(reading(client)), "Read"))
		must(t, receive(t, later(reading(server)), "Read"))
		must(t, receive(t, written, "Write"))
	})
}

// TestWriteMustReadClose: Close ends a Write that must read. There can be no close_notify as long as the server
// does not answer the renegotiation.
func TestWriteMustReadClose(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		client.SetCloseTimeout(0)
		timedOut(t, client.Close())
		is(t, receive(t, written, "Write"), net.ErrClosed)
	})
}

// TestWriteMustReadCloseData: Close throws away the data that stands before the answer to a renegotiation, so that
// close_notify can follow.
func TestWriteMustReadCloseData(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		written := writeMustRead(t, client)
		withData(t, client, server)
		client.SetCloseTimeout(hang)
		closed := later(client.Close)
		is(t, receive(t, written, "Write"), net.ErrClosed)
		is(t, receive(t, later(reading(server)), "the server's Read"), io.EOF)
		must(t, receive(t, closed, "Close"))
	})
}
