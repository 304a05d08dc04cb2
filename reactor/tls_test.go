package reactor

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testktls"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/tlsio"
)

func update(c *Conn) error { return c.KeyUpdate(false) }
func ask(c *Conn) error    { return c.KeyUpdate(true) }

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
		{"server updates", nil, update, tlsio.OpKeyUpdate, true},
		{"server updates and asks", nil, ask, tlsio.OpKeyUpdate, true},
		{"client updates", nil, update, tlsio.OpKeyUpdate, false},
		{"client updates and asks", nil, ask, tlsio.OpKeyUpdate, false},
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
				var in, out tlstest.Stream
				next, ended := every, false
				write := func(c *Conn) {
					for !ended && c.Queued() < high {
						c.Write(out.Next(every))
					}
				}
				return &hooks{
					open:  write,
					drain: write,
					data: func(c *Conn, p []byte) {
						in.Check(p)
						switch {
						case !rekeys || ended:
						case started >= times && in.N >= size:
							ended = true
							c.CloseWrite()
						case in.N >= next:
							next += every
							if err := tc.rekey(c); err != nil {
								t.Error(err)
							}
						}
					},
					closed: func(_ *Conn, err error) {
						if in.N < size/4 {
							err = errors.Join(err, io.ErrShortBuffer)
						}
						done <- errors.Join(err, in.Bad)
					},
					eof: func(c *Conn) { ended = true; c.Close() },
				}
			}
			cfg := LoopConfig{Session: session.Config{HighWater: high, HalfClose: true}}
			s := &Server{Handler: side(tc.server), Context: serverContext(t, "ecdsa", tc.change), Session: cfg.Session}
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
	h, ended := ends(echo())
	s := &Server{Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.MaxMessages = 1 })}
	c, client := serverConn(t, s, h)
	updates := func(n uint64) {
		c.loop.Do(func() { c.KeyUpdate(false); c.KeyUpdate(true) })
		tlstest.Until(t, "the update", func() bool { return s.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone] == n })
		c.Write([]byte("x"))
	}
	updates(1)
	tlstest.Value(io.ReadFull(client, make([]byte, 1)))(t)
	roundTrip(t, client, "behind the first answer")
	updates(2)
	client.Read(make([]byte, 1)) // which makes Go answer the request
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tlsio.ErrLimit)
}

// TestRekeyErrors: whoever asks for a handshake that cannot be hears of it, and the connection goes on.
func TestRekeyErrors(t *testing.T) {
	v12 := func(renegotiation bool) func(*cssl.Config) {
		return func(c *cssl.Config) { c.MaxVersion, c.Renegotiation = cssl.TLS12, renegotiation }
	}
	for _, tc := range []struct {
		name   string
		change func(*cssl.Config)
		ask    func(*Conn) error
		want   error
	}{
		{"KeyUpdate in TLS 1.2", v12(true), ask, tlsio.ErrState},
		{"Renegotiate in TLS 1.3", nil, (*Conn).Renegotiate, tlsio.ErrState},
		{"Renegotiate that is not allowed", v12(false), (*Conn).Renegotiate, tlsio.ErrState},
		{"Renegotiate and KeyUpdate at once", nil, func(c *Conn) error { return errors.Join(c.Renegotiate(), update(c)) }, session.ErrRekeying},
		{"RequestCertificate that is not allowed", nil, (*Conn).RequestCertificate, tlsio.ErrState},
	} {
		t.Run(tc.name, func(t *testing.T) {
			heard := make(chan error, 1)
			hear := func(_ *Conn, err error) { heard <- err }
			h, ended := ends(&hooks{data: func(c *Conn, p []byte) { c.Write(p) }, rekey: hear, certificate: hear})
			c, client := serverConn(t, &Server{Context: serverContext(t, "ecdsa", tc.change)}, h)
			tlstest.Must(t, onLoopOf(t, c.loop, func() error { return tc.ask(c) }))
			tlstest.IsError(t, "what the handler hears", tlstest.Receive(t, heard, "the error"), tc.want)
			roundTrip(t, client, "afterwards")
			c.Close()
			tlstest.IsError(t, "after Close", tc.ask(c), net.ErrClosed)
			client.Close()
			tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
		})
	}
}

// TestKernelRecords: Stats count the handshakes whose records are the kernel's, or direct with the reason why not.
// An echo of more than the buffers hold goes through either, and both sides close.
func TestKernelRecords(t *testing.T) {
	h, ended := ends(echo())
	s := &Server{Handler: h, Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = cssl.RecordsKernel })}
	c := goDial(t, start(t, s))
	for range 20 {
		roundTrip(t, c, strings.Repeat("0123456789abcdef", 4096))
	}
	c.Close()
	tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
	for got, n := range s.Stats().Records {
		wrong := testktls.Available() && got != "kernel" && testktls.Reads(t, strings.TrimPrefix(got, "kernel: "))
		known := strings.HasPrefix(got, "kernel") || strings.HasPrefix(got, "direct: the kernel has no TLS for this socket: ")
		if wrong || !known || n != 1 {
			t.Errorf("%d are %q", n, got)
		}
	}
}

// TestKernelPartialRecord: a connection with a part of a record costs a loop nothing until the rest is there,
// although an event loop of this kind asks again for what is readable. Another connection's echoes count the
// turns.
func TestKernelPartialRecord(t *testing.T) {
	const rounds = 50
	s := &Server{Handler: echo(), Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = cssl.RecordsKernel })}
	addr := start(t, s)
	raw := rawDial(t, addr)
	roundTrip(t, goOver(t, raw), "hello")
	other := goDial(t, addr)
	vain := func() uint64 { // reads that found nothing, in so many echoes
		before := s.Stats().Sessions.Results[tlsio.OpRead][tlsio.WantRead]
		for range rounds {
			roundTrip(t, other, "hello")
		}
		return s.Stats().Sessions.Results[tlsio.OpRead][tlsio.WantRead] - before
	}
	usual := vain()
	tlstest.Value(io.WriteString(raw, "\x17\x03\x03\x10\x00part of a record"))(t)
	if n := vain(); n > usual+rounds/2 {
		t.Errorf("%d reads in vain during %d echoes, and %d before", n, rounds, usual)
	}
}

// blocking is a client for the test's own goroutine.
func blocking(t *testing.T, addr net.Addr, x *cssl.Context, ticket *cssl.Session) *sslnet.Conn {
	t.Helper()
	c := tlstest.Value(sslnet.Client(rawDial(t, addr), x, cssl.ConnConfig{ServerName: "localhost", Session: ticket}))(t)
	t.Cleanup(func() { c.Close() })
	tlstest.Must(t, c.SetDeadline(time.Now().Add(tlstest.Hang)))
	return c
}

// TestRequestCertificate: the handler asks when it has read what needs a certificate, and hears of the answer, or
// why there is none. An answer that does not pass ends the connection, and OnClose says why.
func TestRequestCertificate(t *testing.T) {
	certificates := []cssl.Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}}
	for _, tc := range []struct {
		name         string
		offers       bool
		certificates []cssl.Certificate
		hears        error // the handler
		ends         bool
	}{
		{"given", true, certificates, nil, false},
		{"not offered", false, certificates, tlsio.ErrState, false},
		{"none", true, nil, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			heard := make(chan error, 2)
			h, closed := ends(&hooks{data: func(c *Conn, p []byte) { c.RequestCertificate() }})
			h.certificate = func(c *Conn, err error) {
				if chain, _ := c.State().VerifiedChain(); err == nil && len(chain) == 0 {
					err = errors.New("no certificate")
				}
				heard <- err
				c.Write([]byte("seen"))
			}
			s := &Server{Handler: h, Context: serverContext(t, "ecdsa", func(c *cssl.Config) {
				c.PostHandshakeAuth, c.Verify, c.CAFile = true, cssl.VerifyRequire, testcerts.Path("root.pem")
			})}
			x := clientContext(t, func(c *cssl.Config) { c.PostHandshakeAuth, c.Certificates = tc.offers, tc.certificates })
			c := blocking(t, start(t, s), x, nil)
			if tc.ends {
				tlstest.Value(c.Write([]byte("secret page")))(t)
				_, err := c.Read(make([]byte, 1))
				tlstest.IsError(t, "the client hears", err, tlsio.AlertCertificateRequired)
				tlstest.IsError(t, "OnClose", tlstest.Receive(t, closed, "OnClose"), tlsio.AlertCertificateRequired)
				tlstest.Nothing(t, heard, "OnCertificate")
				return
			}
			for range 2 {
				tlstest.Value(c.Write([]byte("secret page")))(t)
				tlstest.Value(io.ReadFull(c, make([]byte, 4)))(t)
				tlstest.IsError(t, "OnCertificate", tlstest.Receive(t, heard, "OnCertificate"), tc.hears)
			}
		})
	}
}

// TestEarlyData: the handler gets it before OnOpen, and what it writes then is the first thing that the client
// reads. Without session.Config.EarlyData the server rejects it.
func TestEarlyData(t *testing.T) {
	const size = 300_000
	x, sx := clientContext(t, nil), serverContext(t, "ecdsa", func(c *cssl.Config) { c.MaxEarlyData = 1 << 20 })
	var in, out tlstest.Stream
	opened := make(chan int, 3)
	h := echo()
	h.early = func(c *Conn, p []byte) {
		if in.Check(p); in.N == size {
			c.Write([]byte("got it"))
		}
	}
	h.open = func(c *Conn) { opened <- in.N }
	s := &Server{Handler: h, Context: sx, Session: session.Config{EarlyData: true}}
	addr := start(t, s)
	c := blocking(t, addr, x, nil)
	roundTrip(t, c, "first")
	tlstest.Receive(t, opened, "OnOpen")
	again := blocking(t, addr, x, c.Session())
	tlstest.Value(again.WriteEarlyData(out.Next(size)))(t)
	p := make([]byte, 6)
	tlstest.Value(io.ReadFull(again, p))(t)
	if got := tlstest.Receive(t, opened, "OnOpen"); got != size || in.Bad != nil || string(p) != "got it" {
		t.Errorf("%d bytes before OnOpen, %v; answer %q", got, in.Bad, p)
	}
	tlstest.Equal(t, "early data", again.State().EarlyData, cssl.EarlyDataAccepted)
	roundTrip(t, again, "after")

	c = blocking(t, start(t, &Server{Handler: echo(), Context: sx}), x, again.Session())
	tlstest.Value(c.WriteEarlyData([]byte("hello")))(t)
	tlstest.Must(t, c.Handshake())
	tlstest.Equal(t, "without Config.EarlyData: early data", c.State().EarlyData, cssl.EarlyDataRejected)
	roundTrip(t, c, "hello")
}
