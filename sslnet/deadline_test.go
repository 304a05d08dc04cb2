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
	name   string
	early  bool   // the handshake is not made before
	only   string // the version that has it, if not both do
	server bool   // it blocks on the server, whose certificates find no room
	reader bool   // bounded by the read deadline
	unsaid bool   // while it blocks there can be no close_notify
	want   tlsio.Want
	op     func(c *Conn) error
	// prepare makes all ready for op to block on c. Then release makes the peer do what op waits for.
	prepare func(t testing.TB, c, peer *Conn) (release func())
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

// peerActs is for an operation that waits for the peer to act. The Cleanup of the test ends that.
func peerActs(act func(peer *Conn) error) func(t testing.TB, c, peer *Conn) func() {
	return func(_ testing.TB, _, peer *Conn) func() { return func() { go act(peer) } }
}

var peerHandshakes = peerActs((*Conn).Handshake)

// filled fills the transport, so that the operation waits for room.
func filled(t testing.TB, c, peer *Conn) func() {
	n := full(t, c)
	return func() { take(t, c, peer, n) }
}

// renegotiating makes c wait for the peer's answer to a renegotiation. The peer sends text before that.
func renegotiating(text string) func(t testing.TB, c, peer *Conn) func() {
	return func(t testing.TB, c, peer *Conn) func() {
		renegotiates(t, c)
		if text == "" {
			return func() { go readOne(peer) }
		}
		say(t, peer, text)
		return func() {
			tlstest.Must(t, readOne(c))
			go readOne(peer)
		}
	}
}

var blockers = []blocker{
	{name: "Read", reader: true, want: tlsio.WantRead, op: readOne, prepare: peerActs(writeOne)},
	{name: "Read that makes the handshake", early: true, reader: true, want: tlsio.WantRead, op: readOne, prepare: peerActs(writeOne)},
	{name: "Handshake", early: true, reader: true, want: tlsio.WantRead, op: (*Conn).Handshake, prepare: peerHandshakes},
	{name: "empty Read", early: true, reader: true, want: tlsio.WantRead,
		op: func(c *Conn) error { _, err := c.Read(nil); return err }, prepare: peerHandshakes},
	{name: "Write that makes the handshake", early: true, want: tlsio.WantRead, op: writeOne, prepare: peerHandshakes},
	{name: "KeyUpdate that makes the handshake", early: true, want: tlsio.WantRead, only: "TLS 1.3",
		op: func(c *Conn) error { return c.KeyUpdate(false) }, prepare: peerHandshakes},
	{name: "Write", want: tlsio.WantWrite, op: writeOne, prepare: filled},
	{name: "empty Write", want: tlsio.WantWrite, op: func(c *Conn) error { _, err := c.Write(nil); return err }, prepare: filled},
	{name: "CloseWrite", want: tlsio.WantWrite, op: (*Conn).CloseWrite, prepare: filled},
	{name: "KeyUpdate", want: tlsio.WantWrite, only: "TLS 1.3",
		op: func(c *Conn) error { return c.KeyUpdate(true) }, prepare: filled},
	{name: "Renegotiate", want: tlsio.WantRead, only: "TLS 1.2", op: (*Conn).Renegotiate, prepare: peerActs(readOne)},
	{name: "Read that must write", reader: true, want: tlsio.WantWrite, only: "TLS 1.2", server: true, unsaid: true, op: readOne,
		prepare: func(t testing.TB, c, peer *Conn) func() {
			n := full(t, c)
			rekeyed := tlstest.Later(peer.Renegotiate)
			return func() {
				take(t, c, peer, n)
				done(t, rekeyed, "Renegotiate")
				say(t, peer, "x")
			}
		}},
	{name: "Write that must read", want: tlsio.WantRead, only: "TLS 1.2", unsaid: true, op: writeOne, prepare: renegotiating("")},
	{name: "Write that must read data first", want: tlsio.WantAppRead, only: "TLS 1.2", op: writeOne, prepare: renegotiating("y")},
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
func blocked(t *testing.T, test func(t *testing.T, b *blocker, c *Conn, release func())) {
	for _, b := range blockers {
		for version, v := range versions {
			if b.only != "" && b.only != version {
				continue
			}
			certificates := v13 // as they are
			if b.server {
				certificates = big
			}
			t.Run(b.name+" "+version, func(t *testing.T) {
				pairs(t, narrow, func(t *testing.T, c, peer *Conn) {
					if !b.early {
						shake(t, c, peer)
					}
					if b.server {
						c, peer = peer, c
					}
					test(t, &b, c, b.prepare(t, c, peer))
				}, v, certificates)
			})
		}
	}
}

// TestDeadlines: a deadline in the past ends an operation before it begins, and one that is blocked; so does one that comes by
// itself. One in the future, or none, does not. After that the operation works.
func TestDeadlines(t *testing.T) {
	blocked(t, func(t *testing.T, b *blocker, c *Conn, release func()) {
		tlstest.Must(t, b.set(c, longAgo))
		timedOut(t, b.op(c))
		timedOut(t, b.op(c)) // until it is set anew
		tlstest.Must(t, b.set(c, time.Now().Add(time.Millisecond)))
		timedOut(t, b.op(c))
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
		release()
		done(t, ended, b.name)
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

// TestDeadlineOfOthers: a deadline that was set on the connection below, before there was TLS, can be removed.
func TestDeadlineOfOthers(t *testing.T) {
	a, b := socketPair(t, "tcp", "127.0.0.1:0", nil)
	tlstest.Must(t, errors.Join(a.SetDeadline(time.Unix(1, 0)), b.SetDeadline(time.Unix(1, 0))))
	client, server := pairOver(t, a, b)
	tlstest.Must(t, errors.Join(client.SetDeadline(time.Time{}), server.SetDeadline(time.Time{})))
	shake(t, client, server)
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
	l := listen(t, sx)
	accepted := tlstest.Later(acceptAndShake(l))
	c := tlstest.Value((&Dialer{Context: cx, Net: &net.Dialer{Timeout: never}}).Dial("tcp", l.Addr().String()))(t)
	done(t, accepted, "the server's handshake")
	tlstest.Must(t, c.Close())
}
