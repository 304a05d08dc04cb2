package session

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ErrQueueFull is what Write answers when Config.MaxQueue would be passed.
var ErrQueueFull = errors.New("session: write queue is full")

// ErrRekeying is what KeyUpdate, Renegotiate and RequestCertificate return while another
// handshake after the first one, or another request, is under way.
var ErrRekeying = errors.New("session: a handshake is under way")

// ErrLinger is the cause of a Close that the peer did not let end: it sent more
// than Config.LingerBytes after our close_notify.
var ErrLinger = errors.New("session: peer kept sending after close")

// Phase is where in its life a Session is.
type Phase uint8

// The phases, in order.
const (
	Handshaking Phase = iota
	Open
	Closing // Close was called, or the peer ended: drain, close_notify, FIN, wait for the peer's end
	Closed
)

// String is the phase's name.
func (p Phase) String() string {
	return [...]string{"handshaking", "open", "closing", "closed"}[p]
}

// operation is one of those that may wait.
type operation uint8

const (
	handshake operation = iota
	read
	write
	flush // of ciphertext that the engine holds
	shutdown
	operations
)

// rekey is how far a handshake after the first one has come.
type rekey uint8

const (
	rekeyNone rekey = iota
	rekeyUpdate
	rekeyUpdateRequest
	rekeyRenegotiate
	rekeyUnderWay
)

// Session is one connection's state machine. Make it with [Session.Init]; it can stand
// inside a larger struct.
type Session struct {
	engine  Engine
	handler Handler
	cfg     *Config
	trace   func(op tlsio.Op, r tlsio.Result)
	queue   queue
	staged  queue
	cause   error
	// lingered counts the bytes that were discarded since our close_notify.
	lingered int
	// fed is how much of the queue was written inside OnData.
	fed   int
	want  [operations]tlsio.Want
	phase Phase
	rekey rekey

	unsent             bool // the engine holds ciphertext that its transport refused
	held               bool // the engine holds ciphertext that it has not offered yet
	paused             bool // the application does not want to read
	feeding            bool // OnData is on the stack: what is written answers what was read
	throttled          bool // fed went above HighWater and not yet below LowWater
	full               bool // the queue went above HighWater and not yet below LowWater
	readDone           bool // the peer's end was read
	ending             bool // no Write is taken any more; close_notify follows the queue
	shutdownOut        bool // close_notify left the engine
	finOut             bool // our direction of the transport is closed
	broken             bool // the write direction failed
	aborted            bool // finish at the next chance
	running            bool // Ready is on the stack
	early              bool // early data is read before the handshake
	certRequestPending bool // a certificate is to be asked for when no other handshake is under way
	requesting         bool // the handshake under way is such a request
}

// Init makes s a new Session over e, and fills in the defaults of cfg. The
// handshake begins with the first Ready.
func (s *Session) Init(e Engine, h Handler, cfg *Config) {
	cfg.fill()
	*s = Session{engine: e, handler: h, cfg: cfg}
}

// ExpectPeer is for a server, before the first Ready. It makes the handshake wait
// until the transport is readable, instead of being tried at once, for a server has
// nothing to say before the client has spoken. With Config.EarlyData, early data is
// read first.
func (s *Session) ExpectPeer() {
	s.want[handshake] = tlsio.WantRead
	if s.cfg.EarlyData {
		_, s.early = s.engine.(FullEngine)
	}
}

// SetTrace makes s call f after each operation, before the handler hears of it, with
// the operation's result. Inside f, Interest and Runnable say what follows from it.
func (s *Session) SetTrace(f func(op tlsio.Op, r tlsio.Result)) { s.trace = f }

// Phase is where s is in its life.
func (s *Session) Phase() Phase { return s.phase }

// Queued is the number of bytes that were written and not yet taken by the engine.
func (s *Session) Queued() int { return s.queue.len() }

// Idle reports whether nothing is queued or held back for the transport.
func (s *Session) Idle() bool { return s.queue.len() == 0 && !s.unsent && !s.held }

// live reports whether an operation has work to do, now or when its want is met.
// All questions about what s waits for are answered from here.
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
		return s.rekey == rekeyUnderWay || (s.rekey != rekeyNone || s.certRequestPending) && !s.queue.frozen && !s.ending
	case read:
		if s.readDone || s.phase == Handshaking {
			return false
		}
		return s.phase == Closing || !s.paused && (!s.throttled || s.mustRead())
	case write:
		return !s.broken && s.phase != Handshaking && s.queue.len() > 0
	case flush:
		return !s.broken && (s.unsent || s.held)
	default: // shutdown, which must not come in the midst of a handshake
		return s.ending && !s.shutdownOut && !s.broken && s.phase != Handshaking &&
			s.rekey != rekeyUnderWay && s.queue.len() == 0
	}
}

// mustRead reports whether the watermark must not stop reading, since a write waits for it.
// What the peer makes us queue meanwhile is bounded by MaxQueue.
func (s *Session) mustRead() bool {
	w := s.want[write]
	return w == tlsio.WantRead || w == tlsio.WantAppRead
}

// Interest is what to wait for: the union of the wants of the live operations.
// It is empty while the session is closed, while it is paused with nothing to
// write, and while it waits for the application.
func (s *Session) Interest() Event {
	var e Event
	for op := range operations {
		if s.live(op) {
			e |= eventOf(s.want[op])
		}
	}
	return e
}

// Runnable reports whether Ready(0) would do something without any event. The
// loop must come back to it without waiting; until then Interest is incomplete.
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

// Retry makes operations that wait for the application runnable.
func (s *Session) Retry() {
	for op := range operations {
		if s.want[op].Application() {
			s.want[op] = tlsio.WantNone
		}
	}
}

// Write queues a copy of p. It writes nothing yet: that is Ready's, so call
// Ready(0) afterwards when not inside a handler. All of p is queued or nothing.
// The error is net.ErrClosed after Close or CloseWrite, or ErrQueueFull.
func (s *Session) Write(p []byte) error {
	if err := s.mayWrite(len(p)); err != nil {
		return err
	}
	s.queue.add(p)
	s.grown(len(p))
	return nil
}

// Stage puts a copy of p aside, for WriteStaged. It touches nothing else of s: an
// owner that holds the same lock around Stage, Staged and WriteStaged may call it
// from other goroutines than the Session's.
func (s *Session) Stage(p []byte) { s.staged.add(p) }

// Staged is the number of bytes that Stage has put aside.
func (s *Session) Staged() int { return s.staged.len() }

// WriteStaged is Write for all that Stage has put aside, without another copy.
// After an error it is thrown away.
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

// grown compares the queue, which has n bytes more, with the high watermark.
func (s *Session) grown(n int) {
	if s.feeding {
		s.fed += n
	}
	s.full = s.full || s.queue.len() >= s.cfg.HighWater
	s.throttled = s.throttled || s.fed >= s.cfg.HighWater
}

// shrunk compares the queue, of which the engine took n of before bytes, with the low watermark.
func (s *Session) shrunk(n, before int) {
	// What was fed is spread over the queue; it shrinks in proportion.
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

// ExpectDrain makes OnDrain come once the queue is at the low watermark or below, as if it had been above the high one: for an owner that
// counts bytes of its own as queued too. If nothing is queued, it comes never.
func (s *Session) ExpectDrain() { s.full = true }

// Pause stops reading: OnData does not come until Resume. Writing goes on.
func (s *Session) Pause() { s.paused = true }

// Resume ends Pause. Call Ready(0) afterwards when not inside a handler.
func (s *Session) Resume() { s.paused = false }

// KeyUpdate changes the sending key when no record is half written, and asks the
// peer for the same if request is set. The error is errors.ErrUnsupported if the
// engine has no such thing, net.ErrClosed if the session is not open, or ErrRekeying.
// What goes wrong later, such as a version without it (TLS 1.2), OnRekeyError says; a
// close that comes before it drops it.
func (s *Session) KeyUpdate(request bool) error {
	if request {
		return s.startRekey(rekeyUpdateRequest)
	}
	return s.startRekey(rekeyUpdate)
}

// Renegotiate asks for a new handshake (TLS 1.2), under the conditions of KeyUpdate.
func (s *Session) Renegotiate() error { return s.startRekey(rekeyRenegotiate) }

// RequestCertificate asks for the peer's certificate (TLS 1.3, a server's) when no record is half written and no other handshake under
// way. The handler's OnCertificate says what came of it; a peer that never answers is the owner's to bound. The error is
// errors.ErrUnsupported if the engine has no such thing, net.ErrClosed, or ErrRekeying if a request waits to be sent.
func (s *Session) RequestCertificate() error {
	if _, ok := s.engine.(FullEngine); !ok {
		return errors.ErrUnsupported
	}
	if !s.mayRekey() {
		return net.ErrClosed
	}
	if s.certRequestPending {
		return fmt.Errorf("%w: a certificate is to be asked for already", ErrRekeying)
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

// mayRekey reports whether a handshake may follow the first one.
func (s *Session) mayRekey() bool { return s.phase == Open && !s.ending && !s.broken && !s.aborted }

// CloseWrite ends our direction: what is queued is written, then close_notify
// and FIN. Reading goes on.
func (s *Session) CloseWrite() { s.ending = true }

// Close begins the close sequence: what is queued is written, then close_notify
// and FIN; input is discarded until the peer's end. cause is what OnClose
// gets; nil for a close that nothing led to. During the handshake the session ends at once. Call
// Ready(0) afterwards when not inside a handler.
func (s *Session) Close(cause error) {
	if s.cause == nil {
		s.cause = cause
	}
	switch s.phase {
	case Handshaking:
		s.aborted = true
	case Open:
		s.phase = Closing
		s.ending = true
	}
}

// Abort ends the session without a close_notify, with what is queued thrown away.
// It is also for deadlines, which are the owner's. Call Ready(0) afterwards when
// not inside a handler.
func (s *Session) Abort(cause error) {
	if s.cause == nil {
		s.cause = cause
	}
	s.aborted = true
}

// endOfInput deals with the peer's end: err is io.EOF or a form of io.ErrUnexpectedEOF.
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
