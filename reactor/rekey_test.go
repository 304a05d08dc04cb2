package reactor

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestRekeyInStream (P16, P34): KeyUpdate, with and without a request, and renegotiation from
// either side in the midst of streams both ways: every byte arrives in order.
func TestRekeyInStream(t *testing.T) {
	const size, every, high, times = 1 << 20, 64 << 10, 256 << 10, 4
	v12 := func(c *cssl.Config) { c.MaxVersion, c.Renegotiation, c.MaxRenegotiations = cssl.TLS12, true, 1000 }
	for _, tc := range []struct {
		name   string
		change func(*cssl.Config)
		rekey  func(*Conn) error
		op     tlsio.Op
		server bool
	}{
		{"server updates", nil, func(c *Conn) error { return c.KeyUpdate(false) }, tlsio.OpKeyUpdate, true},
		{"server updates and asks", nil, func(c *Conn) error { return c.KeyUpdate(true) }, tlsio.OpKeyUpdate, true},
		{"client updates", nil, func(c *Conn) error { return c.KeyUpdate(false) }, tlsio.OpKeyUpdate, false},
		{"client updates and asks", nil, func(c *Conn) error { return c.KeyUpdate(true) }, tlsio.OpKeyUpdate, false},
		{"server renegotiates", v12, (*Conn).Renegotiate, tlsio.OpRenegotiate, true},
		{"client renegotiates", v12, (*Conn).Renegotiate, tlsio.OpRenegotiate, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			done := make(chan error, 2)
			started := 0 // on the rekeying side's loop
			trace := func(_ *Conn, op tlsio.Op, _ tlsio.Result, _ session.Event) {
				if op == tc.op {
					started++
				}
			}
			// Both sides write without end until the rekeying one has begun often enough, each time after the one before was done, and
			// has got enough. Then it ends its direction, and the other one follows.
			side := func(rekeys bool) *hooks {
				var in, out stream
				next, ended := every, false
				write := func(c *Conn) {
					for !ended && c.Queued() < high {
						c.Write(out.next(every))
					}
				}
				return &hooks{
					open:  write,
					drain: write,
					data: func(c *Conn, p []byte) {
						in.check(p)
						switch {
						case !rekeys || ended:
						case started >= times && in.n >= size:
							ended = true
							c.CloseWrite()
						case in.n >= next:
							next += every
							if err := tc.rekey(c); err != nil {
								t.Error(err)
							}
						}
					},
					closed: func(_ *Conn, err error) {
						if err == nil {
							err = in.bad
						}
						if err == nil && in.n < size/4 {
							err = io.ErrShortBuffer
						}
						done <- err
					},
					eof: func(c *Conn) { ended = true; c.Close() },
				}
			}
			s := &Server{Handler: side(tc.server), Context: serverContext(t, "ecdsa", tc.change), Session: session.Config{HighWater: high, HalfClose: true}, Limits: Limits{CloseTimeout: tlstest.Hang}}
			cfg := LoopConfig{Session: s.Session, Limits: Limits{CloseTimeout: tlstest.Hang}}
			if tc.server {
				s.Trace = trace
			} else {
				cfg.Trace = trace
			}
			// Small buffers, so that not all of a stream is under way at once.
			ls := smallListener(t, 8<<10)
			serveOn(t, s, ls)
			l := startLoop(t, cfg)
			tlstest.Must(t, l.Attach(connect(t, ls.Addr(), 8<<10), clientContext(t, tc.change), csslLocalhost, side(!tc.server), nil))
			for range 2 {
				tlstest.Must(t, tlstest.Receive(t, done, "the streams to end"))
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
	c := tlstest.Receive(t, opened, "OnOpen")
	ask := func() { c.loop.Do(func() { c.KeyUpdate(false); c.KeyUpdate(true) }) }
	ask()
	tlstest.Until(t, "the update", func() bool { return s.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone] == 1 })
	c.Write([]byte("x"))
	tlstest.Value(io.ReadFull(client, make([]byte, 1)))(t)
	roundTrip(t, client, "behind the first answer")
	ask()
	tlstest.Until(t, "the second update", func() bool { return s.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone] == 2 })
	c.Write([]byte("x"))
	client.Read(make([]byte, 1)) // which makes Go answer the request
	if err := tlstest.Receive(t, ended, "OnClose"); !errors.Is(err, tlsio.ErrLimit) {
		t.Fatalf("OnClose got %v, want the limit to be passed by two answers", err)
	}
}

// TestRekeyErrors: whoever asks for a handshake that cannot be hears of it, and the connection goes on.
func TestRekeyErrors(t *testing.T) {
	v12 := func(renegotiation bool) func(*cssl.Config) {
		return func(c *cssl.Config) { c.MaxVersion, c.Renegotiation = cssl.TLS12, renegotiation }
	}
	update := func(c *Conn) error { return c.KeyUpdate(true) }
	for _, tc := range []struct {
		name   string
		change func(*cssl.Config)
		ask    func(*Conn) error
		want   error
	}{
		{"KeyUpdate in TLS 1.2", v12(true), update, tlsio.ErrState},
		{"Renegotiate in TLS 1.3", nil, (*Conn).Renegotiate, tlsio.ErrState},
		{"Renegotiate that is not allowed", v12(false), (*Conn).Renegotiate, tlsio.ErrState},
		{"Renegotiate and KeyUpdate at once", nil, func(c *Conn) error { return errors.Join(c.Renegotiate(), c.KeyUpdate(false)) }, session.ErrRekeying},
		{"RequestCertificate that is not allowed", nil, (*Conn).RequestCertificate, tlsio.ErrState},
	} {
		t.Run(tc.name, func(t *testing.T) {
			heard, ended := make(chan error, 1), make(chan error, 1)
			hear := func(_ *Conn, err error) { heard <- err }
			h := &hooks{data: func(c *Conn, p []byte) { c.Write(p) }, rekey: hear, certificate: hear, closed: func(_ *Conn, err error) { ended <- err }}
			c, client := serverConn(t, &Server{Context: serverContext(t, "ecdsa", tc.change)}, h)
			var asked error
			done := make(chan struct{})
			c.loop.Do(func() { asked = tc.ask(c); close(done) })
			<-done
			tlstest.Must(t, asked)
			if err := tlstest.Receive(t, heard, "the error"); !errors.Is(err, tc.want) {
				t.Errorf("the handler hears %v, want %v", err, tc.want)
			}
			roundTrip(t, client, "afterwards")
			c.Close()
			if err := tc.ask(c); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v, want net.ErrClosed", err)
			}
			client.Close()
			tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
		})
	}
}
