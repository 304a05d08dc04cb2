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

// Handler handles the events of a Server's or a Loop's connections. One Handler
// serves many connections, on all loops at once; keep what belongs to one
// connection in its Data. The methods are called on the loop's goroutine and
// must not block: all other connections of the loop would wait. A panic is
// logged with its stack and resets its own connection only.
//
// Embed [BaseHandler] to implement only the methods that you need. Implementing
// OnEOF or OnEarlyData does not turn half-close or early data on: set
// session.Config.HalfClose or EarlyData.
type Handler interface {
	// OnOpen is called when the handshake is done.
	OnOpen(c *Conn)
	// OnData is called with data from the peer: one record or, with
	// cssl.RecordsDirect, up to 66 KiB. p is valid until OnData returns.
	OnData(c *Conn, p []byte)
	// OnDrain is called when the queue has fallen to the low watermark, after
	// it had reached the high watermark.
	OnDrain(c *Conn)
	// OnEOF is called when the peer has sent close_notify, with
	// session.Config.HalfClose only. The connection can then still send, until
	// Close or CloseWrite. Without HalfClose, the connection is closed once its
	// queue has been written.
	OnEOF(c *Conn)
	// OnEarlyData is called with data that arrived before OnOpen, with
	// session.Config.EarlyData only, and only for connections of a Server whose
	// Context has MaxEarlyData. p is valid until OnEarlyData returns. The data
	// may be a replay, and its sender is not yet authenticated (RFC 8446,
	// section 8). What OnEarlyData writes is sent after OnOpen.
	OnEarlyData(c *Conn, p []byte)
	// OnRekeyError is called when a KeyUpdate or Renegotiate has failed and the
	// connection goes on. err is session.ErrRekeying, net.ErrClosed if the
	// connection is closing, or an error described at session.Handler.
	OnRekeyError(c *Conn, err error)
	// OnCertificate is called with the outcome of Conn.RequestCertificate; see
	// session.Handler. err may also be session.ErrRekeying or net.ErrClosed.
	OnCertificate(c *Conn, err error)
	// OnClose is called when the connection has ended: exactly once for each
	// connection, as the last call, and also without OnOpen if the handshake
	// failed. err is nil after a clean close.
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

// Conn is one connection of a Loop. Any goroutine may call its methods unless
// they say otherwise. After the connection has ended they do nothing, or return
// net.ErrClosed.
type Conn struct {
	session session.Session
	tls     *cssl.Conn // nil in plain text
	plain   *plain     // nil with TLS; the loop changes it with mu held
	loop    *Loop
	handler Handler
	server  *Server // nil if the connection was not accepted
	remote  netip.AddrPort
	peer    *net.UnixAddr // instead of remote, for a unix socket that was not accepted
	local   net.Addr
	dial    *dialing // the Dial that waits for the handshake, or nil

	// Data belongs to the handler. The loop does not access it; the handler
	// must synchronize access from other goroutines.
	Data any

	key     poller.Key
	fd      int
	id      uint64
	header  *header       // what precedes TLS, until it is complete
	begun   time.Duration // when the loop took it over, since the loop's start
	read    uint64        // plaintext bytes
	written uint64
	armed   session.Event // what epoll waits for
	polled  bool          // the descriptor is in epoll
	ready   bool          // on the loop's ready list
	dead    bool          // OnClose has been called; freed at the end of the turn
	reset   bool          // end with RST
	counted bool          // Server.Admit has admitted it
	timedIn session.Phase // the phase that the deadline belongs to

	timed bool // it has a deadline

	// The place among the connections with record buffers; see buffers.
	buffered, bufferUse bool
	bufferIndex         uint16

	// The deadline; see wheel.
	slot16               uint16
	pending              bool // it is among the handshakes
	due, slotDue, active time.Duration
	stalled              time.Duration // since when output waits without progress; 0: it does not
	timerPrev, timerNext *Conn

	// The place among the handshakes; see pendingHandshakes.
	waiting                    time.Duration // since when
	pendingOlder, pendingNewer *Conn

	mu       sync.Mutex
	queued   int      // bytes in the session at the last look; see count
	summed   int      // what the loop's sum counts for this connection
	high     bool     // Write or Queued has reported the high watermark
	drain    bool     // OnDrain is due for that, although the session never reached it
	running  bool     // the loop will collect anyway
	notified bool     // the loop has been woken to collect
	shut     bool     // Write returns net.ErrClosed
	ask      request  // requests that the loop has not collected
	refused  *refusal // the first refused request
	cause    error    // of Close or Abort
}

// request is a set of requests from any goroutine.
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
	askStartTLS
)

// Started returns when the loop took over the connection.
func (c *Conn) Started() time.Time { return c.loop.start.Add(c.begun) }

// BytesRead returns how many bytes of plaintext were read, with TLS and before,
// up to the start of the current turn; in OnClose, in all. Call it only inside a
// Handler method.
func (c *Conn) BytesRead() uint64 { return c.read }

// BytesWritten returns how many bytes of plaintext TLS has taken from the
// queue, as of the same time as BytesRead. Call it only inside a Handler
// method.
func (c *Conn) BytesWritten() uint64 { return c.written }

// ID returns a number that is unique in this process, for logs.
func (c *Conn) ID() uint64 { return c.id }

// RemoteAddr returns the peer's address, a *net.TCPAddr or a *net.UnixAddr.
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

// LocalAddr returns the local address; for an accepted connection, the
// listener's.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// State returns the result of the handshake: version, cipher, peer certificates
// and so on; see [cssl.Conn.State]. Each call asks OpenSSL again, so keep the
// result to use it twice. In plain text it returns the zero value, whose
// Version is 0. Call it only inside a Handler method.
func (c *Conn) State() cssl.State {
	if c.tls == nil {
		return cssl.State{}
	}
	return c.tls.State()
}

// Session returns a client's session for later resumption, or nil if there is
// none yet; see [cssl.Conn.Session]. Call it only inside a Handler method.
func (c *Conn) Session() *cssl.Session {
	if c.tls == nil {
		return nil
	}
	return c.tls.Session()
}

// ExportKeyingMaterial derives n bytes from the connection's secrets (RFC 5705,
// RFC 8446 section 7.5); see [cssl.Conn.ExportKeyingMaterial]. In plain text the
// error wraps tlsio.ErrState. Call it only inside a Handler method.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	if c.tls == nil {
		return nil, errPlain
	}
	return c.tls.ExportKeyingMaterial(label, context, n)
}

// Write copies p to the queue, which the loop writes. It queues all of p or
// nothing. It returns net.ErrClosed after Close or CloseWrite, and
// session.ErrQueueFull if p would exceed session.Config.MaxQueue,
// Limits.MaxQueue or Limits.MaxQueued. What a handler writes within one call is
// sent together.
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
		c.sum() // otherwise collect does; TLS may have taken it by then
	}
	c.notify()
	return len(p), nil
}

// maxQueue returns how many bytes may be queued.
func (c *Conn) maxQueue() int {
	limits := &c.loop.cfg.Limits // changed by Server.SetLimits only
	if c.server != nil {
		limits = c.server.limits.Load()
	}
	if most := c.loop.sessions.MaxQueue; limits.MaxQueue <= 0 || limits.MaxQueue > most {
		return most
	}
	return limits.MaxQueue
}

// Queued returns the number of bytes that were written and that TLS has not yet
// taken. The number may be too high while the loop works on this connection.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen()
}

// seen returns how much is queued, as Write and Queued count it. A caller that
// sees the high watermark may wait for OnDrain, even if TLS takes some of it in
// the same turn. c.mu is held.
func (c *Conn) seen() int {
	n := c.session.Staged() + c.queued
	c.high = c.high || n >= c.loop.sessions.HighWater
	return n
}

// lower makes OnDrain follow, if seen has reported the high watermark. c.mu is
// held.
func (c *Conn) lower() {
	if c.high = false; c.queued > c.loop.sessions.LowWater {
		c.session.ExpectDrain()
	} else {
		c.drain = true
	}
}

// Pause stops calls of OnData until Resume. Writing goes on.
func (c *Conn) Pause() { c.request(askPause, askResume, nil) }

// Resume ends Pause.
func (c *Conn) Resume() { c.request(askResume, askPause, nil) }

// CloseWrite writes the queue, then close_notify and a FIN. Reading goes on
// until the peer sends close_notify or a FIN, bounded by Limits.IdleTimeout
// only.
func (c *Conn) CloseWrite() { c.request(askCloseWrite, 0, nil) }

// Close starts an orderly close and returns nil at once. The loop then writes
// the queue, sends close_notify and a FIN, waits for the peer's close_notify or
// FIN, and calls OnClose. Limits.CloseTimeout bounds this. OnData is not called
// any more.
func (c *Conn) Close() error {
	c.request(askClose, 0, nil)
	return nil
}

// Abort discards the queue and resets the connection. OnClose gets err.
func (c *Conn) Abort(err error) { c.request(askAbort, 0, err) }

// KeyUpdate changes the sending key (TLS 1.3; RFC 8446, section 4.6.3) once no
// record is half written, and asks the peer to do the same if request is set.
// Pending KeyUpdates are merged into one, with a request if any had it.
// KeyUpdate returns at once: net.ErrClosed after Close or CloseWrite, otherwise
// nil. OnRekeyError gets later errors, such as errors.ErrUnsupported in plain
// text. A close discards a KeyUpdate that is still pending.
func (c *Conn) KeyUpdate(request bool) error {
	if request {
		return c.rekey(askKeyUpdateRequest)
	}
	return c.rekey(askKeyUpdate)
}

// Renegotiate starts a new handshake (TLS 1.2 with cssl.Config.Renegotiation).
// It returns errors as KeyUpdate does.
func (c *Conn) Renegotiate() error { return c.rekey(askRenegotiate) }

// bind makes the application's decisions in a handshake wake the loop. Their
// callbacks get c as the owner.
func (c *Conn) bind() {
	if c.tls.Asks() {
		c.tls.Bind(c, func() { c.request(askRetry, 0, nil) })
	}
}

// RequestCertificate asks for the client's certificate after the handshake (TLS
// 1.3; see cssl.Config.PostHandshakeAuth). OnCertificate gets the outcome; a
// client may never respond. It returns net.ErrClosed after Close or CloseWrite.
func (c *Conn) RequestCertificate() error { return c.rekey(askCertificate) }

// rekey requests a renegotiation or a post-handshake message.
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

// request makes a request. It replaces the opposite one.
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

// sum updates the loop's sum of queued bytes. c.mu is held.
func (c *Conn) sum() {
	if n := c.session.Staged() + c.queued; n != c.summed {
		c.loop.queued.Add(int64(n - c.summed))
		c.summed = n
	}
}

// notify makes the loop handle c's requests. It unlocks c.mu.
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

// collect passes requests and staged writes to the session. The loop calls it,
// with c.mu held.
func (c *Conn) collect() {
	if c.dead {
		_ = c.session.WriteStaged() // the session is closed and discards it
		c.queued, c.ask = 0, 0
		c.sum()
		return
	}
	staged := c.session.Staged()
	if staged > 0 {
		// Write has checked MaxQueue, and c.queued is never too low. An error
		// means that the session is closing and writes nothing any more.
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
	if ask&askStartTLS != 0 {
		c.startTLS(staged)
	}
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
	if c.plain != nil && ask&(askPause|askResume) != 0 {
		c.plain.paused = ask&askPause != 0
		c.plain.again = c.plain.again || !c.plain.paused
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

// refuse keeps err, if it is not nil, for the handler, which is called when
// c.mu is unlocked.
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

// refusal is a list of errors that the handler has not got yet.
type refusal struct {
	hear func(*events, error)
	err  error
	next *refusal
}

// events is the session's view of a Conn. It calls the Handler, catches panics,
// and collects requests afterwards.
type events Conn

// OnOpen implements session.Handler.
func (e *events) OnOpen() {
	c := (*Conn)(e)
	if c.plain != nil {
		defer c.guard()
		c.connected()
		return
	}
	defer c.dialed()
	defer c.guard()
	c.loop.opened(c)
	c.handler.OnOpen(c)
}

// OnData implements session.Handler.
func (e *events) OnData(p []byte) {
	c := (*Conn)(e)
	if c.plain != nil {
		c.feed(p)
		return
	}
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
	_ = c.session.WriteStaged() // the session is closed and discards it
	c.queued = 0
	c.sum()
	c.mu.Unlock()
	defer c.guard()
	c.loop.tally(c)
	c.loop.closed(c, err)
	c.handler.OnClose(c, err)
}

// count reads the queue's length from the session. A Write inside a handler
// must not fail because of bytes that TLS has taken earlier in the same turn.
func (c *Conn) count() {
	c.mu.Lock()
	c.queued = c.session.Queued()
	c.mu.Unlock()
}

// guard ends a call of the handler: it catches a panic and collects the
// handler's requests.
func (c *Conn) guard() {
	if v := recover(); v != nil {
		c.loop.panicked(c, v)
	}
	c.mu.Lock()
	c.collect()
	c.mu.Unlock()
}
