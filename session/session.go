package session

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ErrQueueFull is returned by Write when the queue would exceed
// Config.MaxQueue.
var ErrQueueFull = errors.New("session: the write queue is full")

// ErrRekeying is returned by KeyUpdate and Renegotiate while a renegotiation or
// a post-handshake message is pending, and by RequestCertificate while an
// earlier request has not been sent.
var ErrRekeying = errors.New("session: a renegotiation or post-handshake message is pending")

// ErrLinger is the cause of a close in which the peer sent more than
// Config.LingerBytes after our close_notify.
var ErrLinger = errors.New("session: the peer kept sending after close_notify")

// Phase is a stage in the life of a Session.
type Phase uint8

// The phases, in order.
const (
	Handshaking Phase = iota
	Open
	Closing // the close sequence has begun, by Close or by the peer
	Closed
)

// String returns the phase's name.
func (p Phase) String() string {
	return [...]string{"handshaking", "open", "closing", "closed"}[p]
}

// operation is an operation of the engine that can wait.
type operation uint8

const (
	handshake operation = iota
	read
	write
	flush // of ciphertext that the engine holds
	shutdown
	operations
)

// rekey is the progress of a renegotiation or post-handshake message.
type rekey uint8

const (
	rekeyNone rekey = iota
	rekeyUpdate
	rekeyUpdateRequest
	rekeyRenegotiate
	rekeyUnderWay
	rekeyRequestUnderWay // a RequestCertificate
)

func (k rekey) underWay() bool { return k >= rekeyUnderWay }

// Session is the state machine of one connection. Make it with [Session.Init];
// it may be a field of a larger struct.
type Session struct {
	engine  Engine
	handler Handler
	cfg     *Config
	trace   func(op tlsio.Op, r tlsio.Result)
	queue   queue
	staged  queue
	upgrade *upgrade // the Upgrade that has not begun yet, or nil
	cause   error
	// lingered counts the bytes discarded since our close_notify.
	lingered int
	// fed is the part of the queue that was written inside OnData.
	fed   int
	want  [operations]tlsio.Want
	phase Phase
	rekey rekey

	unsent             bool // the engine has output that the transport refused
	held               bool // the engine has output that it has not offered yet
	paused             bool // the application does not want to read
	feeding            bool // OnData is on the stack: writes are replies
	throttled          bool // fed reached HighWater, not yet LowWater again
	full               bool // queue reached HighWater, not yet LowWater again
	readDone           bool // the end of the peer's direction was read
	ending             bool // Write is refused; close_notify follows the queue
	shutdownOut        bool // close_notify left the engine
	finOut             bool // our direction of the transport is closed
	broken             bool // the write direction failed
	aborted            bool // the next step is to finish
	running            bool // Ready is on the stack
	early              bool // early data is read before the handshake
	certRequestPending bool // a RequestCertificate has not begun yet
	fedEOF             bool // Exchange has told the engine of the peer's FIN
	refill             bool // Exchange asks the transport for input once more
}

// Init makes s a new Session over e. It replaces zero and negative settings in
// cfg by their defaults. cfg must not be nil, since Sessions share its Buffer:
// new(Config) has all defaults. The handshake begins with the first Ready.
func (s *Session) Init(e Engine, h Handler, cfg *Config) {
	cfg.fill()
	*s = Session{engine: e, handler: h, cfg: cfg}
}

// ExpectPeer is for a server; call it after Init, before the first Ready. The
// handshake then waits until the transport is readable instead of being tried
// at once, because the client sends first. With Config.EarlyData, early data is
// read before the handshake continues.
func (s *Session) ExpectPeer() {
	s.want[handshake] = tlsio.WantRead
	if s.cfg.EarlyData {
		_, s.early = s.engine.(FullEngine)
	}
}

// SetTrace makes s call f with the result of each operation, before a method of
// the handler is called because of it. Inside f, Interest and Runnable already
// reflect the result.
func (s *Session) SetTrace(f func(op tlsio.Op, r tlsio.Result)) { s.trace = f }

// Phase returns the phase that s is in.
func (s *Session) Phase() Phase { return s.phase }

// Queued returns the number of bytes that were written and that the engine has
// not accepted yet.
func (s *Session) Queued() int { return s.queue.len() }

// Idle reports whether nothing is queued and the engine holds no output that is
// still to be sent.
func (s *Session) Idle() bool { return s.queue.len() == 0 && !s.unsent && !s.held }

// live reports whether an operation has work to do, now or when its want is
// met. Interest, Runnable and Ready all depend on it.
func (s *Session) live(op operation) bool {
	if s.phase == Closed {
		return false
	}
	switch op {
	case handshake:
		if s.phase == Handshaking {
			return true
		}
		if s.broken {
			return false
		}
		// A KeyUpdate must not come between two attempts at the same record.
		return s.rekey.underWay() || (s.rekey != rekeyNone || s.certRequestPending) && !s.queue.frozen && !s.ending
	case read:
		if s.readDone || s.phase == Handshaking {
			return false
		}
		if s.upgrade != nil {
			return false // what comes now belongs to the next engine
		}
		return s.phase == Closing || !s.paused && (!s.throttled || s.mustRead())
	case write:
		return !s.broken && s.phase != Handshaking && s.writable() > 0
	case flush:
		return !s.broken && (s.unsent || s.held)
	default: // shutdown, which must not be sent during a handshake
		return s.ending && !s.shutdownOut && !s.broken && s.phase != Handshaking &&
			!s.rekey.underWay() && s.queue.len() == 0 && s.upgrade == nil
	}
}

// writable returns how many of the queued bytes the engine may be given.
func (s *Session) writable() int {
	if s.upgrade != nil {
		return s.upgrade.left
	}
	return s.queue.len()
}

// mustRead reports whether reading must go on above the high watermark because
// a write waits for it. MaxQueue bounds what the peer makes us queue meanwhile.
func (s *Session) mustRead() bool {
	w := s.want[write]
	return w == tlsio.WantRead || w == tlsio.WantAppRead
}

// Interest returns the directions to wait for: the union of the wants of the
// live operations. It is empty while the session is closed, while it is paused
// with nothing to write, and while it waits for the application.
func (s *Session) Interest() Event {
	var e Event
	for op := range operations {
		if s.live(op) {
			e |= eventOf(s.want[op])
		}
	}
	return e
}

// Runnable reports whether Ready(0) would do something without an event. The
// event loop must then call Ready(0) without waiting; Interest is incomplete
// until it has done so.
func (s *Session) Runnable() bool {
	if s.due() != stepNone {
		return true
	}
	for op := range operations {
		if s.can(op) {
			return true
		}
	}
	return false
}

// Retry makes operations that wait for the application runnable; see
// [tlsio.Want.Application]. Call Ready(0) afterwards when not inside a handler.
func (s *Session) Retry() {
	for op := range operations {
		if s.want[op].Application() {
			s.want[op] = tlsio.WantNone
		}
	}
}

// Write queues a copy of p: all of it or nothing. Ready writes it, so call
// Ready(0) afterwards when not inside a handler. The error is net.ErrClosed
// after Close or CloseWrite, or ErrQueueFull.
func (s *Session) Write(p []byte) error {
	if err := s.mayWrite(len(p)); err != nil {
		return err
	}
	s.queue.add(p)
	s.grown(len(p))
	return nil
}

// Stage sets a copy of p aside for WriteStaged. It touches nothing else in s,
// so any goroutine may call it, if the owner holds one lock around Stage,
// Staged and WriteStaged.
func (s *Session) Stage(p []byte) { s.staged.add(p) }

// Staged returns the number of bytes that Stage has set aside.
func (s *Session) Staged() int { return s.staged.len() }

// WriteStaged is Write for everything that Stage has set aside. It moves whole
// chunks, and copies only what fits into the last one. If it returns an error,
// those bytes are discarded.
func (s *Session) WriteStaged() error {
	n := s.staged.len()
	if err := s.mayWrite(n); err != nil {
		s.staged.free()
		return err
	}
	s.queue.moveFrom(&s.staged)
	s.grown(n)
	return nil
}

func (s *Session) mayWrite(n int) error {
	if s.ending || s.broken || s.aborted || s.phase >= Closing {
		return net.ErrClosed
	}
	if n > s.cfg.MaxQueue-s.queue.len() {
		return ErrQueueFull
	}
	return nil
}

// grown compares the queue with the high watermark after n bytes were added.
func (s *Session) grown(n int) {
	if s.feeding {
		s.fed += n
	}
	s.full = s.full || s.queue.len() >= s.cfg.HighWater
	s.throttled = s.throttled || s.fed >= s.cfg.HighWater
}

// shrunk compares the queue with the low watermark after the engine took n of
// its before bytes.
func (s *Session) shrunk(n, before int) {
	// Bytes written inside OnData are spread over the queue, so fed shrinks in
	// proportion.
	s.fed -= int(int64(s.fed) * int64(n) / int64(before))
	if s.fed <= s.cfg.LowWater {
		s.throttled = false
	}
	if s.full && s.queue.len() <= s.cfg.LowWater {
		s.full = false
		if s.phase == Open {
			s.handler.OnDrain()
		}
	}
}

// ExpectDrain makes s call OnDrain when the queue next shrinks to the low
// watermark or below, even if it did not reach the high one. It is for an owner
// that counts bytes of its own as queued too. While nothing is queued, OnDrain
// is not called.
func (s *Session) ExpectDrain() { s.full = true }

// Pause stops reading: OnData is not called until Resume. Writing goes on.
func (s *Session) Pause() { s.paused = true }

// Resume ends Pause. Call Ready(0) afterwards when not inside a handler.
func (s *Session) Resume() { s.paused = false }

// KeyUpdate changes the sending key when no record is partly written. If
// request is set, it asks the peer to do the same. The error is
// errors.ErrUnsupported if the engine is not a FullEngine, net.ErrClosed if the
// session is not open, or ErrRekeying. Later failures, such as a version
// without KeyUpdate (TLS 1.2), go to OnRekeyError. A close that begins before
// the KeyUpdate cancels it.
func (s *Session) KeyUpdate(request bool) error {
	if request {
		return s.startRekey(rekeyUpdateRequest)
	}
	return s.startRekey(rekeyUpdate)
}

// Renegotiate begins a new handshake (TLS 1.2). Its conditions and errors are
// those of KeyUpdate.
func (s *Session) Renegotiate() error { return s.startRekey(rekeyRenegotiate) }

// RequestCertificate asks a client for its certificate (TLS 1.3) when no record
// is partly written and no renegotiation or other post-handshake message is
// pending. OnCertificate reports the outcome. The peer may never answer, so the
// owner should set a deadline. The error is errors.ErrUnsupported if the engine
// is not a FullEngine, net.ErrClosed if the session is not open, or ErrRekeying
// if another request has not been sent yet.
func (s *Session) RequestCertificate() error {
	if _, ok := s.engine.(FullEngine); !ok {
		return errors.ErrUnsupported
	}
	if !s.mayRekey() {
		return net.ErrClosed
	}
	if s.certRequestPending {
		return fmt.Errorf("%w: a certificate request has not been sent yet", ErrRekeying)
	}
	if s.certRequestPending = true; s.rekey == rekeyNone {
		s.want[handshake] = tlsio.WantNone
	}
	return nil
}

func (s *Session) startRekey(k rekey) error {
	if _, ok := s.engine.(FullEngine); !ok {
		return errors.ErrUnsupported
	}
	if !s.mayRekey() {
		return net.ErrClosed
	}
	if s.rekey != rekeyNone {
		return ErrRekeying
	}
	s.rekey = k
	s.want[handshake] = tlsio.WantNone
	return nil
}

// mayRekey reports whether a renegotiation or post-handshake message may begin.
func (s *Session) mayRekey() bool { return s.phase == Open && !s.ending && !s.broken && !s.aborted }

// CloseWrite ends our direction: the queue is written, then close_notify and a
// FIN are sent. Reading goes on. Call Ready(0) afterwards when not inside a
// handler.
func (s *Session) CloseWrite() { s.ending = true }

// Close begins the close sequence: the queue is written, close_notify and a FIN
// are sent, and input is discarded until the peer sends close_notify or a FIN.
// OnClose receives the first cause that is not nil; use nil for an orderly
// close. In the handshake, and after Upgrade, the session ends at once. Call
// Ready(0) afterwards when not inside a handler.
func (s *Session) Close(cause error) {
	if s.cause == nil {
		s.cause = cause
	}
	switch {
	case s.phase == Handshaking, s.upgrade != nil:
		s.aborted = true
	case s.phase == Open:
		s.phase = Closing
		s.ending = true
	}
}

// Abort ends the session without close_notify and discards the queue, for
// example when a deadline of the owner has passed. OnClose receives the cause
// as for Close. Call Ready(0) afterwards when not inside a handler.
func (s *Session) Abort(cause error) {
	if s.cause == nil {
		s.cause = cause
	}
	s.aborted = true
}

// endOfInput handles the peer's end: err is io.EOF or wraps
// io.ErrUnexpectedEOF.
func (s *Session) endOfInput(err error) {
	s.readDone = true
	if s.phase == Closing {
		return
	}
	if errors.Is(err, io.EOF) {
		if s.cfg.HalfClose {
			s.handler.OnEOF()
			return
		}
		err = nil
	}
	s.Close(err)
}

// finish ends the session.
func (s *Session) finish() {
	s.phase = Closed
	s.queue.free()
	s.unsent, s.held = false, false
	s.handler.OnClose(s.cause)
}
