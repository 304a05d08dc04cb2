package sslgnet

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"
	gerrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// conn is the gnet.Conn that handlers get, and the Handler and the Transport of
// its Session. It belongs to the loop, except for post and its fields.
type conn struct {
	gnet.Conn // with ciphertext
	session.BaseHandler
	s        session.Session
	h        *Handler
	loop     *loop
	tls      *cssl.Conn
	in       bytes.Buffer // plaintext that the handler has not read
	context  any
	onClosed []func()
	action   gnet.Action // for gnet: what the handler or the end asks for
	phase    session.Phase
	deadline time.Time // of phase
	timer    *time.Timer
	retry    time.Duration // until the next look at a full transport

	busy    bool // turn is on the stack
	opened  bool // the handler knows c
	eof     bool // the peer's FIN has come
	fin     bool // our FIN follows what gnet holds
	blocked bool // gnet held too much in this turn
	last    bool // gnet is about to close the socket

	mu     sync.Mutex
	posted []func()
	freed  bool
}

// post has the loop call f, in order, before a turn. The error is net.ErrClosed
// after OnClose: gnet may then have no loop any more.
func (c *conn) post(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed {
		return net.ErrClosed
	}
	c.posted = append(c.posted, f)
	if len(c.posted) > 1 {
		return nil // the loop is being woken
	}
	err := c.Conn.Wake(nil)
	if err != nil {
		c.posted = nil
	}
	return err
}

// wake has the loop call turn.
func (c *conn) wake() { c.post(func() {}) }

// changed follows each call that gives the Session something to do.
func (c *conn) changed() {
	if !c.busy {
		c.wake()
	}
}

// turn does all that can be done now, and sets the timer.
func (c *conn) turn() gnet.Action {
	c.busy, c.blocked = true, false
	c.mu.Lock()
	posted := c.posted
	c.posted = nil
	c.mu.Unlock()
	for _, f := range posted {
		f()
	}
	giveUp := !c.deadline.IsZero() && !time.Now().Before(c.deadline)
	if giveUp {
		c.s.Abort(os.ErrDeadlineExceeded)
	}
	done := c.s.Exchange(c)
	c.busy = false
	if c.last {
		return c.action
	}
	if c.s.Phase() == session.Closed {
		c.Conn.Discard(-1) // gnet would keep it
	} else if c.Conn.InboundBuffered() > c.loop.MaxQueue {
		giveUp = true
		c.s.Abort(ErrUnread)
		c.s.Ready(0)
	}
	held := c.Conn.OutboundBuffered()
	if c.fin && held == 0 {
		c.fin = false
		syscall.Shutdown(c.Conn.Fd(), syscall.SHUT_WR) // an error means that the peer is gone, which gnet reports
	}
	if (giveUp || done && held == 0) && c.action == gnet.None {
		c.action = gnet.Close
	}
	c.setTimer(held)
	return c.action
}

// setTimer sets the timer for the deadline of the phase, and for the next look
// at what gnet holds if something waits until that is sent.
func (c *conn) setTimer(held int) {
	p := c.s.Phase()
	changed := p != c.phase
	c.phase = p
	switch {
	case changed && p == session.Open:
		c.deadline = time.Time{}
		c.timer.Stop()
	case changed && (p == session.Closing || c.deadline.IsZero()):
		c.deadline = time.Now().Add(cmp.Or(c.h.CloseTimeout, 5*time.Second))
	}
	if held > 0 && (c.blocked || c.fin || p == session.Closed) {
		c.retry = min(max(2*c.retry, time.Millisecond), time.Second/4)
		c.timer.Reset(c.retry)
	} else if !c.deadline.IsZero() {
		c.timer.Reset(time.Until(c.deadline))
	}
}

// free follows OnClose.
func (c *conn) free() {
	c.timer.Stop()
	c.tls.Close()
	c.mu.Lock()
	posted := c.posted
	c.posted, c.freed = nil, true
	c.mu.Unlock()
	for _, f := range posted {
		f()
	}
	for _, f := range c.onClosed {
		f()
	}
}

// do takes note of what the handler asks for.
func (c *conn) do(a gnet.Action) {
	switch a {
	case gnet.Close:
		c.s.Close(nil)
	case gnet.Shutdown:
		c.action = a
	}
}

// OnOpen, OnData and OnClose implement session.Handler.

func (c *conn) OnOpen() {
	c.opened = true
	out, action := c.h.EventHandler.OnOpen(c)
	c.Write(out)
	c.do(action)
}

func (c *conn) OnData(p []byte) {
	kept := c.in
	if kept.Len() == 0 { // as usual: the handler reads all, so nothing is copied
		c.in = *bytes.NewBuffer(p)
		defer func() {
			rest := c.in.Bytes()
			c.in = kept
			c.in.Write(rest)
		}()
	} else {
		c.in.Write(p)
	}
	c.traffic()
}

// traffic has the handler read, and releases memory that is mostly unused.
func (c *conn) traffic() {
	c.do(c.h.EventHandler.OnTraffic(c))
	if n := c.in.Cap(); n > 64<<10 && c.in.Len() < n/4 {
		c.in = *bytes.NewBuffer(bytes.Clone(c.in.Bytes()))
	}
}

func (c *conn) OnClose(err error) {
	if c.opened {
		c.do(c.h.EventHandler.OnClose(c, err))
	} else {
		c.h.failed(c, cmp.Or(err, net.ErrClosed))
	}
}

// Received, Consume, Room, Send and CloseWrite implement session.Transport.

func (c *conn) Received() ([]byte, bool) {
	n := c.Conn.InboundBuffered()
	part := min(n, 32<<10) // gnet copies what it has kept
	p, _ := c.Conn.Peek(part)
	return p, c.eof && part == n
}

func (c *conn) Consume(n int) { c.Conn.Discard(n) }

func (c *conn) Room() []byte {
	if c.blocked = !c.last && c.Conn.OutboundBuffered() >= c.loop.HighWater; c.blocked {
		return nil
	}
	return c.loop.out[:]
}

func (c *conn) Send(n int) {
	c.retry = 0
	c.Conn.Write(c.loop.out[:n]) // if it fails, gnet has called OnClose
}

func (c *conn) CloseWrite() { c.fin = true }

// What follows implements gnet.Conn.

func (c *conn) Context() any              { return c.context }
func (c *conn) SetContext(v any)          { c.context = v }
func (c *conn) InboundBuffered() int      { return c.in.Len() }
func (c *conn) OutboundBuffered() int     { return c.s.Queued() + c.Conn.OutboundBuffered() }
func (c *conn) Flush() error              { return nil }
func (c *conn) Close() error              { return c.CloseWithCallback(nil) }
func (c *conn) EventLoop() gnet.EventLoop { return eventLoop{c.Conn.EventLoop()} }

func (c *conn) Read(p []byte) (int, error) {
	if c.in.Len() == 0 && len(p) > 0 {
		return 0, io.ErrShortBuffer
	}
	return c.in.Read(p)
}

func (c *conn) Peek(n int) ([]byte, error) {
	p := c.in.Bytes()
	if n > len(p) {
		return nil, io.ErrShortBuffer
	} else if n > 0 {
		p = p[:n]
	}
	return p, nil
}

func (c *conn) Next(n int) ([]byte, error) {
	p, err := c.Peek(n)
	c.in.Next(len(p))
	return p, err
}

func (c *conn) Discard(n int) (int, error) {
	if n <= 0 {
		n = c.in.Len()
	}
	return len(c.in.Next(n)), nil
}

func (c *conn) WriteTo(w io.Writer) (int64, error) { return c.in.WriteTo(w) }

// ReadFrom hides itself from io.Copy.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }

// Write queues all of p or ends the connection: handlers of gnet need not look
// at its error, and what follows a gap must not be sent.
func (c *conn) Write(p []byte) (int, error) {
	defer c.changed()
	switch err := c.s.Write(p); err {
	case nil:
		return len(p), nil
	case session.ErrQueueFull:
		c.s.Abort(err)
		return 0, err
	default:
		return 0, err
	}
}

func (c *conn) Writev(bufs [][]byte) (n int, err error) {
	for _, p := range bufs {
		if _, err = c.Write(p); err != nil {
			break
		}
		n += len(p)
	}
	return n, err
}

func (c *conn) AsyncWrite(p []byte, callback gnet.AsyncCallback) error {
	return c.AsyncWritev([][]byte{p}, callback)
}

func (c *conn) AsyncWritev(bufs [][]byte, callback gnet.AsyncCallback) error {
	return c.post(func() {
		_, err := c.Writev(bufs)
		c.call(callback, err)
	})
}

func (c *conn) Wake(callback gnet.AsyncCallback) error {
	return c.post(func() {
		if c.s.Phase() == session.Open {
			c.traffic()
		}
		c.call(callback, nil)
	})
}

func (c *conn) CloseWithCallback(callback gnet.AsyncCallback) error {
	return c.post(func() {
		c.s.Close(nil)
		c.onClosed = append(c.onClosed, func() { c.call(callback, nil) })
	})
}

func (c *conn) call(f gnet.AsyncCallback, err error) {
	if f != nil {
		f(c, err)
	}
}

// eventLoop is gnet's, which closes no conn of this package, and makes none.
type eventLoop struct{ gnet.EventLoop }

func (e eventLoop) Register(context.Context, net.Addr) (<-chan gnet.RegisteredResult, error) {
	return nil, gerrors.ErrUnsupportedOp
}

func (e eventLoop) Enroll(context.Context, net.Conn) (<-chan gnet.RegisteredResult, error) {
	return nil, gerrors.ErrUnsupportedOp
}

func (e eventLoop) Close(g gnet.Conn) error {
	c, ok := g.(*conn)
	if !ok {
		return e.EventLoop.Close(g)
	}
	defer c.changed()
	c.s.Close(nil)
	return nil
}
