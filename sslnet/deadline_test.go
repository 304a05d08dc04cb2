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
	"github.com/spacemonad/go-openssl/internal/tlstest"
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

func readOne(c *Conn) error  { return reading(c)() }
func writeOne(c *Conn) error { return writing(c)() }

// peerHandshakes makes the peer's handshake in the background; the Cleanup of the test ends it.
func peerHandshakes(_ testing.TB, _, peer *Conn, _ int) { go peer.Handshake() }

var blockers = []blocker{
	{name: "Read", reader: true, want: tlsio.WantRead,
		op: readOne, release: func(t testing.TB, _, peer *Conn, _ int) { say(t, peer, "x") }},
	{name: "Read that makes the handshake", early: true, reader: true, want: tlsio.WantRead,
		op: readOne, release: func(_ testing.TB, _, peer *Conn, _ int) { go writeOne(peer) }},
	{name: "Handshake", early: true, reader: true, want: tlsio.WantRead, op: (*Conn).Handshake, release: peerHandshakes},
	{name: "empty Read", early: true, reader: true, want: tlsio.WantRead,
		op: func(c *Conn) error { _, err := c.Read(nil); return err }, release: peerHandshakes},
	{name: "Write that makes the handshake", early: true, want: tlsio.WantRead, op: writeOne, release: peerHandshakes},
	{name: "KeyUpdate that makes the handshake", early: true, want: tlsio.WantRead, v13: true,
		op: func(c *Conn) error { return c.KeyUpdate(false) }, release: peerHandshakes},
	{name: "Write", full: true, want: tlsio.WantWrite, op: writeOne, release: take},
	{name: "empty Write", full: true, want: tlsio.WantWrite,
		op: func(c *Conn) error { _, err := c.Write(nil); return err }, release: take},
	{name: "CloseWrite", full: true, want: tlsio.WantWrite, op: (*Conn).CloseWrite, release: take},
	{name: "KeyUpdate", full: true, want: tlsio.WantWrite, v13: true,
		op: func(c *Conn) error { return c.KeyUpdate(true) }, release: take},
	{name: "Renegotiate", want: tlsio.WantRead, op: (*Conn).Renegotiate,
		release: func(t testing.TB, _, peer *Conn, _ int) { go reading(peer)() }},
}

// begin makes the operation block on c. Its error comes through ended.
func (b *blocker) begin(t *testing.T, c *Conn) (ended <-chan error) {
	t.Helper()
	ended = tlstest.Later(func() error { return b.op(c) })
	waiting(t, c, b.half(c), b.want)
	return ended
}

// blocked runs a test with each operation, over each network, in each version that has it. c is the end that
// blocks.
func blocked(t *testing.T, test func(t *testing.T, b *blocker, c, peer *Conn, n int)) {
	for _, b := range blockers {
		ready := func(t *testing.T, c, peer *Conn) {
			n := 0
			if !b.early {
				shake(t, c, peer)
			}
			if b.full {
				n = full(t, c)
			}
			test(t, &b, c, peer, n)
		}
		t.Run(b.name, func(t *testing.T) {
			if !b.v13 {
				pairs(t, narrow, ready, v12)
			}
			if b.name != "Renegotiate" {
				pairs(t, narrow, ready, v13)
			}
		})
	}
}

// TestDeadlines: a deadline in the past ends an operation before it begins, and one that is blocked; one in the
// future, or none, does not. After that the operation works.
func TestDeadlines(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c, peer *Conn, n int) {
		tlstest.Must(t, b.set(c, longAgo))
		timedOut(t, b.op(c))
		timedOut(t, b.op(c)) // until it is set anew
		for _, d := range []time.Time{{}, time.Now().Add(tlstest.Hang)} {
			tlstest.Must(t, b.set(c, d))
			ended := b.begin(t, c)
			tlstest.Must(t, b.set(c, time.Now().Add(2*tlstest.Hang)))
			tlstest.Must(t, b.set(c, noDeadline))
			waiting(t, c, b.half(c), b.want)
			select {
			case err := <-ended:
				t.Fatalf("ended with %v though no deadline had passed", err)
			default:
			}
			expires(t, func(d time.Time) error { return b.set(c, d) }, ended, b.name)
		}
		ended := b.begin(t, c)
		b.release(t, c, peer, n)
		done(t, ended, b.name)
	})
}

// TestDeadlineComes: a deadline that comes by itself.
func TestDeadlineComes(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c, peer *Conn, n int) {
		tlstest.Must(t, b.set(c, time.Now().Add(time.Millisecond)))
		timedOut(t, b.op(c))
		tlstest.Must(t, b.set(c, noDeadline))
		ended := tlstest.Later(func() error { return b.op(c) })
		b.release(t, c, peer, n)
		done(t, ended, b.name)
	})
}

// TestDeadlineOfOneSide: the deadline of one direction is not the other's.
func TestDeadlineOfOneSide(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		tlstest.Must(t, client.SetReadDeadline(longAgo))
		say(t, client, "x")
		timedOut(t, reading(client)())
		done(t, tlstest.Later(reading(server)), "Read")
		tlstest.Must(t, client.SetReadDeadline(noDeadline))
		tlstest.Must(t, client.SetWriteDeadline(longAgo))
		timedOut(t, writing(client)())
		say(t, server, "x")
		tlstest.Must(t, reading(client)())
		tlstest.Must(t, client.SetDeadline(longAgo))
		timedOut(t, writing(client)())
		timedOut(t, reading(client)())
	})
}

// TestHandshakeTimedOut: a handshake that ran into deadlines, again and again and whoever made it, is carried on.
func TestHandshakeTimedOut(t *testing.T) {
	inBoth(t, pairs, narrow, func(t *testing.T, client, server *Conn) {
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
		ended := tlstest.Later(func() error { return insist(server, server.Handshake) })
		tlstest.Must(t, insist(client, func() error {
			if written {
				return nil
			}
			n, err := client.Write([]byte("x"))
			written = n == 1
			return err
		}))
		done(t, ended, "the server's handshake")
		if times == 0 {
			t.Error("no deadline fired")
		}
		tlstest.Must(t, server.SetDeadline(noDeadline))
		tlstest.Must(t, reading(server)())
	}, big)
}

// TestTimedOutWriteIsSent: what a Write answered as accepted before its deadline is sent though nothing else is
// called, also when a Read is blocked, or has answered the end of the peer's stream more than once.
func TestTimedOutWriteIsSent(t *testing.T) {
	for name, test := range map[string]pairTest{
		"nothing": func(t *testing.T, c, peer *Conn) { take(t, c, peer, full(t, c)) },
		"a Read that is blocked": func(t *testing.T, c, peer *Conn) {
			read := tlstest.Later(reading(c))
			waiting(t, c, &c.reader, tlsio.WantRead)
			take(t, c, peer, full(t, c))
			say(t, peer, "x")
			done(t, read, "Read")
		},
		"the end": func(t *testing.T, c, peer *Conn) {
			n := full(t, c)
			tlstest.Must(t, peer.CloseWrite())
			for range 3 {
				is(t, reading(c)(), io.EOF)
			}
			take(t, c, peer, n)
		},
	} {
		t.Run(name, func(t *testing.T) { everywhere(t, narrow, test) })
	}
}

// TestTimedOutWriteGoesOn: a Write with a deadline says how much it took, and the next one goes on from there;
// Close sends all of it.
func TestTimedOutWriteGoesOn(t *testing.T) {
	everywhere(t, narrow, func(t *testing.T, c, peer *Conn) {
		c.SetCloseTimeout(tlstest.Hang)
		var s sequence
		p := make([]byte, 1<<20/scale)
		s.fill(p)
		left, stops := p, 0
		got := tlstest.Later(func() error {
			if err := expect(peer, len(p)); err != nil {
				return err
			}
			return reading(peer)()
		})
		for wait := time.Duration(0); len(left) > 0; wait += 10 * time.Microsecond {
			tlstest.Must(t, c.SetWriteDeadline(time.Now().Add(wait)))
			n, err := c.Write(left)
			if left = left[n:]; err != nil {
				timedOut(t, err)
				stops++
			}
		}
		tlstest.Must(t, c.Close())
		fails(t, got, "the peer", io.EOF)
		if stops == 0 {
			t.Error("no deadline fired")
		}
	})
}

// TestDeadlineError: what such an error looks like.
func TestDeadlineError(t *testing.T) {
	client, _ := connect(t, networks["tcp"])
	tlstest.Must(t, client.SetReadDeadline(longAgo))
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
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		for _, c := range []*Conn{client, server} {
			c.SetCloseTimeout(never)
			tlstest.Must(t, c.SetDeadline(time.Now().Add(never)))
		}
		flows(t, client, server, 1<<18, 1<<14)
		closed := tlstest.Later(client.Close)
		is(t, reading(server)(), io.EOF)
		done(t, closed, "Close")
	}, func(server, _ *cssl.Config) {
		server.DecisionTimeout = never
		server.ClientHello = func(h *cssl.ClientHello) { go h.Accept(nil) }
	})
	sx, cx := contexts(t)
	l := tlstest.Value(Listen("tcp", "127.0.0.1:0", sx))(t)
	defer l.Close()
	accepted := tlstest.Later(acceptAndShake(l))
	c := tlstest.Value((&Dialer{Context: cx, Net: &net.Dialer{Timeout: never}}).Dial("tcp", l.Addr().String()))(t)
	done(t, accepted, "the server's handshake")
	tlstest.Must(t, c.Close())
}
