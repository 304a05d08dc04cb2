package interop

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// The seeds of the two directions.
const (
	upSeed   = 11 // from the client
	downSeed = 22 // from the server
)

// facts is what our side knows after the handshake.
type facts struct {
	version          cssl.TLSVersion
	cipher           string
	alpn, serverName string
	resumed          bool
	peer             string // the common name of the peer's certificate
	verify           error
}

// party is our side of one connection: it sends its stream and checks the other one.
type party struct {
	reactor.BaseHandler
	send    *sender
	receive *stream
	want    int64 // how many bytes are to come
	high    bool  // ignore bytes without the top bit
	// outside: write from a goroutine of its own, instead of in OnOpen and OnDrain.
	outside bool
	// closes: this side closes when all has been sent and received.
	closes bool

	// wrote, if set, is called after each write, where outside is set.
	wrote func(c *reactor.Conn, total int64)
	// Who locks hold stops writing, where outside is set. written is what was written.
	hold    sync.Mutex
	written atomic.Int64

	sent  atomic.Bool
	got   atomic.Int64
	facts facts
	conn  chan *reactor.Conn // receives it once, in OnOpen
	done  chan error         // receives the outcome once
	over  chan struct{}      // closed by OnClose
	// pumping is the goroutine that writes, where outside is set.
	pumping sync.WaitGroup
	err     error
	resume  *cssl.Session // for the next connection; valid after done
	client  bool
}

func newParty(client, high bool, n int) *party {
	p := &party{
		send: newSender(downSeed, high, n), receive: newStream(upSeed, high), want: int64(n), high: high, client: client,
		conn: make(chan *reactor.Conn, 1), done: make(chan error, 1), over: make(chan struct{}),
	}
	if client {
		p.send, p.receive = newSender(upSeed, high, n), newStream(downSeed, high)
	}
	return p
}

// set says whether the party writes from a goroutine of its own, and whether it closes.
func (p *party) set(outside, closes bool) *party {
	p.outside, p.closes = outside, closes
	return p
}

// await returns what comes through ch, and fails the test with what it was to be after limit.
func await[T any](t *testing.T, ch <-chan T, what func() string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatalf("not in time: %s\n%s", what(), tlstest.Stacks())
		panic("not reached")
	}
}

// done waits for an error that must be nil.
func done(t *testing.T, ch <-chan error, what string) {
	t.Helper()
	if err := await(t, ch, func() string { return what }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// OnOpen implements reactor.Handler.
func (p *party) OnOpen(c *reactor.Conn) {
	s := c.State()
	p.facts = facts{
		version: s.Version, cipher: s.Cipher, alpn: s.ALPN, serverName: s.ServerName,
		resumed: s.Resumed, verify: s.VerifyError,
	}
	chain, err := s.PeerCertificates()
	if err != nil {
		p.fail(c, err)
	}
	if len(chain) > 0 {
		p.facts.peer = chain[0].Subject.CommonName
	}
	p.conn <- c
	if p.outside {
		p.pumping.Go(func() { p.pumpOutside(c) })
	} else {
		p.pump(c)
	}
}

// pump writes as much as brings the queue above the high watermark, so that OnDrain comes
// and goes on. It counts by itself: inside a handler Conn.Queued may be out of date.
func (p *party) pump(c *reactor.Conn) {
	for n := 0; n < 128<<10; {
		b := p.send.next()
		n += len(b)
		if b == nil {
			p.sent.Store(true)
			p.finished(c)
			return
		}
		if _, err := c.Write(b); err != nil {
			p.fail(c, err)
			return
		}
	}
}

// pumpOutside keeps the queue below the high watermark, so that reading never
// pauses: of two peers that both stream, one at least must always read.
func (p *party) pumpOutside(c *reactor.Conn) {
	for {
		if c.Queued() > 64<<10 {
			select {
			case <-p.over:
				return
			default:
			}
			time.Sleep(100 * time.Microsecond)
			continue
		}
		if !p.writeOne(c) {
			return
		}
	}
}

// writeOne writes one piece, and returns false if that was the last.
func (p *party) writeOne(c *reactor.Conn) bool {
	p.hold.Lock()
	defer p.hold.Unlock()
	b := p.send.next()
	if b == nil {
		p.sent.Store(true)
		p.finished(c)
		return false
	}
	if _, err := c.Write(b); err != nil {
		return false // OnClose says why
	}
	if n := p.written.Add(int64(len(b))); p.wrote != nil {
		p.wrote(c, n)
	}
	return true
}

// finished closes when there is nothing left to send or to come.
func (p *party) finished(c *reactor.Conn) {
	if p.closes && p.sent.Load() && p.got.Load() == p.want {
		c.Close()
	}
}

func (p *party) fail(c *reactor.Conn, err error) {
	if p.err == nil {
		p.err = err
	}
	c.Abort(err)
}

// OnDrain implements reactor.Handler.
func (p *party) OnDrain(c *reactor.Conn) {
	if !p.outside {
		p.pump(c)
	}
}

// OnData implements reactor.Handler.
func (p *party) OnData(c *reactor.Conn, b []byte) {
	if p.high {
		b = onlyHigh(b)
	}
	if err := p.receive.check(b); err != nil {
		p.fail(c, err)
		return
	}
	if n := p.got.Add(int64(len(b))); n > p.want {
		p.fail(c, fmt.Errorf("%d bytes came, want %d", n, p.want))
		return
	}
	p.finished(c)
}

// OnClose implements reactor.Handler.
func (p *party) OnClose(c *reactor.Conn, err error) {
	if p.client && p.err == nil {
		p.resume = c.Session()
	}
	close(p.over)
	p.pumping.Wait() // the peer may have got and answered the last write before that goroutine goes on
	switch {
	case p.err != nil:
		err = p.err
	case err != nil:
	case p.got.Load() != p.want:
		err = fmt.Errorf("clean close after %d of %d bytes", p.got.Load(), p.want)
	case !p.sent.Load():
		err = errors.New("clean close before all was sent")
	}
	p.done <- err
}

// wait waits until the connection is over, and fails the test if it did not go well.
func (p *party) wait(t *testing.T) {
	t.Helper()
	name := "our server"
	if p.client {
		name = "our client"
	}
	err := await(t, p.done, func() string {
		return fmt.Sprintf("%s: %d of %d bytes came, sent all: %v", name, p.got.Load(), p.want, p.sent.Load())
	})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	count(t, 1, p.got.Load()+p.send.stream.pos)
}

// opened waits for OnOpen.
func (p *party) opened(t *testing.T) *reactor.Conn {
	t.Helper()
	select {
	case c := <-p.conn:
		return c
	case err := <-p.done:
		t.Fatalf("the connection ended: %v", err)
	case <-time.After(limit):
		t.Fatal("no handshake in time")
	}
	return nil
}

// onlyHigh takes out the bytes below 0x80, in place.
func onlyHigh(b []byte) []byte {
	out := b[:0]
	for _, c := range b {
		if c >= 0x80 {
			out = append(out, c)
		}
	}
	return out
}

// hall gives each connection that is accepted the next party.
type hall struct {
	reactor.BaseHandler
	t       *testing.T
	parties chan *party
	pages   atomic.Pointer[page] // if set, all connections are its own
}

// OnOpen implements reactor.Handler.
func (h *hall) OnOpen(c *reactor.Conn) {
	if p := h.pages.Load(); p != nil {
		p.OnOpen(c)
		return
	}
	select {
	case p := <-h.parties:
		c.Data = p
		p.OnOpen(c)
	default:
		h.t.Error("a connection that nobody expects")
		c.Abort(nil)
	}
}

// OnData implements reactor.Handler.
func (h *hall) OnData(c *reactor.Conn, b []byte) {
	if p := h.pages.Load(); p != nil {
		p.OnData(c, b)
		return
	}
	if p, ok := c.Data.(*party); ok {
		p.OnData(c, b)
	}
}

// OnDrain implements reactor.Handler.
func (h *hall) OnDrain(c *reactor.Conn) {
	if p, ok := c.Data.(*party); ok {
		p.OnDrain(c)
	}
}

// OnClose implements reactor.Handler. A connection that failed in the handshake
// uses up a party too.
func (h *hall) OnClose(c *reactor.Conn, err error) {
	p, ok := c.Data.(*party)
	if !ok {
		select {
		case p = <-h.parties:
		default:
			return
		}
	}
	p.OnClose(c, err)
}

// server is a reactor.Server with its address.
type server struct {
	*reactor.Server
	addr string
	hall *hall
}

// newServer starts a server on a port that the system chooses. rcv and snd are the
// sizes of its socket buffers; 0 is the system's choice.
func newServer(t *testing.T, cfg cssl.Config, sndbuf, rcvbuf int) *server {
	t.Helper()
	x := tlstest.Value(cssl.NewServerContext(cfg))(t)
	h := &hall{t: t, parties: make(chan *party, 16)}
	s := &server{Server: &reactor.Server{Handler: h, Context: x, Loops: 1, Limits: reactor.Limits{HandshakeTimeout: limit, CloseTimeout: limit}}, hall: h}
	lc := net.ListenConfig{Control: func(_, _ string, rc rawConn) error { return setBuffers(rc, sndbuf, rcvbuf) }}
	l := tlstest.Value(lc.Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; !errors.Is(err, reactor.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		x.Close()
	})
	return s
}

// expect makes the next connection p's.
func (s *server) expect(p *party) *party {
	s.hall.parties <- p
	return p
}

// newLoop runs a loop for clients.
func newLoop(t *testing.T, trace func(*reactor.Conn, tlsio.Op, tlsio.Result)) *reactor.Loop {
	t.Helper()
	cfg := reactor.LoopConfig{Limits: reactor.Limits{HandshakeTimeout: limit, CloseTimeout: limit}}
	if trace != nil {
		cfg.Trace = func(c *reactor.Conn, op tlsio.Op, r tlsio.Result, _ session.Event) { trace(c, op, r) }
	}
	l := tlstest.Value(reactor.NewLoop(cfg))(t)
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return l
}

// attach connects a handler as a client. The end of the connect itself is left to the loop, too.
func attach(t *testing.T, l *reactor.Loop, addr string, x *cssl.Context, cfg cssl.ConnConfig, sndbuf, rcvbuf int, h reactor.Handler) {
	t.Helper()
	a := tlstest.Value(net.ResolveTCPAddr("tcp4", addr))(t)
	fd := tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	if sndbuf > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sndbuf)
	}
	if rcvbuf > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err := unix.Connect(fd, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())})
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		t.Fatal(err)
	}
	tlstest.Must(t, l.Attach(fd, x, cfg, h, nil))
}

// clientContext makes a client's Context that lives as long as the test.
func clientContext(t *testing.T, cfg cssl.Config) *cssl.Context {
	t.Helper()
	x := tlstest.Value(cssl.NewClientContext(cfg))(t)
	t.Cleanup(x.Close)
	return x
}

// certificate is one of testdata/certs.
func certificate(name string) cssl.Certificate {
	return cssl.Certificate{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}
}
