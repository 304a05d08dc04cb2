package sslnetpoll

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// window is how much plaintext is kept for reads, beyond which ciphertext stays
// with netpoll, and how much Flush encrypts at once, so that the ciphertext fits
// into 64 KiB.
const window = 63 << 10

// buffers are lent to Sessions while they run.
var buffers = sync.Pool{New: func() any { return new([tlsio.MaxPlaintext]byte) }}

// Conn is a netpoll.Connection over TLS, and its own Reader and Writer. As in
// netpoll, one goroutine at a time may read and one write; each sets its own
// timeouts and deadlines. Any may call the other methods. The callbacks of cssl
// (Config.ClientHello, VerifyPeer and the like) must not read, write, or call
// State: the connection waits for them.
//
// Errors match those of netpoll: ErrEOF after the peer's close_notify,
// ErrConnClosed after Close and after any other end, whose cause they wrap, and
// ErrReadTimeout, ErrWriteTimeout, ErrConcurrentAccess.
type Conn struct {
	writer        // out, for the methods that flush nothing
	raw           netpoll.Connection
	fd            int
	server        *Server
	out           *netpoll.LinkBuffer // plaintext that was not flushed
	reads, writes limit

	onRequest    atomic.Pointer[netpoll.OnRequest]
	onDisconnect atomic.Pointer[netpoll.OnDisconnect]
	served       atomic.Bool // netpoll calls run when ciphertext has come
	closed       atomic.Bool // Close was called
	inactive     atomic.Bool // IsActive returns false

	mu      sync.Mutex // guards the rest
	cond    sync.Cond  // something has changed
	session session.Session
	config  session.Config // with a Buffer while the Session runs
	tls     *cssl.Conn
	in      *netpoll.LinkBuffer // plaintext to be read
	need    int                 // how much of it a read waits for
	delim   *byte               // what Until waits for; nil once it has come
	timer   *time.Timer         // of the handshake, then of the close
	ctx     context.Context
	cause   error  // why the Session has ended
	broken  error  // why raw sends no more; what the peer sent can be read
	room    []byte // what link.Room has returned

	preparing bool // OnPrepare has not returned: netpoll has not registered raw
	task      bool // netpoll runs run: now ciphertext wakes who waits in raw's Reader
	pulling   bool // a goroutine waits in raw's Reader, which it alone may use
	busy      bool // run calls OnConnect and OnRequest
	flushing  bool // a goroutine is in Flush
	sending   bool // a goroutine is in raw's Flush, or about to be, which alone may use raw's Writer
	unflushed bool // raw's Writer has ciphertext
	opened    bool // the handshake is done
	greeted   bool // OnConnect is done
	lost      bool // netpoll has called onLost
	told      bool // OnDisconnect was called
	eof       bool // the peer has sent close_notify
	fin       bool // a FIN follows what is sent
	done      bool // the Session has ended, and all is sent
	finished  bool // raw is closed, or is about to be
	last      bool // netpoll is about to close the socket
	freed     bool // tls is
}

type writer = netpoll.Writer // a field of this name would hide the method

// limit is a deadline, or else a timeout. 0 is none.
type limit struct {
	deadline time.Time
	timeout  time.Duration
	set      bool // the timeout was, perhaps to 0
}

func (l limit) end() time.Time {
	if l.deadline.IsZero() && l.timeout > 0 {
		return time.Now().Add(l.timeout)
	}
	return l.deadline
}

// passed reports whether a deadline has.
func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// newConn begins TLS over raw, which the caller closes if that fails.
func newConn(raw netpoll.Connection, x *cssl.Context, cfg cssl.ConnConfig, s *Server) (*Conn, error) {
	tls, err := x.NewEngineConn(cfg)
	if err != nil {
		return nil, err
	}
	c := &Conn{raw: raw, fd: raw.(netpoll.Conn).Fd(), server: s, tls: tls, ctx: context.Background(),
		in: netpoll.NewLinkBuffer(), out: netpoll.NewLinkBuffer()}
	c.served.Store(x.IsServer())
	c.SetOnRequest(s.OnRequest)
	c.SetOnDisconnect(s.OnDisconnect)
	c.writer, c.cond.L, c.config.HalfClose = c.out, &c.mu, true
	c.lend(func() { c.session.Init(tls, link{Conn: c}, &c.config) })
	tls.Bind(c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.session.Retry()
		c.cond.Broadcast()
	})
	c.timer = time.AfterFunc(math.MaxInt64, c.expire)
	raw.AddCloseCallback(c.free)
	return c, nil
}

// lend calls f, which runs the Session.
func (c *Conn) lend(f func()) {
	buf := buffers.Get().(*[tlsio.MaxPlaintext]byte)
	c.config.Buffer = buf[:]
	f()
	c.config.Buffer = nil
	buffers.Put(buf)
}

// unlocked calls f without mu.
func (c *Conn) unlocked(f func()) {
	c.mu.Unlock()
	defer c.mu.Lock()
	f()
}

// link is the Handler and the Transport of a Session. mu is held.
type link struct {
	session.BaseHandler
	*Conn
}

func (l link) OnOpen() {
	l.opened = true
	l.timer.Stop()
}

func (l link) OnData(p []byte) {
	if l.closed.Load() {
		return
	}
	if l.delim != nil && bytes.IndexByte(p, *l.delim) >= 0 {
		l.delim = nil
	}
	buf, _ := l.in.Malloc(len(p)) // WriteBinary would keep p
	copy(buf, p)
	l.in.Flush()
}

func (l link) OnEOF() { l.eof = true }

func (l link) OnClose(err error) {
	l.cause = err
	l.expireLater() // what is left to send may wait for the peer
}

// Received has nothing while another goroutine uses raw's Reader, and while
// enough plaintext waits that will be read, unless a renegotiation does.
func (l link) Received() ([]byte, bool) {
	enough := l.in.Len() >= max(window, l.need) && !l.closed.Load() && l.session.Queued() == 0
	if enough || !l.mayPull() {
		return nil, false
	}
	active := l.raw.IsActive() // before Len: after the end nothing comes
	if n := l.raw.Reader().Len(); n > 0 {
		p, _ := l.raw.Reader().Peek(min(n, window))
		return p, false
	}
	if active {
		return nil, false
	}
	_, err := l.raw.Reader().Peek(1)
	return nil, errors.Is(err, netpoll.ErrEOF) // else it was closed on this side
}

func (l link) Consume(n int) { l.raw.Reader().Skip(n) }

func (l link) Room() []byte {
	n := l.tls.Unsent()
	switch {
	case l.sending && l.broken == nil:
		l.room = nil
	case n == 0 || l.broken != nil || l.last:
		l.room = make([]byte, n+1)
	default:
		l.room, _ = l.raw.Writer().Malloc(n + 1) // one more, since Exchange comes back when it is full
	}
	return l.room
}

func (l link) Send(n int) {
	switch {
	case l.broken != nil:
	case l.last: // netpoll's Writer has closed, and the socket is about to
		unix.SendmsgN(l.fd, l.room[:n], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	default:
		w := l.raw.Writer()
		w.MallocAck(w.MallocLen() - len(l.room) + n)
		l.unflushed = true
	}
}

func (l link) CloseWrite() { l.fin = true }

// exchange moves what can be moved without blocking.
func (c *Conn) exchange() {
	if c.freed {
		return
	}
	c.lend(func() {
		c.done = c.session.Exchange(link{Conn: c}) || c.done
		if c.session.Phase() == session.Closing && !c.closed.Load() { // a FIN without close_notify: netpoll sends no more
			c.session.Abort(nil)
			c.done = c.session.Exchange(link{Conn: c}) || c.done
		}
	})
	if r := c.raw.Reader(); c.mayPull() {
		if c.eof || c.session.Phase() == session.Closed {
			r.Skip(r.Len()) // the engine takes no more
		}
		r.Release()
	}
	c.inactive.Store(c.eof || c.unable() != nil)
	c.cond.Broadcast()
}

// send moves what can be moved. It waits until the socket takes all ciphertext,
// unless another goroutine does; mu is free meanwhile.
func (c *Conn) send() {
	if c.exchange(); !c.sending {
		c.drain()
	}
}

// reply is send for a goroutine that reads: once the handshake is done, that must
// not wait for a peer that does not read.
func (c *Conn) reply() {
	handshaking := !c.opened
	if c.exchange(); c.sending {
		return
	}
	if handshaking || !c.unflushed {
		c.drain()
		return
	}
	c.sending = true
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drain()
	}()
}

// drain is the rest of send. No other goroutine is sending.
func (c *Conn) drain() {
	for c.unflushed && !c.freed {
		var err error
		c.sending = true
		c.unlocked(func() { err = c.raw.Writer().Flush() })
		if c.sending, c.unflushed = false, false; err != nil {
			c.broken = endError{err}
			if !c.opened || errors.Is(err, netpoll.ErrWriteTimeout) {
				c.session.Abort(err)
			}
		}
		c.exchange()
	}
	c.sending = false
	if c.fin && !c.freed {
		c.fin = false
		unix.Shutdown(c.fd, unix.SHUT_WR) // an error means that the peer is gone, which netpoll reports
	}
	if c.done {
		c.finish()
	}
	c.cond.Broadcast()
}

// finish closes raw, which ends what others do with it, and reports why.
func (c *Conn) finish() {
	if !c.finished {
		c.report()
		c.unlocked(func() { c.raw.Close() })
	}
}

// report follows the end of the Session.
func (c *Conn) report() {
	reported := c.finished || c.cause == nil || c.closed.Load()
	if c.finished = true; !reported {
		c.unlocked(func() { c.server.failed(c.raw, c.cause) })
	}
}

// mayPull reports whether raw's Reader can be used: netpoll calls run for what
// comes to a connection that is served.
func (c *Conn) mayPull() bool { return !c.pulling && (c.task || !c.served.Load()) }

// wait waits until something has changed, or for ciphertext if it may. The error
// is a timeout.
func (c *Conn) wait(deadline time.Time, pull bool) error {
	if passed(deadline) {
		return os.ErrDeadlineExceeded
	}
	if !pull || !c.mayPull() || c.session.Interest()&session.Readable == 0 {
		if !deadline.IsZero() {
			defer time.AfterFunc(time.Until(deadline), func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.cond.Broadcast()
			}).Stop()
		}
		c.cond.Wait()
		c.reply() // after a Retry
		return nil
	}
	var err error
	c.pulling = true
	c.raw.SetReadDeadline(deadline)
	c.unlocked(func() { _, err = c.raw.Reader().Peek(1) })
	c.raw.SetReadDeadline(time.Time{})
	c.pulling = false
	if c.reply(); !errors.Is(err, netpoll.ErrReadTimeout) {
		err = nil // the Session knows
	}
	return err
}

// handshake is for a client. If it fails, c is closed.
func (c *Conn) handshake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send()
	for !c.opened {
		if err := c.over(); err != nil {
			return err
		}
		c.wait(time.Time{}, true)
	}
	return nil
}

// run passes on what comes to a connection that is served. netpoll waits for it
// in its graceful shutdown, and meanwhile starts no other; task is false if it is
// not netpoll that calls it.
func (c *Conn) run(task bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if task {
		c.task = true
		defer func() { c.task = false }()
		c.cond.Broadcast()
	}
	for c.busy {
		c.cond.Wait()
	}
	c.busy = true
	defer func() {
		c.busy = false
		c.cond.Broadcast()
	}()
	for {
		c.reply()
		switch {
		case c.opened && !c.greeted:
			c.greet()
		case c.in.Len() > 0 && !c.closed.Load():
			c.unlocked(func() { (*c.onRequest.Load())(c.ctx, c) })
		case c.pulling || !c.done && c.session.Phase() == session.Handshaking && c.session.Interest() == 0:
			c.cond.Wait() // for another reader; for the application
		default:
			if c.eof {
				c.disconnect()
				c.Close()
			}
			return
		}
	}
}

func (c *Conn) greet() {
	if f := c.server.OnConnect; f != nil {
		var ctx context.Context
		c.unlocked(func() { ctx = f(c.ctx, c) })
		c.ctx = ctx
	}
	if c.greeted = true; c.lost {
		c.disconnect()
	}
}

// onLost is called when netpoll has seen the peer's end.
func (c *Conn) onLost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost = true; c.greeted {
		c.disconnect()
	}
}

func (c *Conn) disconnect() {
	if f, ctx := c.onDisconnect.Load(), c.ctx; f != nil && !c.told && !c.closed.Load() {
		c.told = true
		c.unlocked(func() { (*f)(ctx, c) })
	}
}

// Close makes reads and writes fail, and closes the connection in the
// background: what Flush was given is sent, then close_notify and a FIN. Unless
// another goroutine is reading, the socket is closed when the peer has closed
// its direction too. A Flush that has begun goes on. After CloseTimeout all that
// ends. In OnPrepare, the socket is closed when that returns.
func (c *Conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		go c.close()
	}
	return nil
}

func (c *Conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.preparing {
		return
	}
	c.expireLater()
	c.cond.Broadcast()
	for c.flushing || c.sending {
		c.cond.Wait()
	}
	if c.freed {
		return
	}
	c.session.Close(nil)
	c.send()
	if c.pulling {
		c.end(nil)
	} else if !c.served.Load() {
		c.serve()
	}
}

// end ends the connection at once.
func (c *Conn) end(err error) {
	c.session.Abort(err)
	c.exchange()
	c.finish()
}

// expire is called when the time for the handshake or for the close is over.
func (c *Conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() || !c.opened || c.session.Phase() == session.Closed {
		c.end(os.ErrDeadlineExceeded)
	}
}

// expireLater is for a connection that is about to close.
func (c *Conn) expireLater() {
	if !c.freed {
		c.timer.Reset(cmp.Or(c.server.CloseTimeout, 5*time.Second))
	}
}

// free is called when netpoll is about to close the socket, and run does not run.
func (c *Conn) free(netpoll.Connection) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.task, c.last = true, true
	if c.flushing || c.unflushed { // no close_notify follows a part
		c.broken = net.ErrClosed
	}
	c.exchange() // what came before a FIN
	c.session.Close(nil)
	c.exchange()
	c.session.Abort(net.ErrClosed)
	c.exchange()
	c.freed = true
	c.server.conns.Delete(c)
	c.timer.Stop()
	c.tls.Close()
	c.cond.Broadcast()
	c.report()
	return nil
}

// unable returns why nothing can be written any more.
func (c *Conn) unable() error { return cmp.Or(c.over(), c.broken) }

// over returns why nothing can be read any more, nor written.
func (c *Conn) over() error {
	if c.closed.Load() {
		return netpoll.Exception(netpoll.ErrConnClosed, "by Close")
	}
	return c.ended()
}

// ended returns why the Session has ended.
func (c *Conn) ended() error {
	switch {
	case c.session.Phase() < session.Closing:
		return nil
	case c.cause == nil:
		return netpoll.Exception(netpoll.ErrConnClosed, "")
	}
	return endError{c.cause}
}

// endError is the end of a connection with an error.
type endError struct{ error }

func (e endError) Error() string        { return "sslnetpoll: connection has been closed: " + e.error.Error() }
func (e endError) Unwrap() error        { return e.error }
func (e endError) Is(target error) bool { return target == netpoll.ErrConnClosed }

// State returns what was negotiated.
func (c *Conn) State() cssl.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tls.State()
}
