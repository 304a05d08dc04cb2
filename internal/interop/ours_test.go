package interop

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

// party is our side of one connection: it sends its stream and checks the other one.
type party struct {
	reactor.BaseHandler
	client  bool
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

	conn  atomic.Pointer[reactor.Conn] // from OnOpen on
	state cssl.State                   // after the handshake
	sent  atomic.Bool
	got   atomic.Int64
	over  atomic.Bool // from OnClose on
	// pumping is the goroutine that writes, where outside is set.
	pumping sync.WaitGroup
	err     error
	done    chan error    // receives the outcome once
	resume  *cssl.Session // for the next connection; valid after done
}

func newParty(client, high bool, n int) *party {
	sends, receives := down, up
	if client {
		sends, receives = up, down
	}
	return &party{client: client, send: newSender(sends, high, n), receive: newStream(receives, high), want: int64(n), high: high,
		done: make(chan error, 1)}
}

// set says whether the party writes from a goroutine of its own, and whether it closes.
func (p *party) set(outside, closes bool) *party {
	p.outside, p.closes = outside, closes
	return p
}

// OnOpen implements reactor.Handler.
func (p *party) OnOpen(c *reactor.Conn) {
	p.state = c.State()
	p.conn.Store(c)
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
	for tlstest.Soon(func() bool { return c.Queued() <= 64<<10 || p.over.Load() }) && p.writeOne(c) {
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
	p.over.Store(true)
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
	name := map[bool]string{false: "our server", true: "our client"}[p.client]
	defer func() {
		if t.Failed() {
			t.Logf("%s: %d of %d bytes came, sent all: %v", name, p.got.Load(), p.want, p.sent.Load())
		}
	}()
	if err := tlstest.Receive(t, p.done, name); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	count(t, 1, p.got.Load()+p.send.pos)
}

// opened waits for OnOpen.
func (p *party) opened(t *testing.T) *reactor.Conn {
	t.Helper()
	tlstest.Until(t, "the handshake is done", func() bool { return p.conn.Load() != nil || len(p.done) > 0 })
	if p.conn.Load() == nil {
		t.Fatalf("the connection ended: %v", <-p.done)
	}
	return p.conn.Load()
}

// hall gives each connection that is accepted the next party.
type hall struct {
	reactor.BaseHandler
	t       *testing.T
	parties chan *party
}

// OnOpen implements reactor.Handler.
func (h *hall) OnOpen(c *reactor.Conn) {
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
func (h *hall) OnData(c *reactor.Conn, b []byte) { c.Data.(*party).OnData(c, b) }

// OnDrain implements reactor.Handler.
func (h *hall) OnDrain(c *reactor.Conn) { c.Data.(*party).OnDrain(c) }

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
	addr    string
	parties chan *party
}

// newServer starts a server for parties.
func newServer(t *testing.T, cfg cssl.Config, buffers int) *server {
	t.Helper()
	h := &hall{t: t, parties: make(chan *party, 16)}
	s := serve(t, cfg, buffers, h)
	s.parties = h.parties
	return s
}

var limits = reactor.Limits{HandshakeTimeout: tlstest.Hang, CloseTimeout: tlstest.Hang}

// serve starts a server on a port that the system chooses. buffers is the size of its sockets' buffers; 0 is the system's choice.
func serve(t *testing.T, cfg cssl.Config, buffers int, h reactor.Handler) *server {
	t.Helper()
	x := tlstest.Value(cssl.NewServerContext(cfg))(t)
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { setBuffers(int(fd), buffers) })
	}}
	l := tlstest.Value(lc.Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	s := &server{Server: &reactor.Server{Handler: h, Context: x, Loops: 1, Limits: limits}, addr: l.Addr().String()}
	served := tlstest.Later(func() error { return s.Serve(l) })
	t.Cleanup(func() {
		s.Close()
		tlstest.IsError(t, "Serve", <-served, reactor.ErrServerClosed)
		x.Close()
	})
	return s
}

func setBuffers(fd, size int) {
	if size > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
}

// expect makes the next connection p's.
func (s *server) expect(p *party) *party {
	s.parties <- p
	return p
}

// newLoop runs a loop for clients.
func newLoop(t *testing.T) *reactor.Loop {
	t.Helper()
	l := tlstest.Value(reactor.NewLoop(reactor.LoopConfig{Limits: limits}))(t)
	ended := tlstest.Later(l.Run)
	t.Cleanup(func() {
		l.Stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return l
}

// localhost is what a client connects with that resumes nothing.
var localhost = cssl.ConnConfig{ServerName: "localhost"}

// attach connects a handler as a client. The end of the connect itself is left to the loop, too.
func attach(t *testing.T, l *reactor.Loop, addr string, x *cssl.Context, cfg cssl.ConnConfig, buffers int, h reactor.Handler) {
	t.Helper()
	a := tlstest.Value(net.ResolveTCPAddr("tcp4", addr))(t)
	fd := tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	setBuffers(fd, buffers)
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
