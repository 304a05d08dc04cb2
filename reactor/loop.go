package reactor

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/internal/logqueue"
	"github.com/spacemonad/go-openssl/internal/saturate"
	"github.com/spacemonad/go-openssl/reactor/internal/poller"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// OnClose gets these errors when a timeout of Limits has ended the connection.
// Each is a net.Error, and errors.Is finds os.ErrDeadlineExceeded in it.
var (
	// ErrHandshakeTimeout is reported when Limits.HandshakeTimeout has passed.
	ErrHandshakeTimeout error = timeoutError("reactor: handshake took too long")
	// ErrHandshakeEvicted is reported when a stalled handshake lost its place
	// because the loop was full; see Limits.MaxHandshakes.
	ErrHandshakeEvicted error = timeoutError("reactor: handshake stalled while other connections waited")
	// ErrIdleTimeout is reported when Limits.IdleTimeout has passed.
	ErrIdleTimeout error = timeoutError("reactor: connection was idle too long")
	// ErrWriteTimeout is reported when Limits.WriteTimeout has passed.
	ErrWriteTimeout error = timeoutError("reactor: peer stopped reading while output was queued")
	// ErrCloseTimeout is reported when Limits.CloseTimeout has passed.
	ErrCloseTimeout error = timeoutError("reactor: peer did not close the connection in time")
)

// timeoutError is a net.Error, so that Timeout of a *net.OpError around it
// returns true. It is not temporary, because the connection has ended.
type timeoutError string

func (e timeoutError) Error() string { return string(e) + ": " + os.ErrDeadlineExceeded.Error() }
func (timeoutError) Unwrap() error   { return os.ErrDeadlineExceeded }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }

// ErrPanic is what OnClose gets when the handler panicked.
var ErrPanic = errors.New("reactor: handler panicked")

// ErrLoopClosed is returned when the loop has been stopped, and OnClose gets it
// for the connections that Stop ends.
var ErrLoopClosed = fmt.Errorf("reactor: loop stopped: %w", net.ErrClosed)

// LoopConfig is the configuration that all connections of a Loop share. The
// zero value of a field means its default.
type LoopConfig struct {
	// Limits has the timeouts and MaxQueue. MaxConns, MaxHandshakes and
	// MaxQueued have an effect for a Server only.
	Limits
	// KeepAlive is how long a connection made by Connect may be silent before
	// the system probes the peer, every 15 s and nine times (tcp(7)). 0 means
	// 15 s; a negative value turns probes off. Values are rounded up to
	// seconds; the maximum is 32767 s.
	KeepAlive time.Duration
	// Session has the watermarks and budgets, and turns on half-close. The loop
	// sets its Buffer and Counters.
	Session session.Config
	// Logger gets panics and accept errors; the default is slog.Default(). It
	// is called on a goroutine of its own, so that a slow log does not delay
	// the loop; lines may arrive after the loop has ended. When 1024 lines
	// wait, further lines are dropped and counted in Stats.LogDropped.
	Logger *slog.Logger
	// Trace, if set, is called after each TLS operation, and the same operations
	// in plain text, on the loop's goroutine, for debugging. A read of 0 bytes in
	// plain text calls OnPlain again with what is left. wait is what the
	// connection waits for next. It is 0 if another operation comes first, if
	// r.Want waits for the application, or if the connection is paused and has
	// nothing to write.
	Trace func(c *Conn, op tlsio.Op, r tlsio.Result, wait session.Event)
}

func (c LoopConfig) withDefaults() LoopConfig {
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	if c.CloseTimeout <= 0 {
		c.CloseTimeout = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

var lastID atomic.Uint64

// Loop drives many connections on the goroutine that calls Run.
type Loop struct {
	cfg      LoopConfig
	log      *slog.Logger // writes to lines
	lines    *logqueue.Queue
	sessions *session.Config
	poller   *poller.Poller
	start    time.Time
	now      time.Duration // since start, as of the last Wait
	over     time.Duration // since start, as of the end of the last turn
	wheel    wheel
	pending  pendingHandshakes
	buffers  buffers
	slots    []slot
	free     []uint32
	waiting  []poller.Polled // events of this turn, of connections in the handshake
	ready    []*Conn         // runnable without an event
	dead     []ended         // to be freed at the end of the turn
	resume   []*listener
	stats    Stats
	tallied  struct{ read, written uint64 } // what of stats.Sessions the connections have counted

	mu      sync.Mutex
	tasks   []func()
	inboxes []*Conn // with requests to collect
	stopped bool    // Do returns false
	pub     Stats   // what Stats returns: as of the end of the last turn

	queued atomic.Int64 // bytes, over all connections

	spareTasks   []func()
	spareInboxes []*Conn
	ending       bool
}

// slot is an entry of the table that event keys index. Its generation changes
// each time it is freed, so that events of its previous user are recognized.
type slot struct {
	conn     *Conn
	listener *listener
	gen      uint32
}

// eventBatch is how many events one epoll_wait returns at most.
const eventBatch = 256

// NewLoop returns a new Loop. Call Run to start it, even if only to release its
// descriptors after Stop.
func NewLoop(cfg LoopConfig) (*Loop, error) {
	p, err := poller.New(eventBatch)
	if err != nil {
		return nil, err
	}
	l := &Loop{cfg: cfg.withDefaults(), poller: p, start: time.Now()}
	l.logTo(l.cfg.Logger)
	s := cfg.Session
	s.Buffer = make([]byte, readBuffer)
	s.Counters = &l.stats.Sessions
	l.sessions = &s
	return l, nil
}

// readBuffer is the size of a loop's buffer for reads. OpenSSL returns one
// record at a time; direct records (cssl.RecordsDirect) fill it with one recv
// and open them in place.
const readBuffer = 4 * (tlsio.MaxPlaintext + 512)

// maxLines is how many log lines may wait for a slow logger.
const maxLines = 1024

// logTo sends log lines to out through a queue, because the loop must not
// block.
func (l *Loop) logTo(out *slog.Logger) {
	l.lines = logqueue.New(maxLines, func(n uint64) {
		out.Warn("log lines were dropped because the log was too slow", "count", n)
	})
	l.log = slog.New(logqueue.NewHandler(out.Handler(), l.lines))
}

// Run runs the loop until Stop. It returns nil after Stop, or the error of
// epoll_wait.
func (l *Loop) Run() error {
	defer l.end()
	var yielded time.Duration
	for !l.ending {
		n, err := l.poller.Wait(l.timeout())
		if err != nil {
			return err
		}
		l.handle(n, time.Since(l.start))
		if l.now-yielded >= yieldEvery {
			yielded = l.now
			yield()
		}
	}
	return nil
}

// yieldEvery is how often a loop yields to the scheduler. When a goroutine has
// run for 10 ms without being scheduled, the scheduler's monitor takes its P
// away, then and on each cgo call after that; a blocking epoll_wait does not
// count as being scheduled.
const yieldEvery = time.Millisecond

// handle does the work of one turn after its wait, which returned n events.
func (l *Loop) handle(n int, now time.Duration) {
	l.now = now
	l.stats.Turns++
	l.dispatchAll(n)
	l.runReady()
	l.runInbox()
	l.wheel.advance(l.now, l.expire)
	l.buffers.look(l.now)
	l.resumeListeners()
	l.freeClosed()
	l.over = time.Since(l.start)
	l.stats.TurnMicroseconds.add(uint64((l.over - l.now) / time.Microsecond))
	l.stats.TurnEvents.add(uint64(n))
	l.publish()
}

// Stop ends Run. The remaining connections are reset, and OnClose gets
// ErrLoopClosed.
func (l *Loop) Stop() { l.Do(func() { l.ending = true }) }

// Do runs f on the loop's goroutine, soon, and returns true. After Stop it
// returns false and does not run f.
func (l *Loop) Do(f func()) bool {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return false
	}
	l.tasks = append(l.tasks, f)
	l.poller.Wake() // under the lock: after Stop the eventfd's number may be reused
	l.mu.Unlock()
	return true
}

// notify makes the loop handle c's requests.
func (l *Loop) notify(c *Conn) {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return
	}
	l.inboxes = append(l.inboxes, c)
	l.poller.Wake() // under the lock, as in Do
	l.mu.Unlock()
}

// timeout returns how long Wait may wait, in milliseconds.
func (l *Loop) timeout() int {
	if len(l.ready) > 0 {
		return 0
	}
	due, ok := l.wheel.next()
	if look, any := l.buffers.next(); any && (!ok || look < due) {
		due, ok = look, true
	}
	for _, ln := range l.resume {
		if !ok || ln.resumeAt < due {
			due, ok = ln.resumeAt, true
		}
	}
	if !ok {
		return -1
	}
	wait := saturate.Add(due-l.over, time.Millisecond-1) / time.Millisecond
	return int(min(max(0, wait), math.MaxInt32)) // epoll_wait takes a C int
}

// handshakeBatch is how many connections advance their handshake in one turn. A
// step costs as much as twenty to forty small messages, which would wait behind
// the handshakes of a whole batch of events.
const handshakeBatch = 2

// dispatchAll handles the events of a turn: those of established connections
// first, then a few of those in the handshake. epoll is level-triggered and
// reports the rest again, in the same order.
func (l *Loop) dispatchAll(n int) {
	for i := range n {
		p := l.poller.At(i)
		if l.handshaking(p) {
			l.waiting = append(l.waiting, p)
			continue
		}
		l.dispatch(p)
	}
	for _, p := range l.waiting[:min(len(l.waiting), handshakeBatch)] {
		l.dispatch(p)
	}
	l.waiting = l.waiting[:0]
}

// handshaking reports whether an event belongs to a connection in the
// handshake.
func (l *Loop) handshaking(p poller.Polled) bool {
	if p.Key == poller.WakeKey {
		return false
	}
	s := &l.slots[uint32(p.Key)]
	return s.gen == uint32(p.Key>>32) && s.conn != nil && s.conn.session.Phase() == session.Handshaking
}

func (l *Loop) dispatch(p poller.Polled) {
	if p.Key == poller.WakeKey {
		return
	}
	s := &l.slots[uint32(p.Key)]
	switch {
	case s.gen != uint32(p.Key>>32):
	case s.conn != nil:
		if c := s.conn; !c.dead {
			c.active = l.now // also for a message without plaintext
			if c.header != nil && !l.readHeader(c) {
				return
			}
			l.turn(c, p.Event)
			if p.HangUp && !c.dead && !c.ready && c.armed == 0 && c.polled {
				// It waits for nothing, and epoll would report the hang-up
				// forever.
				l.unpoll(c)
			}
		}
	case s.listener != nil:
		l.accept(s.listener)
	}
}

// runReady handles the connections that are runnable. It walks the list up to
// its length at the start: a connection that is still runnable goes to the end,
// for the next turn.
func (l *Loop) runReady() {
	n := len(l.ready)
	for i := range n {
		c := l.ready[i]
		c.ready = false
		if !c.dead {
			l.turn(c, 0)
		}
	}
	if n > 0 {
		rest := copy(l.ready, l.ready[n:])
		clear(l.ready[rest:])
		l.ready = l.ready[:rest]
	}
}

// runInbox handles the requests of other goroutines.
func (l *Loop) runInbox() {
	l.mu.Lock()
	if len(l.tasks) == 0 && len(l.inboxes) == 0 {
		l.mu.Unlock()
		return
	}
	tasks, inboxes := l.tasks, l.inboxes
	l.tasks, l.inboxes = l.spareTasks[:0], l.spareInboxes[:0]
	l.mu.Unlock()
	for _, f := range tasks {
		f()
	}
	for _, c := range inboxes {
		if !c.dead {
			l.turn(c, 0)
		}
	}
	clear(tasks)
	clear(inboxes)
	l.spareTasks, l.spareInboxes = tasks, inboxes
}

// turn lets a connection do what it can, after the events got.
func (l *Loop) turn(c *Conn, got session.Event) {
	c.mu.Lock()
	c.running, c.notified = true, false
	c.collect()
	drain, refused := c.drain, c.refused
	c.drain, c.refused = false, nil
	c.mu.Unlock()
	for r := refused; r != nil; r = r.next {
		r.hear((*events)(c), r.err)
	}
	if drain && c.session.Phase() <= session.Open { // StartTLS may have begun the handshake
		(*events)(c).OnDrain()
	}
	if c.plain.feedsAgain() {
		got |= session.Readable
	}
	s := &l.stats.Sessions
	bytes, sends := s.BytesRead+s.BytesWritten, s.Sends
	c.session.Ready(got)
	l.tally(c)
	sent, moved := s.Sends != sends, s.BytesRead+s.BytesWritten != bytes
	if moved {
		// A write that the socket takes at once brings no event.
		c.active = l.now
	}
	if c.pending && sent {
		l.answered(c)
	}
	if c.session.Idle() {
		c.stalled = 0
	} else if sent || c.stalled == 0 {
		c.stalled = max(l.now, 1)
	}
	c.mu.Lock()
	c.collect() // requests made by other goroutines meanwhile
	c.running = false
	c.mu.Unlock()
	if c.dead {
		return
	}
	if c.plain != nil {
		// It has no buffers.
	} else if moved {
		l.buffers.used(c, l.now)
	} else if got != 0 && !c.buffered {
		c.tls.FreeBuffers() // for example after a handshake
	}
	l.rearm(c)
}

// tally adds to c's own counters what this turn has moved so far.
func (l *Loop) tally(c *Conn) {
	s, t := &l.stats.Sessions, &l.tallied
	c.read += s.BytesRead - t.read
	c.written += s.BytesWritten - t.written
	t.read, t.written = s.BytesRead, s.BytesWritten
}

// rearm makes epoll wait for what the session waits for now, and sets the
// deadline.
func (l *Loop) rearm(c *Conn) {
	if c.session.Runnable() || c.drain || c.refused != nil ||
		c.plain.feedsAgain() && c.session.Interest()&session.Readable != 0 {
		// Its turn comes before the next wait, so epoll's events can stay as
		// they are.
		if !c.ready {
			c.ready = true
			l.ready = append(l.ready, c)
		}
	} else if want := c.session.Interest(); want != c.armed || !c.polled && want != 0 {
		var err error
		if c.polled {
			err = l.poller.Modify(c.fd, c.key, want)
		} else {
			err = l.poller.Add(c.fd, c.key, want)
		}
		l.stats.EpollCtls++
		if err != nil {
			c.session.Abort(err)
			c.session.Ready(0)
			return
		}
		c.armed, c.polled = want, true
	}
	if p := c.session.Phase(); p != c.timedIn || !c.timed || c.stalled == l.now {
		l.setDeadline(c, p)
	}
}

func (l *Loop) unpoll(c *Conn) {
	if err := l.poller.Remove(c.fd); err == nil {
		c.polled, c.armed = false, 0
	}
}

// newSlot puts s into a free slot and returns its key.
func (l *Loop) newSlot(s slot) poller.Key {
	if n := len(l.free); n > 0 {
		i := l.free[n-1]
		l.free = l.free[:n-1]
		s.gen = l.slots[i].gen
		l.slots[i] = s
		return poller.Key(i) | poller.Key(s.gen)<<32
	}
	l.slots = append(l.slots, s)
	return poller.Key(len(l.slots) - 1)
}

func (l *Loop) freeSlot(k poller.Key) {
	i := uint32(k)
	// The last generation is skipped, so that no key equals WakeKey.
	l.slots[i] = slot{gen: (l.slots[i].gen + 1) % (1<<32 - 1)}
	l.free = append(l.free, i)
}

// end ends the remaining connections when Run returns.
func (l *Loop) end() {
	l.mu.Lock()
	l.stopped = true
	tasks := l.tasks
	l.tasks = nil
	l.mu.Unlock()
	for _, f := range tasks {
		f()
	}
	for i := range l.slots {
		if ln := l.slots[i].listener; ln != nil {
			l.closeListener(ln)
		}
		if c := l.slots[i].conn; c != nil && !c.dead {
			c.reset = true
			c.session.Abort(ErrLoopClosed)
			l.turn(c, 0)
		}
	}
	l.freeClosed()
	l.publish()
	l.poller.Close()
}

// panicked ends a connection whose handler panicked.
func (l *Loop) panicked(c *Conn, v any) {
	l.stats.Panics++
	l.log.Error("handler panicked", "conn", c.id, "remote", c.RemoteAddr().String(),
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	c.reset = true
	c.session.Abort(ErrPanic)
}
