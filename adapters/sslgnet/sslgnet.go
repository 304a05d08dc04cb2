// Package sslgnet is TLS over OpenSSL for event handlers of
// github.com/panjf2000/gnet/v2.
//
//	tlsContext, err := cssl.NewServerContext(cssl.Config{
//		Certificates: []cssl.Certificate{{ChainFile: "server.pem", KeyFile: "server.key"}},
//	})
//	handler := &sslgnet.Handler{EventHandler: yours, TLS: tlsContext}
//	err = gnet.Run(handler, "tcp://:9000", gnet.WithMulticore(true))
//
// Your handler stays as it is: the gnet.Conn that it gets has plaintext in all
// its methods for reading and writing, and may be used on the same goroutines.
// The handshake and the close run on gnet's loops, without further goroutines.
// [TLS] returns what was negotiated.
//
// # Differences from gnet without TLS
//
//   - OnOpen is called after the handshake. A connection whose handshake fails
//     is never seen by your handler; see Handler.OnHandshakeError.
//   - Write queues. What a handler has written is encrypted when it returns,
//     in records that small writes share. So Flush has nothing to do.
//   - Close, and the action Close, send what is queued, close_notify and a FIN,
//     then wait for the peer's end, so that no reset destroys data. OnClose is
//     called after that, once.
//   - The peer's close_notify starts the same close, and OnClose then gets nil,
//     not io.EOF. A FIN without close_notify is io.ErrUnexpectedEOF: the data
//     may have been cut short. Other errors are those of package tlsio.
//   - Fd, Dup and the socket options are those of the socket, which carries
//     ciphertext.
//   - There is no plain-text phase (STARTTLS): TLS begins with the first byte.
//     For an event loop of your own, session.Session.Upgrade has it.
//   - cssl.Config.Records works here too (cssl.RecordsDirect).
//   - Register and Enroll of Conn.EventLoop return gnet's ErrUnsupportedOp,
//     since there are no clients. Do not use those of gnet.Engine: they return
//     a gnet.Conn without TLS.
//
// # Backpressure
//
// gnet never stops reading, and has no limit for what it holds for a peer that
// does not read. Here a slow reader costs at most about 2 × MaxQueue: while
// gnet holds HighWater bytes of ciphertext for it, nothing more is encrypted,
// and while HighWater bytes of replies are queued, nothing more is decrypted.
// At MaxQueue queued bytes of either direction the connection ends: with
// session.ErrQueueFull, or with [ErrUnread]. The plaintext that your handler
// leaves unread is not counted, and has no limit, as without TLS.
//
// gnet does not report that the peer has taken something, so the loop is woken
// by a timer to look, after a millisecond at first, after a quarter of a second
// at most.
//
// gnet closes a connection as soon as a FIN comes. So a peer that still expects
// replies must send close_notify, and its FIN only when it has them all. It
// gets those that were written before its close_notify was read; AsyncWrite
// comes too late after that.
package sslgnet

import (
	"cmp"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// ErrUnread is given to OnClose if the peer kept sending without reading the
// replies, until MaxQueue bytes had come that could not be decrypted yet.
var ErrUnread = errors.New("sslgnet: the peer sends and does not read the replies; MaxQueue bytes wait")

// Handler is a gnet.EventHandler that adds TLS to another one. It is for
// servers, on stream sockets; it drops datagrams. Set the fields before
// gnet.Run, and change nothing afterwards. OnBoot panics if TLS is not a
// server's.
type Handler struct {
	// EventHandler is yours. OnBoot, OnShutdown and OnTick are passed on.
	gnet.EventHandler
	// TLS makes the connections. The caller closes it, after gnet.Run.
	TLS *cssl.Context
	// HandshakeTimeout (default 10 s) bounds the handshake. CloseTimeout
	// (default 5 s) is how long a close may take. Then the connection ends, and
	// the error is os.ErrDeadlineExceeded.
	HandshakeTimeout, CloseTimeout time.Duration
	// HighWater and MaxQueue are limits for each connection, in bytes; see
	// Backpressure. The defaults are those of session.Config: 128 KiB, 16 MiB.
	HighWater, MaxQueue int
	// OnHandshakeError, if not nil, is called on a loop when a connection ended
	// before its handshake was done, and so without OnOpen and OnClose. The
	// error is net.ErrClosed if the engine stops.
	OnHandshakeError func(remote net.Addr, err error)

	renewed atomic.Pointer[cssl.Context]
	loops   sync.Map // of a *loop for each gnet.EventLoop
	conns   sync.Map // of a *conn for each gnet.Conn; its context can be replaced, see gnet.Engine.Register
}

// loop is what the connections of an event loop share.
type loop struct {
	session.Config
	out [80 << 10]byte // more than one Write of cssl
}

// errNotServer is the error of a Context that accepts no connections.
var errNotServer = errors.New("sslgnet: the Context must be one of cssl.NewServerContext")

// SetContext makes new connections use x, such as one with a renewed
// certificate. Those that are open keep theirs. It may be called on any
// goroutine. The error says that x is not a server's.
func (h *Handler) SetContext(x *cssl.Context) error {
	if x == nil || !x.IsServer() {
		return errNotServer
	}
	h.renewed.Store(x)
	return nil
}

// TLS returns the TLS connection of a connection that a Handler has passed to
// OnOpen, and nil for others. Call its methods that return what is known, such
// as State, on the loop, until OnClose.
func TLS(c gnet.Conn) *cssl.Conn {
	if c, ok := c.(*conn); ok {
		return c.tls
	}
	return nil
}

// OnBoot implements gnet.EventHandler.
func (h *Handler) OnBoot(e gnet.Engine) gnet.Action {
	if err := h.SetContext(h.TLS); err != nil {
		panic(err)
	}
	h.loops.Clear() // of an earlier gnet.Run
	return h.EventHandler.OnBoot(e)
}

// OnOpen implements gnet.EventHandler.
func (h *Handler) OnOpen(raw gnet.Conn) ([]byte, gnet.Action) {
	tls, err := h.renewed.Load().NewEngineConn(cssl.ConnConfig{})
	if err != nil {
		h.failed(raw, err)
		return nil, gnet.Close
	}
	l, ok := h.loops.Load(raw.EventLoop())
	if !ok {
		l, _ = h.loops.LoadOrStore(raw.EventLoop(), &loop{Config: session.Config{HighWater: h.HighWater, MaxQueue: h.MaxQueue}})
	}
	c := &conn{Conn: raw, h: h, loop: l.(*loop), tls: tls, context: raw.Context()}
	h.conns.Store(raw, c)
	tls.Bind(c, func() { c.post(c.s.Retry) })
	c.s.Init(tls, c, &c.loop.Config)
	c.s.ExpectPeer()
	timeout := cmp.Or(h.HandshakeTimeout, 10*time.Second)
	c.deadline, c.timer = time.Now().Add(timeout), time.AfterFunc(timeout, c.wake)
	return nil, gnet.None
}

// failed reports a connection that your handler does not know.
func (h *Handler) failed(c gnet.Conn, err error) {
	if h.OnHandshakeError != nil {
		h.OnHandshakeError(c.RemoteAddr(), err)
	}
}

// OnTraffic implements gnet.EventHandler: bytes have come, or a conn has woken
// its loop.
func (h *Handler) OnTraffic(raw gnet.Conn) gnet.Action {
	if c, ok := h.conns.Load(raw); ok {
		return c.(*conn).turn()
	}
	return gnet.Close
}

// OnClose implements gnet.EventHandler: gnet is about to close the socket. It
// has seen a FIN (io.EOF) or another end, or stops (nil), or obeys the action
// of turn.
func (h *Handler) OnClose(raw gnet.Conn, err error) gnet.Action {
	v, ok := h.conns.LoadAndDelete(raw)
	if !ok {
		return gnet.None
	}
	c := v.(*conn)
	c.last = true
	switch {
	case err == nil:
		c.s.Close(nil)
	case errors.Is(err, io.EOF):
		c.eof = true
	default:
		c.s.Broken(err)
	}
	c.turn() // perhaps inside another one, whose Send has found out
	c.s.Abort(err)
	c.s.Ready(0)
	c.free()
	return c.action
}
