package sslnet

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// blocker is an operation that can be made to block.
type blocker struct {
	name string
	// early: the handshake is not made before.
	early bool
	// full: the transport is made full before.
	full   bool
	reader bool // bounded by the read deadline
	want   tlsio.Want
	op     func(c *Conn) error
	// release makes the peer do what the operation waits for; n bytes are on their way to it.
	release func(t testing.TB, c, peer *Conn, n int)
	v13     bool // not in TLS 1.2
}

func (b *blocker) half(c *Conn) *half {
	if b.reader {
		return &c.reader
	}
	return &c.writer
}

func (b *blocker) set(c *Conn, d time.Time) error {
	if b.reader {
		return c.SetReadDeadline(d)
	}
	return c.SetWriteDeadline(d)
}

// peerHandshakes makes the peer's handshake in the background; the Cleanup of the test ends it.
func peerHandshakes(_ testing.TB, _, peer *Conn, _ int) { go peer.Handshake() }

var blockers = []blocker{
	{name: "Read", reader: true, want: tlsio.WantRead,
		op:      func(c *Conn) error { return reading(c)() },
		release: func(t testing.TB, _, peer *Conn, _ int) { _, err := peer.Write([]byte("x")); must(t, err) }},
	{name: "Read that makes the handshake", early: true, reader: true, want: tlsio.WantRead,
		op: func(c *Conn) error { return reading(c)() },
		release: func(t testing.TB, _, peer *Conn, _ int) {
			go func() { peer.Write([]byte("x")) }()
		}},
	{name: "Handshake", early: true, reader: true, want: tlsio.WantRead, op: (*Conn).Handshake, release: peerHandshakes},
	{name: "empty Read", early: true, reader: true, want: tlsio.WantRead,
		op: func(c *Conn) error { _, err := c.Read(nil); return err }, release: peerHandshakes},
	{name: "Write that makes the handshake", early: true, want: tlsio.WantRead,
		op: func(c *Conn) error { _, err := c.Write([]byte("x")); return err }, release: peerHandshakes},
	{name: "KeyUpdate that makes the handshake", early: true, want: tlsio.WantRead, v13: true,
		op: func(c *Conn) error { return c.KeyUpdate(false) }, release: peerHandshakes},
	{name: "Write", full: true, want: tlsio.WantWrite,
		op: func(c *Conn) error { _, err := c.Write([]byte("x")); return err }, release: take},
	{name: "empty Write", full: true, want: tlsio.WantWrite,
		op: func(c *Conn) error { _, err := c.Write(nil); return err }, release: take},
	{name: "CloseWrite", full: true, want: tlsio.WantWrite, op: (*Conn).CloseWrite, release: take},
	{name: "KeyUpdate", full: true, want: tlsio.WantWrite, v13: true,
		op: func(c *Conn) error { return c.KeyUpdate(true) }, release: take},
	{name: "Renegotiate", want: tlsio.WantRead, op: (*Conn).Renegotiate,
		release: func(t testing.TB, _, peer *Conn, _ int) { go reading(peer)() }},
}

// blocked runs a test with each operation, over each network, in each version that has it. c is the end that
// blocks.
func blocked(t *testing.T, test func(t *testing.T, b *blocker, c, peer *Conn, n int)) {
	for _, b := range blockers {
		for name, network := range narrow {
			for version, v := range versions {
				if b.v13 && version == "TLS 1.2" || b.name == "Renegotiate" && version == "TLS 1.3" {
					continue
				}
				t.Run(b.name+" "+name+" "+version, func(t *testing.T) {
					c, peer := pair(t, network, v)
					if !b.early {
						shake(t, c, peer)
					}
					n := 0
					if b.full {
						n = full(t, c)
					}
					test(t, &b, c, peer, n)
				})
			}
		}
	}
}

// TestDeadlines: a deadline in the past ends an operation before it begins, and one that is blocked; one in the
// future, or none, does not. After that the operation works.
func TestDeadlines(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c, peer *Conn, n int) {
		must(t, b.set(c, longAgo))
		timedOut(t, b.op(c))
		timedOut(t, b.op(c)) // until it is set anew
		for _, d := range []time.Time{{}, time.Now().Add(hang)} {
			must(t, b.set(c, d))
			ended := later(func() error { return b.op(c) })
			waiting(t, c, b.half(c), b.want)
			must(t, b.set(c, time.Now().Add(2*hang)))
			must(t, b.set(c, time.Time{}))
			waiting(t, c, b.half(c), b.want)
			select {
			case err := <-ended:
				t.Fatalf("ended with %v though no deadline had passed", err)
			default:
			}
			must(t, b.set(c, longAgo))
			timedOut(t, receive(t, ended, b.name))
		}
		must(t, b.set(c, time.Time{}))
		ended := later(func() error { return b.op(c) })
		waiting(t, c, b.half(c), b.want)
		b.release(t, c, peer, n)
		must(t, receive(t, ended, b.name))
	})
}

// TestDeadlineComes: a deadline that comes by itself.
func TestDeadlineComes(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c, peer *Conn, n int) {
		must(t, b.set(c, time.Now().Add(time.Millisecond)))
		timedOut(t, b.op(c))
		must(t, b.set(c, time.Time{}))
		ended := later(func() error { return b.op(c) })
		b.release(t, c, peer, n)
		must(t, receive(t, ended, b.name))
	})
}

// TestDeadlineOfOneSide: the deadline of one direction is not the other's.
func TestDeadlineOfOneSide(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		must(t, client.SetReadDeadline(longAgo))
		_, err := client.Write([]byte("x"))
		must(t, err)
		timedOut(t, reading(client)())
		must(t, receive(t, later(reading(server)), "Read"))
		must(t, client.SetReadDeadline(time.Time{}))
		must(t, client.SetWriteDeadline(longAgo))
		_, err = client.Write([]byte("x"))
		timedOut(t, err)
		_, err = server.Write([]byte("x"))
		must(t, err)
		must(t, reading(client)())
		must(t, client.SetDeadline(longAgo))
		_, err = client.Write([]byte("x"))
		timedOut(t, err)
		timedOut(t, reading(client)())
	})
}

// TestHandshakeTimedOut: a handshake that ran into deadlines, again and again and whoever made it, is carried on.
func TestHandshakeTimedOut(t *testing.T) {
	for name, network := range narrow {
		for version, v := range versions {
			t.Run(name+" "+version, func(t *testing.T) {
				client, server := pair(t, network, v, big)
				times := 0
				insist := func(c *Conn, op func() error) error {
					for i := time.Duration(0); ; i++ {
						// A little later each time, so that it ends.
						d := time.Now().Add(i * 100 * time.Microsecond)
						if err := c.SetDeadline(d); err != nil {
							return err
						}
						if err := op(); !errors.Is(err, os.ErrDeadlineExceeded) {
							return err
						}
						if c == client {
							times++
						}
					}
				}
				written := false
				ended := later(func() error { return insist(server, server.Handshake) })
				must(t, insist(client, func() error {
					if written {
						return nil
					}
					n, err := client.Write([]byte("x"))
					written = n == 1
					return err
				}))
				must(t, receive(t, ended, "the server's handshake"))
				if times == 0 {
					t.Error("no deadline fired")
				}
				must(t, server.SetDeadline(time.Time{}))
				must(t, reading(server)())
			})
		}
	}
}

// TestTimedOutWriteIsSent: what a Write answered as accepted before its deadline is sent though nothing else is
// called, also when a Read is blocked, or has answered the end of the peer's stream more than once.
func TestTimedOutWriteIsSent(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, c, peer *Conn) (after func()){
		"nothing": func(*testing.T, *Conn, *Conn) func() { return func() {} },
		"a Read that is blocked": func(t *testing.T, c, peer *Conn) func() {
			read := later(reading(c))
			waiting(t, c, &c.reader, tlsio.WantRead)
			return func() {
				_, err := peer.Write([]byte("x"))
				must(t, err)
				must(t, receive(t, read, "Read"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, narrow, func(t *testing.T, connect func(...change) (client, server *Conn)) {
				c, peer := connect()
				after := before(t, c, peer)
				take(t, c, peer, full(t, c))
				after()
			})
		})
	}
	t.Run("the end", func(t *testing.T) {
		everywhere(t, narrow, func(t *testing.T, connect func(...change) (client, server *Conn)) {
			c, peer := connect()
			n := full(t, c)
			must(t, peer.CloseWrite())
			for range 3 {
				is(t, reading(c)(), io.EOF)
			}
			take(t, c, peer, n)
		})
	})
}

// TestTimedOutWriteGoesOn: a Write with a deadline says how much it took, and the next one goes on from there;
// Close sends all of it.
func TestTimedOutWriteGoesOn(t *testing.T) {
	everywhere(t, narrow, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		c, peer := connect()
		c.SetCloseTimeout(hang)
		var s sequence
		p := make([]byte, 1<<20/scale)
		s.fill(p)
		left, stops := p, 0
		got := later(func() error {
			if err := expect(peer, len(p)); err != nil {
				return err
			}
			_, err := peer.Read(make([]byte, 1))
			return err
		})
		for wait := time.Duration(0); len(left) > 0; wait += 10 * time.Microsecond {
			must(t, c.SetWriteDeadline(time.Now().Add(wait)))
			n, err := c.Write(left)
			if left = left[n:]; err != nil {
				timedOut(t, err)
				stops++
			}
		}
		must(t, c.Close())
		is(t, receive(t, got, "the peer"), io.EOF)
		if stops == 0 {
			t.Error("no deadline fired")
		}
	})
}

// TestDeadlineError: what such an error looks like.
func TestDeadlineError(t *testing.T) {
	client, _ := connect(t, networks["tcp"])
	must(t, client.SetReadDeadline(longAgo))
	err := reading(client)()
	timedOut(t, err)
	var oe *net.OpError
	if !errors.As(err, &oe) || oe.Op != "read" || oe.Net != "tcp" || oe.Addr != client.RemoteAddr() || oe.Source != client.LocalAddr() {
		t.Errorf("got %#v", err)
	}
}

// TestNoTimeouts (P37): the greatest duration is never, wherever one is taken.
func TestNoTimeouts(t *testing.T) {
	const never = time.Duration(math.MaxInt64)
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect(func(server, _ *cssl.Config) {
			server.DecisionTimeout = never
			server.ClientHello = func(h *cssl.ClientHello) { go h.Accept(nil) }
		})
		for _, c := range []*Conn{client, server} {
			c.SetCloseTimeout(never)
			must(t, c.SetDeadline(time.Now().Add(never)))
		}
		got := later(func() error { return expect(server, 1<<18) })
		must(t, send(client, 1<<18, 1<<14))
		must(t, receive(t, got, "the data"))
		closed := later(client.Close)
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the end of the stream: %v, want %v", err, io.EOF)
		}
		must(t, receive(t, closed, "Close"))
	})
	sx, cx := contexts(t)
	l, err := Listen("tcp", "127.0.0.1:0", sx)
	must(t, err)
	defer l.Close()
	accepted := later(func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		return c.(*Conn).Handshake()
	})
	c, err := (&Dialer{Context: cx, Net: &net.Dialer{Timeout: never}}).Dial("tcp", l.Addr().String())
	must(t, err)
	must(t, receive(t, accepted, "the server's handshake"))
	must(t, c.Close())
}
