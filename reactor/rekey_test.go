package reactor

import (
	"errors"
	"io"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// TestRekeyInStream (P16, P34): KeyUpdate, with and without a request, and renegotiation from
// either side in the midst of streams both ways: every byte arrives in order.
func TestRekeyInStream(t *testing.T) {
	const size, every = 1 << 20, 64 << 10
	v12 := func(c *cssl.Config) { c.MaxVersion, c.Renegotiation, c.MaxRenegotiations = cssl.TLS12, true, 1000 }
	for _, tc := range []struct {
		name   string
		change func(*cssl.Config)
		rekey  func(*Conn)
		op     cssl.Op
		server bool
	}{
		{"server updates", nil, func(c *Conn) { c.KeyUpdate(false) }, cssl.OpKeyUpdate, true},
		{"server updates and asks", nil, func(c *Conn) { c.KeyUpdate(true) }, cssl.OpKeyUpdate, true},
		{"client updates", nil, func(c *Conn) { c.KeyUpdate(false) }, cssl.OpKeyUpdate, false},
		{"client updates and asks", nil, func(c *Conn) { c.KeyUpdate(true) }, cssl.OpKeyUpdate, false},
		{"server renegotiates", v12, func(c *Conn) { c.Renegotiate() }, cssl.OpRenegotiate, true},
		{"client renegotiates", v12, func(c *Conn) { c.Renegotiate() }, cssl.OpRenegotiate, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			done := make(chan error, 2)
			side := func(rekeys bool) *hooks {
				var in, out stream
				next := every
				return &hooks{
					open: func(c *Conn) { c.Write(out.next(size)) },
					data: func(c *Conn, p []byte) {
						in.check(p)
						// None near the end, where the peer may have closed before it answers.
						if rekeys && in.n >= next && max(in.n, out.n-c.Queued()) < size*3/4 {
							next += every
							tc.rekey(c)
						}
						if in.n >= size {
							c.Close()
						}
					},
					closed: func(_ *Conn, err error) {
						if err == nil {
							err = in.bad
						}
						if err == nil && in.n < size {
							err = io.ErrShortBuffer
						}
						done <- err
					},
				}
			}
			s := &Server{Handler: side(tc.server), Context: serverContext(t, "ecdsa", tc.change), Session: session.Config{HighWater: 2 * size}, CloseTimeout: hang}
			// Small buffers, so that not all of a stream is under way at once.
			ls := smallListener(t, 8<<10)
			serveOn(t, s, ls)
			l := startLoop(t, LoopConfig{Session: s.Session, CloseTimeout: hang})
			must(t, l.Attach(connect(t, ls.Addr(), 8<<10), clientContext(t, tc.change), csslLocalhost, side(!tc.server), nil))
			for range 2 {
				if err := receive(t, done, "the streams to end"); err != nil {
					t.Errorf("a side ended with %v", err)
				}
			}
			rekeyer := l.Stats
			if tc.server {
				rekeyer = s.Stats
			}
			waitFor(t, "the counts", func() bool { return rekeyer().Conns == 0 })
			n := uint64(0)
			for _, k := range rekeyer().Sessions.Results[tc.op] {
				n += k
			}
			// How many there are room for depends on time: one must end before the next begins.
			if n < 2 {
				t.Errorf("only %d times %v: %+v", n, tc.op, rekeyer().Sessions.Results[tc.op])
			}
		})
	}
}

// TestKeyUpdateRequests: of two that are asked for together, the one that includes the other is
// done. That the peer answers is seen from the server's limit, which its second answer passes.
func TestKeyUpdateRequests(t *testing.T) {
	opened, ended := make(chan *Conn, 1), make(chan error, 1)
	s := &Server{
		Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.MaxMessages = 1 }),
		Handler: &hooks{
			open:   func(c *Conn) { opened <- c },
			data:   func(c *Conn, p []byte) { c.Write(p) },
			closed: func(_ *Conn, err error) { ended <- err },
		},
	}
	client := goDial(t, start(t, s))
	c := receive(t, opened, "OnOpen")
	ask := func() { c.loop.Do(func() { c.KeyUpdate(false); c.KeyUpdate(true) }) }
	ask()
	waitFor(t, "the update", func() bool { return s.Stats().Sessions.Results[cssl.OpKeyUpdate][cssl.WantNone] == 1 })
	c.Write([]byte("x"))
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, client, "behind the first answer")
	ask()
	waitFor(t, "the second update", func() bool { return s.Stats().Sessions.Results[cssl.OpKeyUpdate][cssl.WantNone] == 2 })
	c.Write([]byte("x"))
	client.Read(make([]byte, 1)) // which makes Go answer the request
	if err := receive(t, ended, "OnClose"); !errors.Is(err, cssl.ErrLimit) {
		t.Fatalf("OnClose got %v, want the limit to be passed by two answers", err)
	}
}
