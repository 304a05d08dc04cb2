package sslnet

import (
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// ending is a way in which a peer goes without close_notify.
type ending struct {
	network string
	name    string
	// end ends the connection, of which the peer has read everything, or not.
	end func(t *testing.T, c net.Conn)
	// read and write are what the other end's operations may answer.
	read, write []error
}

func hangUp(t *testing.T, c net.Conn) { tlstest.Must(t, c.Close()) }

var endings = []ending{
	{"tcp", "reset", func(t *testing.T, c net.Conn) {
		tlstest.Must(t, c.(*net.TCPConn).SetLinger(0))
		tlstest.Must(t, c.Close())
	}, []error{syscall.ECONNRESET}, []error{syscall.ECONNRESET, syscall.EPIPE}},
	// A FIN alone leaves the other direction open, until something is sent there.
	{"tcp", "FIN", hangUp, []error{io.ErrUnexpectedEOF, syscall.ECONNRESET}, []error{syscall.ECONNRESET, syscall.EPIPE}},
	{"unix", "end", hangUp, []error{io.ErrUnexpectedEOF, syscall.ECONNRESET}, []error{syscall.ECONNRESET, syscall.EPIPE}},
	{"pipe", "end", hangUp, []error{io.ErrUnexpectedEOF}, []error{io.ErrClosedPipe}},
}

// oneOf fails unless err is one of those.
func oneOf(t *testing.T, what string, err error, want []error) {
	t.Helper()
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("%s: %v, want one of %v", what, err, want)
	}
}

// write writes until there is an error: the kernel takes some before it knows.
func write(c *Conn) error {
	for {
		if _, err := c.Write(make([]byte, 10_000)); err != nil {
			return err
		}
	}
}

// gone runs a test for each way to go, over the networks given and in both versions.
func gone(t *testing.T, over map[string]network, test func(t *testing.T, e ending, client, server *Conn)) {
	for _, e := range endings {
		for version, v := range versions {
			t.Run(e.network+" "+e.name+" "+version, func(t *testing.T) {
				client, server := pair(t, over[e.network], v)
				test(t, e, client, server)
				for _, c := range []*Conn{client, server} {
					c.SetCloseTimeout(tlstest.Hang) // it is not needed
					if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
						t.Errorf("Close: %v", err)
					}
				}
			})
		}
	}
}

// TestGoneBeforeHandshake: the peer goes before its first byte, or in the midst of its first message.
func TestGoneBeforeHandshake(t *testing.T) {
	for _, first := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01"} {
		gone(t, networks, func(t *testing.T, e ending, client, server *Conn) {
			shaken := tlstest.Later(server.Handshake)
			waiting(t, server, &server.reader, tlsio.WantRead)
			say(t, client.NetConn(), first)
			e.end(t, client.NetConn())
			err := tlstest.Receive(t, shaken, "Handshake")
			oneOf(t, "Handshake", err, e.read)
			if first == "" && e.name != "reset" {
				is(t, err, io.ErrUnexpectedEOF)
			}
			if again := server.Handshake(); again != err {
				t.Errorf("a second Handshake: %v, want %v", again, err)
			}
		})
	}
}

// TestGoneInHandshake: the client goes when the server has answered it.
func TestGoneInHandshake(t *testing.T) {
	gone(t, networks, func(t *testing.T, e ending, client, server *Conn) {
		shaken := tlstest.Later(client.Handshake)
		waiting(t, client, &client.reader, tlsio.WantRead) // the client's first message has left
		tlstest.Must(t, client.SetReadDeadline(longAgo))
		timedOut(t, tlstest.Receive(t, shaken, "the client"))
		ended := tlstest.Later(server.Handshake)
		waiting(t, server, &server.reader, tlsio.WantRead)
		e.end(t, client.NetConn())
		// What was left unread below makes even a FIN a reset.
		oneOf(t, "Handshake", tlstest.Receive(t, ended, "the server"), append(e.read, syscall.ECONNRESET))
		oneOf(t, "Read", reading(server)(), append(e.read, syscall.ECONNRESET))
	})
}

// TestGoneWhileReading: a Read is blocked when the peer goes.
func TestGoneWhileReading(t *testing.T) {
	gone(t, networks, func(t *testing.T, e ending, client, server *Conn) {
		shake(t, client, server)
		read := tlstest.Later(reading(server))
		waiting(t, server, &server.reader, tlsio.WantRead)
		e.end(t, client.NetConn())
		oneOf(t, "Read", tlstest.Receive(t, read, "Read"), e.read)
		oneOf(t, "a second Read", reading(server)(), e.read)
		oneOf(t, "Write", write(server), append(e.write, e.read...)) // what has failed for both stays
	})
}

// TestGoneWhileWriting: a Write is blocked when the peer goes.
func TestGoneWhileWriting(t *testing.T) {
	gone(t, narrow, func(t *testing.T, e ending, client, server *Conn) {
		shake(t, client, server)
		full(t, server)
		written := tlstest.Later(func() error { return write(server) })
		waiting(t, server, &server.writer, tlsio.WantWrite)
		if v, ok := server.NetConn().(*valve); ok {
			v.set(false)
		}
		e.end(t, client.NetConn())
		oneOf(t, "Write", tlstest.Receive(t, written, "Write"), e.write)
		oneOf(t, "a second Write", write(server), e.write)
		oneOf(t, "Read", reading(server)(), append(e.read, syscall.EPIPE))
	})
}

// TestGoneAfterData: what came before the end is delivered before the error.
func TestGoneAfterData(t *testing.T) {
	const size = 10_000
	gone(t, networks, func(t *testing.T, e ending, client, server *Conn) {
		shake(t, client, server)
		tlstest.Must(t, send(client, size, 1000))
		e.end(t, client.NetConn())
		tlstest.Must(t, expect(server, size))
		oneOf(t, "Read", reading(server)(), e.read)
	})
}

// settled waits until the poller has told of all that has happened so far: it tells in order, and then of
// something new.
func settled(t *testing.T) {
	t.Helper()
	a, b := networks["unix"](t)
	defer a.Close()
	defer b.Close()
	read := tlstest.Later(func() error { _, err := b.Read(make([]byte, 1)); return err })
	say(t, a, "x")
	done(t, read, "the poller")
}

// TestGoneInRecord: the end has come along with a part of a record, before anybody read. The poller tells of it
// once, and that is over when Read begins, so it must be asked for.
func TestGoneInRecord(t *testing.T) {
	for _, part := range []string{"\x17", "\x17\x03\x03\x00\x20half of it"} {
		gone(t, networks, func(t *testing.T, e ending, client, server *Conn) {
			shake(t, client, server)
			say(t, client.NetConn(), part)
			e.end(t, client.NetConn())
			settled(t)
			oneOf(t, "Read", tlstest.Receive(t, tlstest.Later(reading(server)), "Read"), e.read)
		})
		gone(t, networks, func(t *testing.T, e ending, client, server *Conn) {
			written := tlstest.Later(func() error { _, err := client.NetConn().Write([]byte("\x16" + part[1:])); return err })
			if e.network != "pipe" { // where it waits to be read
				done(t, written, "Write")
				e.end(t, client.NetConn())
				settled(t)
			}
			shaken := tlstest.Later(server.Handshake)
			if e.network == "pipe" {
				done(t, written, "Write")
				e.end(t, client.NetConn())
			}
			oneOf(t, "Handshake", tlstest.Receive(t, shaken, "Handshake"), e.read)
		})
	}
}

// TestGoneWhileBoth: a Read that must write and a Write are blocked when the
// peer goes.
func TestGoneWhileBoth(t *testing.T) {
	for _, e := range endings {
		t.Run(e.network+" "+e.name, func(t *testing.T) {
			client, server := connect(t, narrow[e.network], v12, big)
			read, rekeyed, _ := readMustWrite(t, client, server)
			written := tlstest.Later(func() error { return write(server) })
			waiting(t, server, &server.writer, tlsio.WantWrite)
			if v, ok := server.NetConn().(*valve); ok {
				v.set(false)
			}
			e.end(t, client.NetConn())
			all := append(e.read, e.write...)
			oneOf(t, "Write", tlstest.Receive(t, written, "Write"), all)
			oneOf(t, "Read", tlstest.Receive(t, read, "Read"), all)
			// Data may stand before the renegotiation, and the end behind it.
			emptied := tlstest.Later(func() error { _, err := io.Copy(io.Discard, client); return err })
			if tlstest.Receive(t, emptied, "Read") == nil {
				t.Error("the client read to an end over a closed connection")
			}
			if err := tlstest.Receive(t, rekeyed, "Renegotiate"); err == nil {
				t.Error("Renegotiate came to an end over a closed connection")
			}
		})
	}
}

// TestCloseBelow: a program closes the connection below while a Read must write.
// The peer hears of it at once: no descriptor of ours keeps the socket open.
func TestCloseBelow(t *testing.T) {
	connected(t, narrowSockets, func(t *testing.T, client, server *Conn) {
		read, rekeyed, _ := readMustWrite(t, client, server)
		tlstest.Must(t, server.NetConn().Close())
		fails(t, read, "Read", net.ErrClosed)
		below := client.NetConn()
		ended := tlstest.Later(func() error { _, err := io.Copy(io.Discard, below); return err })
		if err := tlstest.Receive(t, ended, "the end of input"); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the peer's end of input: %v", err)
		}
		client.SetCloseTimeout(0)
		client.Close()
		tlstest.Receive(t, rekeyed, "Renegotiate")
	}, v12, big)
}

// TestHalfCloseBare: a peer that ends its direction with a FIN alone, as programs do that know no close_notify, is
// still written to.
func TestHalfCloseBare(t *testing.T) {
	connected(t, sockets, func(t *testing.T, client, server *Conn) {
		tlstest.Must(t, client.NetConn().(interface{ CloseWrite() error }).CloseWrite())
		is(t, reading(server)(), io.ErrUnexpectedEOF)
		tlstest.Must(t, send(server, 1000, 100))
		tlstest.Must(t, server.CloseWrite())
		tlstest.Must(t, expect(client, 1000))
		is(t, reading(client)(), io.EOF)
	})
}
