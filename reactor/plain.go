package reactor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/saturate"
	"github.com/spacemonad/go-openssl/reactor/internal/sys"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// PlainHandler handles the plain-text phase of connections that begin without
// TLS, as in SMTP, IMAP, LDAP, XMPP and PostgreSQL. As with a [Handler], its
// methods are called on the loop's goroutine and must not block, and one
// PlainHandler serves many connections. OnDrain, OnEOF and OnClose of the
// Handler are called in this phase too, its other methods after StartTLS.
type PlainHandler interface {
	// OnConnect is called when the connection exists: a server may write a
	// greeting.
	OnConnect(c *Conn)
	// OnPlain is called with all bytes from the peer that were not consumed
	// yet, and returns how many it consumes. It is called again if it consumed
	// some and others are left, and otherwise when more have arrived. So it can
	// consume one message in each call, and return 0 while one is incomplete.
	// The budget and the watermarks of session.Config apply to each call as to a
	// read: when many messages have come at once, other connections have their
	// turns in between, and OnPlain is not called while its replies wait. At
	// most 64 KiB may stay unconsumed (ErrPlainTooLong). p is valid until OnPlain
	// returns. After StartTLS, Pause or Close it is not called with what is
	// left. After Resume it may be called with the same bytes as before.
	OnPlain(c *Conn, p []byte) (n int)
}

// StartTLSConfig is the argument of [Conn.StartTLS]. The zero value makes a
// connection of a Server TLS with the Server's Context.
type StartTLSConfig struct {
	// Context decides whether we are the server or the client of TLS. nil means
	// the Server's current Context, or the Context and ConnConfig that were
	// given when the client connection was started.
	Context *cssl.Context
	// Conn is for a client's Context; see cssl.ConnConfig.
	Conn cssl.ConnConfig
	// Leftover is about bytes that have arrived in the clear and that OnPlain
	// has not consumed. By default they end the connection, and OnClose gets
	// tlsio.ErrPlaintextAfterStartTLS.
	Leftover tlsio.Leftover
}

var (
	// ErrPlainTooLong is what OnClose gets if OnPlain leaves more than 64 KiB
	// unconsumed.
	ErrPlainTooLong = errors.New("reactor: OnPlain left more than 64 KiB unconsumed")

	// errPlain and errNotPlain are returned by methods that are not possible
	// now.
	errPlain    = fmt.Errorf("reactor: the connection is in plain text: %w", tlsio.ErrState)
	errNotPlain = fmt.Errorf("reactor: TLS has already been started: %w", tlsio.ErrState)
	errTooEarly = fmt.Errorf("reactor: StartTLS before OnConnect: %w", tlsio.ErrState)
)

// maxPlain is how many bytes OnPlain may leave unconsumed.
const maxPlain = 64 << 10

// plain is the plain-text phase of a connection, and its session.Engine.
type plain struct {
	handler PlainHandler
	fd      int
	// context and conn are those of a StartTLS without a Context, for a
	// connection that was not accepted.
	context *cssl.Context
	conn    cssl.ConnConfig

	rest      []byte        // what OnPlain has not consumed
	due       time.Duration // when the peer must have sent something, or TLS must have started
	connected bool
	paused    bool
	again     bool // rest, if there is any, is to be passed to OnPlain again

	// With Conn.mu held: OnConnect has been called, and what StartTLS sets.
	begun    bool
	tls      *cssl.Conn
	server   bool // of TLS
	leftover tlsio.Leftover
	clear    int // how many of the staged bytes were written before
}

// AttachPlain is like Attach, but the connection begins in plain text. x and cfg
// are for a StartTLS without a Context; x may be nil.
func (l *Loop) AttachPlain(fd int, p PlainHandler, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fcntl(O_NONBLOCK)", err)
	}
	return l.attach(newPlain(fd, p, x, cfg, h, data))
}

// ConnectPlain is like Connect, but the connection begins in plain text. x and
// cfg are for a StartTLS without a Context; x may be nil.
// Limits.HandshakeTimeout bounds connecting and the arrival of the peer's first
// bytes.
func (l *Loop) ConnectPlain(remote netip.AddrPort, p PlainHandler, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) error {
	fd, cfg, err := l.startConnect(remote, cfg)
	if err != nil {
		return err
	}
	c := newPlain(fd, p, x, cfg, h, data)
	c.remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	return l.attach(c)
}

// newPlain makes a Conn over fd that begins in plain text.
func newPlain(fd int, p PlainHandler, x *cssl.Context, cfg cssl.ConnConfig, h Handler, data any) *Conn {
	c := &Conn{plain: &plain{handler: p, fd: fd, context: x, conn: cfg}, handler: h, fd: fd, Data: data}
	c.findAddrs()
	return c
}

// StartTLS makes a connection that began in plain text TLS. It returns at once.
// What was written before leaves in the clear, then the handshake begins, and
// what is written after StartTLS leaves encrypted, after OnOpen. From StartTLS
// on, nothing is read in the clear, and no byte that arrived in the clear
// reaches OnData. Limits.HandshakeTimeout bounds the time until the handshake
// begins, and then the handshake. A Close before OnOpen ends the connection at
// once, as in any handshake.
//
// Any goroutine may call StartTLS. A handler that decides on another goroutine,
// for example which Context to use, calls Pause in OnPlain, so that the loop
// does not read meanwhile, and then StartTLS and Resume.
//
// After an error nothing has changed. The error is net.ErrClosed after Close or
// CloseWrite, an error that wraps tlsio.ErrState if the connection is not in
// plain text, before OnConnect or after StartTLS, or an error of
// [cssl.Context]'s NewConn. If the peer has already ended its direction, OnClose
// gets io.ErrUnexpectedEOF.
func (c *Conn) StartTLS(cfg StartTLSConfig) error {
	c.mu.Lock()
	p := c.plain
	var err error
	switch {
	case c.shut:
		err = net.ErrClosed
	case p == nil || p.tls != nil:
		err = errNotPlain
	case !p.begun:
		err = errTooEarly
	default:
		err = c.newTLS(&cfg)
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	p.leftover, p.clear = cfg.Leftover, c.session.Staged()
	c.ask |= askStartTLS
	c.notify()
	return nil
}

// newTLS makes the TLS side of a connection in plain text. c.mu is held.
func (c *Conn) newTLS(cfg *StartTLSConfig) (err error) {
	p, x := c.plain, cfg.Context
	switch {
	case x != nil:
		p.tls, err = x.NewConn(c.fd, cfg.Conn)
	case c.server != nil && c.server.context.Load() != nil:
		x = c.server.context.Load()
		p.tls, err = c.server.newConn(c.fd, x)
	case p.context != nil:
		x = p.context
		p.tls, err = x.NewConn(c.fd, p.conn)
	default:
		return errors.New("reactor: StartTLS without a Context")
	}
	if err != nil {
		p.tls = nil
		return err
	}
	p.server = x.IsServer()
	return nil
}

// startTLS makes the session send what is to leave in the clear, and then begin
// TLS. staged is how many bytes it has just been given by collect. c.mu is
// held.
func (c *Conn) startTLS(staged int) {
	p := c.plain
	if c.session.Upgrade(p.tls, staged-p.clear, c.beginTLS) != nil {
		if c.session.Phase() == session.Open { // with half-close, after the peer's FIN
			c.session.Abort(io.ErrUnexpectedEOF)
		}
		return
	}
	p.due = saturate.Add(c.loop.now, c.loop.cfg.HandshakeTimeout)
	c.loop.setDeadline(c, session.Open)
}

// beginTLS ends the plain-text phase.
func (c *Conn) beginTLS() error {
	l, p := c.loop, c.plain
	c.mu.Lock()
	c.plain, c.tls = nil, p.tls
	c.mu.Unlock()
	l.stats.Plain--
	l.stats.Handshaking++
	l.setDeadline(c, session.Handshaking)
	if c.server != nil {
		l.pending.add(c, l.now)
		if p.server {
			c.session.ExpectPeer()
		}
	}
	c.bind()
	switch {
	case len(p.rest) == 0 || p.leftover == tlsio.LeftoverDiscard:
	case p.leftover == tlsio.LeftoverRefuse:
		return tlsio.ErrPlaintextAfterStartTLS
	case c.tls.Feed(p.rest) < len(p.rest):
		return errors.New("reactor: no memory for the beginning of TLS")
	default:
		c.session.Ready(session.Readable)
	}
	return nil
}

// connected handles the beginning of the plain-text phase.
func (c *Conn) connected() {
	if !c.remote.IsValid() && c.peer == nil {
		c.findPeer() // it was still connecting when the loop took it over
	}
	c.mu.Lock()
	c.plain.begun = true
	c.mu.Unlock()
	c.plain.handler.OnConnect(c)
}

// feed passes to OnPlain what it has not consumed, and then in, which is empty
// if there is nothing new. It calls OnPlain once. If that leaves something to
// call it again for, the session reads again, and so bounds the calls by its
// budget and watermarks.
func (c *Conn) feed(in []byte) {
	p := c.plain
	p.due = never
	had, got := len(p.rest) > 0, len(in) > 0
	if had {
		p.rest = append(p.rest, in...)
		in = p.rest
	}
	n := c.onPlain(in)
	switch in = in[n:]; {
	case len(in) == 0:
		p.rest = nil
	case had && (n > 0 || got):
		p.rest = in
	default: // in is in the loop's buffer, or the end of something longer
		p.rest = slices.Clone(in)
	}
	if p.again = p.again || n > 0; p.feedsAgain() {
		c.session.Ready(session.Readable)
	} else if len(p.rest) > maxPlain && c.waits() {
		c.session.Abort(ErrPlainTooLong)
	}
}

// feedsAgain reports whether OnPlain is to be called again without new input. p
// is nil with TLS.
func (p *plain) feedsAgain() bool { return p != nil && p.again && len(p.rest) > 0 }

// waits reports whether OnPlain is to be called when more has arrived.
func (c *Conn) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plain.tls == nil && !c.plain.paused && !c.reset && c.session.Phase() == session.Open
}

// onPlain calls OnPlain.
func (c *Conn) onPlain(p []byte) (n int) {
	defer c.guard()
	c.count()
	if n = c.plain.handler.OnPlain(c, p); n < 0 || n > len(p) {
		c.session.Abort(fmt.Errorf("reactor: OnPlain returned %d for %d bytes", n, len(p)))
		n = 0
	}
	return n
}

// Handshake implements session.Engine. It waits until the socket is connected.
func (p *plain) Handshake() tlsio.Result {
	if p.connected {
		return tlsio.Result{}
	}
	_, errno := p.retry(sys.Recv, make([]byte, 1), unix.MSG_PEEK)
	if errno != 0 && errno != unix.EAGAIN {
		return tlsio.Result{Err: os.NewSyscallError("connect", errno)}
	}
	_, err := unix.Getpeername(p.fd)
	if errno == unix.EAGAIN && err == unix.ENOTCONN {
		return tlsio.Result{Want: tlsio.WantWrite}
	}
	p.connected = err == nil
	return tlsio.Result{Err: os.NewSyscallError("connect", err)}
}

// Read implements session.Engine. It reads nothing while OnPlain is to be called
// again. A FIN is io.EOF, or io.ErrUnexpectedEOF in the midst of what OnPlain
// has not consumed.
func (p *plain) Read(b []byte) tlsio.Result {
	again := p.feedsAgain()
	if p.again = false; again {
		return tlsio.Result{Drained: true}
	}
	n, err := p.retry(sys.Recv, b, 0)
	switch {
	case err == unix.EAGAIN:
		return tlsio.Result{Want: tlsio.WantRead}
	case err != 0:
		return tlsio.Result{Err: os.NewSyscallError("recv", err)}
	case n > 0:
		return tlsio.Result{N: n, In: true, Drained: n < len(b)}
	case len(p.rest) > 0:
		return tlsio.Result{Err: io.ErrUnexpectedEOF}
	}
	return tlsio.Result{Err: io.EOF}
}

// Write implements session.Engine.
func (p *plain) Write(b []byte) tlsio.Result {
	n, err := p.retry(sys.Send, b, unix.MSG_NOSIGNAL)
	switch {
	case err == unix.EAGAIN:
		return tlsio.Result{Want: tlsio.WantWrite}
	case err != 0:
		return tlsio.Result{Err: os.NewSyscallError("send", err)}
	}
	return tlsio.Result{N: n, Out: true}
}

// Flush implements session.Engine. Nothing is ever held back.
func (p *plain) Flush() tlsio.Result { return tlsio.Result{} }

// Shutdown implements session.Engine. Only CloseWrite tells the peer.
func (p *plain) Shutdown() tlsio.Result { return tlsio.Result{} }

// CloseWrite implements session.Engine.
func (p *plain) CloseWrite() error { return unix.Shutdown(p.fd, unix.SHUT_WR) }

// retry makes a system call until it is not interrupted.
func (p *plain) retry(call func(fd int, b []byte, flags int) (int, unix.Errno), b []byte, flags int) (n int, err unix.Errno) {
	for err = unix.EINTR; err == unix.EINTR; {
		n, err = call(p.fd, b, flags)
	}
	return n, err
}
