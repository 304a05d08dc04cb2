package sslnet

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// notified arranges a call of NotifyReadable.
func notified(t testing.TB, c *Conn) <-chan error {
	t.Helper()
	ch := make(chan error, 1)
	tlstest.Must(t, c.NotifyReadable(func(err error) { ch <- err }))
	return ch
}

// TestNotifyReadable: data, read by the kernel, by OpenSSL or not at all yet, and the ends of a connection are told once;
// messages of TLS are not.
func TestNotifyReadable(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		ch := notified(t, server)
		if client.State().Version == cssl.TLS13 {
			tlstest.Must(t, client.KeyUpdate(true))
			say(t, server, "after the KeyUpdate") // which the server has answered before
			tlstest.Must(t, expectText(client, "after the KeyUpdate"))
			tlstest.Nothing(t, ch, "a call for a KeyUpdate")
		}
		say(t, client, "one")
		tlstest.Must(t, tlstest.Receive(t, ch, "the call for data"))
		// A part of the record is read, so the rest is with OpenSSL.
		tlstest.Must(t, expectText(server, "o"))
		tlstest.Must(t, tlstest.Receive(t, notified(t, server), "the call for the rest"))
		tlstest.Must(t, expectText(server, "ne"))
		first := notified(t, server)
		second := notified(t, server)
		say(t, client, "two")
		tlstest.Must(t, tlstest.Receive(t, second, "the call for more data"))
		tlstest.Nothing(t, first, "a call of what was replaced")
		tlstest.Must(t, expectText(server, "two"))
		ch = notified(t, server)
		tlstest.Must(t, client.Close())
		tlstest.IsError(t, "after close_notify", tlstest.Receive(t, ch, "the call for the end"), io.EOF)
		_, err := server.Read(make([]byte, 1))
		tlstest.IsError(t, "Read", err, io.EOF)
		ch = notified(t, server) // again, at once
		tlstest.IsError(t, "once more", tlstest.Receive(t, ch, "the call for the end"), io.EOF)
	})
}

func expectText(c io.Reader, want string) error {
	p := make([]byte, len(want))
	if _, err := io.ReadFull(c, p); err != nil || string(p) != want {
		return errors.Join(err, errors.New("read "+string(p)))
	}
	return nil
}

// TestNotifyReadableRefused: before the handshake and after Close there is an error, and no call then, nor by Close.
func TestNotifyReadableRefused(t *testing.T) {
	each(t, networks, func(t *testing.T, over network) {
		client, server := pair(t, over)
		never := func(error) { t.Error("it was called") }
		tlstest.IsError(t, "before the handshake", server.NotifyReadable(never), tlsio.ErrState)
		shake(t, client, server)
		tlstest.Must(t, server.NotifyReadable(never))
		tlstest.Must(t, server.Close())
		tlstest.IsError(t, "after Close", server.NotifyReadable(never), net.ErrClosed)
	})
}

// TestBuffersOfIdle: the buffers of a Read are freed when it has waited since the last sweep, and not before; the connection
// goes on as before.
func TestBuffersOfIdle(t *testing.T) {
	client, server := connect(t, networks["tcp"])
	mark := func(listed bool) (was bool) {
		server.mu.Lock()
		defer server.mu.Unlock()
		was, server.listed = server.listed, listed
		return was
	}
	idleConns.mu.Lock() // its timer would sweep it too
	idleConns.conns = slices.DeleteFunc(idleConns.conns, func(c *Conn) bool { return c == server })
	idleConns.mu.Unlock()
	mark(true)
	ended := tlstest.Later(func() error { return expectText(server, "first") })
	waiting(t, server, &server.reader, tlsio.WantRead)
	tlstest.Equal(t, "freed at once", server.freeIdle(), false)
	tlstest.Equal(t, "freed after a sweep", server.freeIdle(), true)
	tlstest.Equal(t, "listed after that", mark(false), false)
	say(t, client, "first")
	tlstest.Must(t, tlstest.Receive(t, ended, "the Read"))
	flows(t, client, server, 100_000, 10_000)
	tlstest.Equal(t, "let go without a Read", server.freeIdle(), true)

	ended = tlstest.Later(func() error { return expectText(server, "second") })
	tlstest.Until(t, "a Read to be listed", func() bool { server.mu.Lock(); defer server.mu.Unlock(); return server.listed })
	tlstest.Until(t, "the timer to sweep it", func() bool { server.mu.Lock(); defer server.mu.Unlock(); return !server.listed })
	say(t, client, "second")
	tlstest.Must(t, tlstest.Receive(t, ended, "the Read"))
}
