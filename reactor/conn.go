package reactor

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor/internal/poller"
	"github.com/spacemonad/go-openssl/session"
)

// Handler hears what happens on the connections of a Server or a Loop. One Handler
// serves many connections, on all loops at once; what belongs to one connection goes
// into its Data. The methods are called on the loop's goroutine and must not block:
// every other connection of the loop waits meanwhile. A panic ends its own
// connection, with a logged stack, and nothing else.
//
// Embed [BaseHandler] to have the methods that are of no interest. Which methods
// there are changes nothing about the protocol: session.Config.HalfClose and
// session.Config.EarlyData do.
type Handler interface {
	// OnOpen: the handshake is done.
	OnOpen(c *Conn)
	// OnData: p has arrived, at most 16 KiB. It is valid until OnData returns.
	OnData(c *Conn, p []byte)
	// OnDrain: what is queued has fallen to the low watermark or below, after it was at
	// the high one or above.
	OnDrain(c *Conn)
	// OnEOF: the peer has sent close_notify. It comes only with
	// session.Config.HalfClose, and then the connection goes on in our direction until
	// Close or CloseWrite. Without HalfClose the connection closes then, once what is
	// queued has been written.
	OnEOF(c *Conn)
	// OnEarlyData: p has arrived before OnOpen. It comes only with
	// session.Config.EarlyData, on connections of a Server whose Context has
	// MaxEarlyData. p is valid until OnEarlyData returns. It may not be from whom it
	// seems to come, and somebody may have sent it before (RFC 8446, section 8). What is
	// written in it is sent after OnOpen.
	OnEarlyData(c *Conn, p []byte)
	// OnRekeyError: a KeyUpdate or Renegotiate came to nothing, and the connection goes
	// on. err is session.ErrRekeying while another handshake is under way, net.ErrClosed
	// if the connection is closing, or as session.Handler says.
	OnRekeyError(c *Conn, err error)
	// OnCertificate says what became of Conn.RequestCertificate; see session.Handler.
	// err may also be session.ErrRekeying or net.ErrClosed.
	OnCertificate(c *Conn, err error)
	// OnClose: the connection has ended. It comes exactly once for each connection, and
	// last, also if the handshake failed and OnOpen never came. err is nil after a clean
	// close.
	OnClose(c *Conn, err error)
}

// BaseHandler is a Handler whose methods do nothing, for embedding.
type BaseHandler struct{}

// OnOpen implements Handler.
func (BaseHandler) OnOpen(*Conn) {}

// OnData implements Handler.
func (BaseHandler) OnData(*Conn, []byte) {}

// OnDrain implements Handler.
func (BaseHandler) OnDrain(*Conn) {}

// OnEOF implements Handler.
func (BaseHandler) OnEOF(*Conn) {}

// OnEarlyData implements Handler.
func (BaseHandler) OnEarlyData(*Conn, []byte) {}

// OnRekeyError implements Handler.
func (BaseHandler) OnRekeyError(*Conn, error) {}

// OnCertificate implements Handler.
func (BaseHandler) OnCertificate(*Conn, error) {}

// OnClose implements Handler.
func (BaseHandler) OnClose(*Conn, error) {}

// Conn is one connection of a Loop. Its methods may be called from any goroutine
// unless they say otherwise. On one that has ended they do nothing, or answer net.ErrClosed.
type Conn struct {
	session session.Session
	tls     *cssl.Conn
	loop    *Loop
	handler Handler
	server  *Server // nil for one that was not accepted
	remote  netip.AddrPort
	peer    *net.UnixAddr // in place of remote, of a unix socket that was not accepted
	local   net.Addr
	dial    *dialing // a Dial that waits for the handshake, or nil

	// Data is the handler's own. The loop does not touch it; access from other
	// goroutines is the handler's to order.
	Data any

	key     poller.Key
	fd      int
	id      uint64
	header  *header       // what comes in front of TLS, until it is there
	begun   time.Duration // when the loop took it over
	read    uint64        // plaintext
	written uint64
	armed   session.Event // what epoll waits for
	polled  bool          // the descriptor is in epoll
	ready   bool          // on the loop's ready list
	dead    bool          // OnClose has been called; freed at the end of the turn
	reset   bool          // end with RST
	counted bool          // Server.Admit has let it in
	timedIn session.Phase // the phase that the deadline is for

	// The deadline, see wheel.
	timed                bool
	slot16               uint16
	due, slotDue, active time.Duration
	stalled              time.Duration // since when output waits and nothing of it is taken; 0: it does not
	timerPrev, timerNext *Conn

	// Its place among those with record buffers, see buffers.
	buffered, bufferUse bool
	bufferIndex         uint16

	// Its place among the handshakes, see pendingHandshakes.
	pending                    bool
	waiting                    time.Duration // since when
	pendingOlder, pendingNewer *Conn

	mu       sync.Mutex
	queued   int      // in the session, when the loop last looked; see count
	summed   int      // what the loop's sum has of this connection
	high     bool     // Write or Queued has seen as much as the high watermark
	drain    bool     // OnDrain is due for that, though the session never had as much
	ask      request  // asked for, not yet seen by the loop
	refused  *refusal // the first of what was asked for and cannot be
	cause    error    // of Close or Abort
	running  bool     // the loop will look into the inbox anyway
	notified bool     // the loop has been asked to look into the inbox
	shut     bool     // no Write is taken any more
}

// request is a set of things asked of a connection from any goroutine.
type request uint16

const (
	askClose request = 1 << iota
	askCloseWrite
	askAbort
	askPause
	askResume
	askKeyUpdate
	askKeyUpdateRequest
	askRenegotiate
	askRetry
	askCertificate
)

// Started is when the loop took the connection over.
func (c *Conn) Started() time.Time { return c.loop.start.Add(c.begun) }

// BytesRead is how much plaintext TLS has read until the turn that is under way; in OnClose, in all. Only a handler may ask.
func (c *Conn) BytesRead() uint64 { return c.read }

// BytesWritten is how much of what was written TLS has taken, as of the same time as BytesRead. Only a handler may ask.
func (c *Conn) BytesWritten() uint64 { return c.written }

// ID is a number that no other connection of this process has had; for logs.
func (c *Conn) ID() uint64 { return c.id }

// RemoteAddr is the peer's address: a *net.TCPAddr or a *net.UnixAddr.
func (c *Conn) RemoteAddr() net.Addr {
	if c.remote.IsValid() {
		return net.TCPAddrFromAddrPort(c.remote)
	}
	if c.peer != nil {
		return c.peer
	}
	if _, ok := c.local.(*net.TCPAddr); ok {
		return &net.TCPAddr{} // it was still connecting when the loop took it over
	}
	return &net.UnixAddr{Net: "unix"}
}

// LocalAddr is our own address; of a connection that was accepted, the listener's.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// State returns what the handshake led to: version, cipher, peer certificates and so
// on; see [cssl.Conn.State]. It is not kept: call it once where it is needed more than
// once. Only a handler may call it.
func (c *Conn) State() cssl.State { return c.tls.State() }

// Session returns the session to resume later (a client's), or nil if there is none
// yet; see [cssl.Conn.Session]. Only a handler may call it.
func (c *Conn) Session() *cssl.Session { return c.tls.Session() }

// ExportKeyingMaterial derives n bytes from the connection's secrets; see
// [cssl.Conn.ExportKeyingMaterial]. Only a handler may call it.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	return c.tls.ExportKeyingMaterial(label, context, n)
}

// Write queues a copy of p and makes the loop write it. All of p is queued or
// nothing. The error is net.ErrClosed after Close or CloseWrite, and
// session.ErrQueueFull if session.Config.MaxQueue, Limits.MaxQueue or
// Limits.MaxQueued would be passed. What is written inside one call of a handler goes
// out together.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	if c.shut {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	if c.session.Staged()+c.queued+len(p) > c.maxQueue() {
		c.mu.Unlock()
		return 0, session.ErrQueueFull
	}
	if c.server != nil && !c.server.hasRoom(c.session.Staged()+c.queued-c.summed+len(p)) {
		c.mu.Unlock()
		return 0, errServerQueueFull
	}
	c.session.Stage(p)
	c.seen()
	if !c.running {
		c.sum() // else collect does, when TLS may have taken it already
	}
	c.notify()
	return len(p), nil
}

// maxQueue is how much may be queued.
func (c *Conn) maxQueue() int {
	limits := &c.loop.cfg.Limits // which only Server.SetLimits changes
	if c.server != nil {
		limits = c.server.limits.Load()
	}
	if most := c.loop.sessions.MaxQueue; limits.MaxQueue <= 0 || limits.MaxQueue > most {
		return most
	}
	return limits.MaxQueue
}

// Queued is the number of bytes written and not yet taken by TLS. While the loop
// works on this connection, other goroutines may see what TLS has just taken still counted.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen()
}

// seen is how much is queued, as whoever writes sees it. Who sees the high watermark may wait for OnDrain, also
// when TLS has taken some of it in the turn that is under way. c.mu is held.
func (c *Conn) seen() int {
	n := c.session.Staged() + c.queued
	c.high = c.high || n >= c.loop.sessions.HighWater
	return n
}

// lower sees to it that OnDrain comes for what seen has shown. c.mu is held.
func (c *Conn) lower() {
	if c.high = false; c.queued > c.loop.sessions.LowWater {
		c.session.ExpectDrain()
	} else {
		c.drain = true
	}
}

// Pause stops OnData until Resume. Writing goes on.
func (c *Conn) Pause() { c.request(askPause, askResume, nil) }

// Resume ends Pause.
func (c *Conn) Resume() { c.request(askResume, askPause, nil) }

// CloseWrite writes what is queued, then close_notify and a FIN. Reading goes on until the peer ends too;
// there is no deadline for that but Limits.IdleTimeout.
func (c *Conn) CloseWrite() { c.request(askCloseWrite, 0, nil) }

// Close writes what is queued, then close_notify and a FIN, waits for the peer's
// end (up to Limits.CloseTimeout) and closes. No OnData comes any more. It
// returns at once; OnClose says when it is over.
func (c *Conn) Close() error {
	c.request(askClose, 0, nil)
	return nil
}

// Abort throws away what is queued and resets the connection. err is what OnClose gets.
func (c *Conn) Abort(err error) { c.request(askAbort, 0, err) }

// KeyUpdate changes the sending key (TLS 1.3) when no record is half written, and asks
// the peer for the same if request is set. Of several that are asked for at once, one
// is done, with a request if any had it. The error is net.ErrClosed after Close or
// CloseWrite. It returns at once; OnRekeyError hears of what goes wrong later. A close
// that comes before it drops it.
func (c *Conn) KeyUpdate(request bool) error {
	if request {
		return c.rekey(askKeyUpdateRequest)
	}
	return c.rekey(askKeyUpdate)
}

// Renegotiate asks for a new handshake (TLS 1.2 with cssl.Config.Renegotiation). The
// error is as for KeyUpdate.
func (c *Conn) Renegotiate() error { return c.rekey(askRenegotiate) }

// bind makes the application's decisions in a handshake reach the loop. They see c as the owner.
func (c *Conn) bind() {
	if c.tls.Asks() {
		c.tls.Bind(c, func() { c.request(askRetry, 0, nil) })
	}
}

// RequestCertificate asks for the client's certificate after the handshake (TLS 1.3; see
// cssl.Config.PostHandshakeAuth). OnCertificate says what came of it; a client may never
// answer. The error is net.ErrClosed after Close or CloseWrite.
func (c *Conn) RequestCertificate() error { return c.rekey(askCertificate) }

// rekey leaves a request for a handshake after the first one.
func (c *Conn) rekey(r request) error {
	c.mu.Lock()
	if c.shut {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.ask |= r
	c.notify()
	return nil
}

// request leaves a request, which replaces the opposite one.
func (c *Conn) request(r, instead request, cause error) {
	c.mu.Lock()
	c.ask = c.ask&^instead | r
	if r&(askClose|askCloseWrite|askAbort) != 0 {
		c.shut = true
		if c.cause == nil {
			c.cause = cause
		}
	}
	c.notify()
}

// sum brings the loop's sum of queued bytes up to date. c.mu is held.
func (c *Conn) sum() {
	if n := c.session.Staged() + c.queued; n != c.summed {
		c.loop.queued.Add(int64(n - c.summed))
		c.summed = n
	}
}

// notify makes the loop look into the inbox, and unlocks c.mu.
func (c *Conn) notify() {
	wake := !c.running && !c.notified
	if wake {
		c.notified = true
	}
	c.mu.Unlock()
	if wake {
		c.loop.notify(c)
	}
}

// collect hands what is in the inbox to the session. The loop calls it, with c.mu held.
func (c *Conn) collect() {
	if c.dead {
		_ = c.session.WriteStaged() // it is closed, and throws that away
		c.queued, c.ask = 0, 0
		c.sum()
		return
	}
	if c.session.Staged() > 0 {
		// Write has seen to it that MaxQueue is not passed: c.queued is never too low.
		// An error says that the session is closing: nothing is written any more.
		_ = c.session.WriteStaged()
	}
	c.queued = c.session.Queued()
	c.sum()
	if c.high {
		c.lower()
	}
	if c.ask == 0 {
		return
	}
	ask, cause := c.ask, c.cause
	c.ask = 0
	s := &c.session
	if ask&(askKeyUpdate|askKeyUpdateRequest) != 0 {
		c.refuse((*events).OnRekeyError, s.KeyUpdate(ask&askKeyUpdateRequest != 0))
	}
	if ask&askRenegotiate != 0 {
		c.refuse((*events).OnRekeyError, s.Renegotiate())
	}
	if ask&askRetry != 0 {
		s.Retry()
	}
	if ask&askCertificate != 0 {
		c.refuse((*events).OnCertificate, s.RequestCertificate())
	}
	if ask&askPause != 0 {
		s.Pause()
	}
	if ask&askResume != 0 {
		s.Resume()
	}
	if ask&askCloseWrite != 0 {
		s.CloseWrite()
	}
	if ask&askClose != 0 {
		s.Close(cause)
	}
	if ask&askAbort != 0 {
		c.reset = true
		s.Abort(cause)
	}
}

// refuse makes the handler hear of an error, if it is one, when c.mu is not held any more.
func (c *Conn) refuse(hear func(*events, error), err error) {
	if err == nil {
		return
	}
	last := &c.refused
	for *last != nil {
		last = &(*last).next
	}
	*last = &refusal{hear: hear, err: err}
}

// refusal is an error that the handler is still to hear, and those that it hears after it.
type refusal struct {
	hear func(*events, error)
	err  error
	next *refusal
}

// events is the session's view of a Conn: it passes on to the Handler, catches
// panics, and looks into the inbox afterwards.
type events Conn

// OnOpen implements session.Handler.
func (e *events) OnOpen() {
	c := (*Conn)(e)
	defer c.dialed()
	defer c.guard()
	c.loop.opened(c)
	c.handler.OnOpen(c)
}

// OnData implements session.Handler.
func (e *events) OnData(p []byte) {
	c := (*Conn)(e)
	defer c.guard()
	c.count()
	c.handler.OnData(c, p)
}

// OnRekeyError implements session.Handler.
func (e *events) OnRekeyError(err error) {
	c := (*Conn)(e)
	defer c.guard()
	c.count()
	c.handler.OnRekeyError(c, err)
}

// OnCertificate implements session.Handler.
func (e *events) OnCertificate(err error) {
	c := (*Conn)(e)
	defer c.guard()
	c.count()
	c.handler.OnCertificate(c, err)
}

// OnEarlyData implements session.Handler.
func (e *events) OnEarlyData(p []byte) {
	c := (*Conn)(e)
	defer c.guard()
	c.count()
	c.handler.OnEarlyData(c, p)
}

// OnDrain implements session.Handler.
func (e *events) OnDrain() {
	c := (*Conn)(e)
	defer c.guard()
	c.count()
	c.handler.OnDrain(c)
}

// OnEOF implements session.Handler.
func (e *events) OnEOF() {
	c := (*Conn)(e)
	defer c.guard()
	c.count()
	c.handler.OnEOF(c)
}

// OnClose implements session.Handler.
func (e *events) OnClose(err error) {
	c := (*Conn)(e)
	c.mu.Lock()
	c.shut = true
	_ = c.session.WriteStaged() // it is closed, and throws that away
	c.queued = 0
	c.sum()
	c.mu.Unlock()
	defer c.guard()
	c.loop.tally(c)
	c.loop.closed(c, err)
	c.handler.OnClose(c, err)
}

// count looks how much is queued. A handler that is called in the midst of a turn must
// not be refused a Write for what TLS has taken in the same turn.
func (c *Conn) count() {
	c.mu.Lock()
	c.queued = c.session.Queued()
	c.mu.Unlock()
}

// guard ends a call of the handler: it catches a panic and takes along what the
// handler asked for.
func (c *Conn) guard() {
	if v := recover(); v != nil {
		c.loop.panicked(c, v)
	}
	c.mu.Lock()
	c.collect()
	c.mu.Unlock()
}
