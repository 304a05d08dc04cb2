package link

import (
	"cmp"
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
)

// limit is how long a connection may take.
const limit = 100 * time.Second

// echo is the server's handler. It knows its connections by the client's port.
type echo struct {
	reactor.BaseHandler
	mu     sync.Mutex
	conns  map[uint16]*reactor.Conn
	closed map[uint16][]error
}

func portOf(c *reactor.Conn) uint16 { return uint16(c.RemoteAddr().(*net.TCPAddr).Port) }

// OnOpen implements reactor.Handler.
func (e *echo) OnOpen(c *reactor.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns[portOf(c)] = c
}

// OnData implements reactor.Handler.
func (e *echo) OnData(c *reactor.Conn, p []byte) {
	if _, err := c.Write(p); err != nil {
		c.Abort(fmt.Errorf("echo: %w", err))
	}
}

// OnClose implements reactor.Handler.
func (e *echo) OnClose(c *reactor.Conn, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed[portOf(c)] = append(e.closed[portOf(c)], err)
}

// conn waits for the connection from a port.
func (e *echo) conn(t *testing.T, port uint16) (c *reactor.Conn) {
	t.Helper()
	tlstest.Until(t, "the server's side", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		c = e.conns[port]
		return c != nil
	})
	return c
}

// end waits for the end of the connection from a port, which must come once.
func (e *echo) end(t *testing.T, port uint16) error {
	t.Helper()
	var got []error
	tlstest.Until(t, "the end of the server's side", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		got = e.closed[port]
		return len(got) > 0
	})
	if len(got) != 1 {
		t.Errorf("OnClose came %d times", len(got))
	}
	return got[0]
}

// client sends a stream that is made from its seed, checks that it comes back, and closes after the last byte
// unless it stays.
type client struct {
	reactor.BaseHandler
	port      uint16
	out, back tlstest.Stream
	left      int // to send
	expect    atomic.Int64
	ahead     int // bytes under way at most
	sent      int
	rekey     int // bytes between KeyUpdates
	rekeyed   int
	stays     bool
	paused    bool
	conn      atomic.Pointer[reactor.Conn]
	done      chan error
}

func newClient(seed, n int) *client {
	begin := tlstest.Stream{N: seed << 24}
	c := &client{out: begin, back: begin, left: n, ahead: 48 << 10, done: make(chan error, 2)}
	c.expect.Store(int64(n))
	return c
}

// OnOpen implements reactor.Handler.
func (c *client) OnOpen(conn *reactor.Conn) {
	c.conn.Store(conn)
	if c.paused {
		conn.Pause()
	}
	c.more(conn)
}

// more keeps bytes under way.
func (c *client) more(conn *reactor.Conn) {
	for c.left > 0 && c.left+c.ahead > int(c.expect.Load()) {
		p := c.out.Next(min(c.left, 1+c.sent%7001))
		if _, err := conn.Write(p); err != nil {
			conn.Abort(err)
			return
		}
		c.left -= len(p)
		c.sent += len(p)
		if c.rekey > 0 && c.sent/c.rekey > c.rekeyed {
			conn.KeyUpdate(c.rekeyed%2 == 0)
			c.rekeyed++
		}
	}
}

// OnData implements reactor.Handler.
func (c *client) OnData(conn *reactor.Conn, p []byte) {
	c.back.Check(p)
	switch n := c.expect.Add(int64(-len(p))); {
	case c.back.Bad != nil:
		conn.Abort(c.back.Bad)
	case n < 0:
		conn.Abort(errors.New("too many bytes"))
	case n == 0 && !c.stays:
		conn.Close()
	default:
		c.more(conn)
	}
}

// OnClose implements reactor.Handler.
func (c *client) OnClose(_ *reactor.Conn, err error) { c.done <- err }

// end waits for the end, which must come once.
func (c *client) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.done:
		tlstest.Nothing(t, c.done, "OnClose once more")
		return err
	case <-time.After(limit):
		t.Fatalf("the client's side does not end: %d bytes to come", c.expect.Load())
		return nil
	}
}

// finish waits until all bytes came back, and for the clean end of both sides.
func (c *client) finish(t *testing.T, w *world) {
	t.Helper()
	if err := c.end(t); err != nil || c.expect.Load() != 0 {
		t.Errorf("client: %v, with %d bytes to come", err, c.expect.Load())
	}
	if err := w.echo.end(t, c.port); err != nil {
		t.Errorf("server: %v", err)
	}
}

// world is a server and a client's loop with a link between them.
type world struct {
	*wire
	t           *testing.T
	echo        *echo
	server      *reactor.Server
	loop        *reactor.Loop
	port        int
	userTimeout int
	clients     map[cssl.TLSVersion]*cssl.Context
}

// timeouts of both sides; zero is limit, and for idle none.
type timeouts struct {
	handshake, idle, close time.Duration
	user                   int // TCP_USER_TIMEOUT in milliseconds
}

func newWorld(t *testing.T, q quality, to timeouts) *world {
	t.Helper()
	w := &world{wire: newWire(t, q), t: t, userTimeout: to.user, clients: map[cssl.TLSVersion]*cssl.Context{}}
	w.echo = &echo{conns: map[uint16]*reactor.Conn{}, closed: map[uint16][]error{}}
	x := tlstest.Value(cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}))(t)
	for _, v := range versions {
		w.clients[v] = tlstest.Value(cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), MinVersion: v, MaxVersion: v}))(t)
	}
	limits := reactor.Limits{
		HandshakeTimeout: cmp.Or(to.handshake, limit), CloseTimeout: cmp.Or(to.close, limit), IdleTimeout: to.idle,
	}
	w.server = &reactor.Server{Handler: w.echo, Context: x, Loops: 1, Limits: limits}
	w.loop = tlstest.Value(reactor.NewLoop(reactor.LoopConfig{Limits: limits}))(t)
	l := w.ends[0].listen(t, to.user)
	w.port = l.Addr().(*net.TCPAddr).Port
	served, ran := tlstest.Later(func() error { return w.server.Serve(l) }), tlstest.Later(w.loop.Run)
	t.Cleanup(func() {
		w.server.Close()
		w.loop.Stop()
		tlstest.IsError(t, "Serve", <-served, reactor.ErrServerClosed)
		tlstest.IsError(t, "Run", <-ran, nil)
		x.Close()
		for _, x := range w.clients {
			x.Close()
		}
	})
	return w
}

// dial begins a connection of c, whose flow is changed before.
func (w *world) dial(v cssl.TLSVersion, c *client, change ...func(*flow)) *client {
	w.t.Helper()
	fd, port := w.ends[1].connect(w.t, w.port, w.userTimeout)
	c.port = port
	for _, f := range change {
		w.watch(port, f)
	}
	tlstest.Must(w.t, w.loop.Attach(fd, w.clients[v], cssl.ConnConfig{ServerName: "localhost"}, c, nil))
	return c
}

// fails waits for the end of both sides of c, which must be this error.
func (w *world) fails(t *testing.T, c *client, want error) {
	t.Helper()
	tlstest.IsError(t, "client", c.end(t), want)
	tlstest.IsError(t, "server", w.echo.end(t, c.port), want)
}
