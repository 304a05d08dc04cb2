package session

import (
	"errors"
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/tlsio"
)

// attemptCost is what an attempt counts against the budget besides its bytes, so
// that a peer cannot keep a turn going with attempts that move next to nothing.
const attemptCost = 256

// Ready tries each live operation whose want got meets, and all that follows from
// it, up to the budget of one turn. A hang-up or an error of the transport
// counts as both directions. Ready(0) is for calls after Write, Close and the
// like, and for coming back to a Runnable session. Inside a handler it does
// nothing: the Ready that called the handler goes on anyway.
func (s *Session) Ready(got Event) {
	for op := range operations {
		if got&eventOf(s.want[op]) != 0 {
			s.want[op] = tlsio.WantNone
		}
	}
	if s.running {
		return
	}
	s.running = true
	// Also after a panic in a handler, so that whoever recovers it can still abort.
	defer func() { s.running = false }()
	wrote := 0     // since the last read
	spent := false // the budget, and what the other direction gets beyond it
	for budget := s.cfg.TurnBytes; s.phase != Closed; {
		if step := s.due(); step != stepNone {
			s.take(step)
			continue
		}
		op, ok := s.next(wrote)
		if !ok {
			break
		}
		if budget <= 0 {
			// A peer that never stops sending must not keep a short answer back for ever, nor one that takes all
			// that there is keep what it says from being heard.
			other := write
			if op == write {
				other = read
			}
			if spent || op != read && op != write || !s.can(other) {
				break
			}
			op, spent = other, true
		}
		n := s.try(op)
		budget -= attemptCost + n
		switch op {
		case read:
			wrote = 0
		case write:
			wrote += n
		}
	}
}

// can reports whether an operation can be tried now.
func (s *Session) can(op operation) bool { return s.want[op] == tlsio.WantNone && s.live(op) }

// next picks an operation that can be tried. Reading goes before writing, so
// that the answers to several small messages share a record, but not when there are
// two records' worth to write already, which share a send (wrote says how much was written since the last read), and not
// when no more will be written: then a peer that keeps sending must not hold up the close.
func (s *Session) next(wrote int) (operation, bool) {
	switch {
	case s.can(handshake):
		return handshake, true
	case (s.ending || s.queue.len() >= 2*tlsio.MaxPlaintext && wrote < 2*tlsio.MaxPlaintext) && s.can(write):
		return write, true
	case s.can(shutdown):
		return shutdown, true
	case s.can(read):
		return read, true
	case s.can(write):
		return write, true
	case s.can(flush):
		return flush, true
	}
	return 0, false
}

// step is a part of a close that needs no operation that may wait.
type step uint8

const (
	stepNone step = iota
	stepFIN
	stepFinish
)

// due is the step to take now. Runnable asks it too.
func (s *Session) due() step {
	switch {
	case s.phase == Closed:
		return stepNone
	case s.aborted:
		return stepFinish
	case s.broken:
		if s.can(read) || s.can(handshake) {
			return stepNone // what the peer said before it went away is still there
		}
		return stepFinish
	case s.shutdownOut && !s.unsent && !s.held && !s.finOut:
		return stepFIN
	case s.finOut && s.readDone:
		return stepFinish
	}
	return stepNone
}

// take takes a step.
func (s *Session) take(st step) {
	if st == stepFinish {
		s.finish()
		return
	}
	s.finOut = true
	// The error says that the peer has reset the connection; reading finds that out too.
	_ = s.engine.CloseWrite()
}

// try makes one attempt at an operation and answers how many bytes it moved.
func (s *Session) try(op operation) int {
	var r tlsio.Result
	var name tlsio.Op
	switch op {
	case handshake:
		name, r = s.tryHandshake()
	case read:
		name, r = tlsio.OpRead, s.engine.Read(s.cfg.Buffer)
	case write:
		name, r = tlsio.OpWrite, s.writeRecord()
	case flush:
		name, r = tlsio.OpFlush, s.engine.Flush()
	case shutdown:
		name, r = tlsio.OpShutdown, s.sendCloseNotify()
	}
	if r.Err == nil && (r.Want > tlsio.WantAppRead || op == read && r.Want == tlsio.WantAppRead) {
		// No event and no act of the application would ever end such a wait.
		r.Err, r.Want = fmt.Errorf("session: %v answered %v, which cannot be waited for", name, r.Want), tlsio.WantNone
	}
	s.note(op, name, r)
	s.count(name, r)
	if s.trace != nil {
		s.trace(name, r)
	}
	if r.Certificate && s.phase == Open {
		if s.handler.OnCertificate(nil); s.aborted {
			return r.N
		}
	}
	switch {
	case r.Err != nil:
		s.failed(op, r.Err)
	case r.Want == tlsio.WantNone:
		s.progress(op, r)
	}
	return r.N
}

// note keeps the want of an attempt, and drops those of other operations that it made stale.
func (s *Session) note(op operation, name tlsio.Op, r tlsio.Result) {
	s.want[op] = r.Want
	for other := range operations {
		if other != op && r.Unblocks(name, s.want[other]) {
			s.want[other] = tlsio.WantNone
		}
	}
	if r.Want == tlsio.WantAppRead {
		s.want[read] = tlsio.WantNone // the data is inside the engine: no event will tell of it
	}
	if op == read && r.Drained {
		s.want[read] = tlsio.WantRead
	}
	if s.held = r.Held; s.held {
		s.want[flush] = tlsio.WantNone // it comes last, after a read and a write that would take it along
	}
	if s.unsent = r.Unsent; s.unsent {
		// The transport has just refused it, and would refuse the next record too.
		s.want[flush] = tlsio.WantWrite
		if s.want[write] == tlsio.WantNone {
			s.want[write] = tlsio.WantWrite
		}
	}
}

func (s *Session) count(name tlsio.Op, r tlsio.Result) {
	c := s.cfg.Counters
	if r.Out {
		c.Sends++
	}
	if r.Err != nil {
		if !errors.Is(r.Err, io.EOF) && !errors.Is(r.Err, io.ErrUnexpectedEOF) {
			c.Errors[name]++
		}
		return
	}
	c.Results[name][r.Want]++
	if name == tlsio.OpRead || name == tlsio.OpReadEarlyData {
		c.BytesRead += uint64(r.N)
	} else {
		c.BytesWritten += uint64(r.N)
	}
}

// writeRecord writes the head of the queue.
func (s *Session) writeRecord() tlsio.Result {
	p := s.queue.freeze()
	if len(p) < s.queue.len() || s.ending && s.rekey == rekeyNone {
		if e, ok := s.engine.(FullEngine); ok {
			return e.WriteMore(p)
		}
	}
	return s.engine.Write(p)
}

// sendCloseNotify writes close_notify, which a FIN follows.
func (s *Session) sendCloseNotify() tlsio.Result {
	if e, ok := s.engine.(FullEngine); ok {
		return e.ShutdownMore()
	}
	return s.engine.Shutdown()
}

// tryHandshake carries the first handshake on, or starts or carries on a later one.
func (s *Session) tryHandshake() (tlsio.Op, tlsio.Result) {
	if s.early {
		r := s.engine.(FullEngine).ReadEarlyData(s.cfg.Buffer)
		if r.Err != io.EOF {
			return tlsio.OpReadEarlyData, r
		}
		s.early = false
		next := s.engine.Handshake()
		next.In, next.Out = next.In || r.In, next.Out || r.Out
		return tlsio.OpHandshake, next
	}
	k := s.rekey
	if k == rekeyNone && s.certRequestPending {
		s.rekey, s.certRequestPending, s.requesting = rekeyUnderWay, false, true
		return tlsio.OpRequestCertificate, s.engine.(FullEngine).RequestCertificate()
	}
	if k == rekeyNone || k == rekeyUnderWay {
		return tlsio.OpHandshake, s.engine.Handshake()
	}
	s.rekey, s.requesting = rekeyUnderWay, false
	e := s.engine.(FullEngine)
	if k == rekeyRenegotiate {
		return tlsio.OpRenegotiate, e.Renegotiate()
	}
	return tlsio.OpKeyUpdate, e.KeyUpdate(k == rekeyUpdateRequest)
}

// progress deals with an operation that succeeded.
func (s *Session) progress(op operation, r tlsio.Result) {
	switch op {
	case handshake:
		if s.early {
			s.handler.OnEarlyData(s.cfg.Buffer[:r.N])
			return
		}
		s.rekey = rekeyNone
		if s.phase == Handshaking {
			s.phase = Open
			s.handler.OnOpen()
		}
	case read:
		if s.phase != Closing {
			s.feed(s.cfg.Buffer[:r.N])
			return
		}
		if !s.shutdownOut {
			return // the queue is still draining; the owner's deadline bounds that
		}
		if s.lingered += r.N; s.lingered > s.cfg.LingerBytes {
			s.Abort(ErrLinger)
		}
	case write:
		before := s.queue.len()
		s.queue.accept(r.N)
		s.shrunk(r.N, before)
	case shutdown:
		s.shutdownOut = true
	}
}

// feed hands p to the handler.
func (s *Session) feed(p []byte) {
	s.feeding = true
	defer func() { s.feeding = false }() // also after a panic
	s.handler.OnData(p)
}

// failed deals with an operation that cannot succeed any more.
func (s *Session) failed(op operation, err error) {
	switch {
	case op == read && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		s.endOfInput(err)
	case op == handshake && s.rekey == rekeyUnderWay && (errors.Is(err, tlsio.ErrState) || errors.Is(err, io.EOF)):
		// It was refused and nothing was begun, or the peer has ended its direction
		// instead of answering, which reading finds too: the connection goes on without.
		s.rekey = rekeyNone
		switch {
		case s.phase != Open:
		case s.requesting:
			s.handler.OnCertificate(err)
		default:
			s.handler.OnRekeyError(err)
		}
	case op == write || op == flush || op == shutdown:
		// The write direction is gone. What the peer sent before can still be read;
		// due ends the session when there is no more. A peer that ended its own
		// direction cleanly, with nothing of ours lost, may go without our close_notify.
		s.broken = true
		ended := s.readDone || errors.Is(err, io.EOF)
		if s.cause == nil && !(ended && s.queue.len() == 0) {
			s.cause = err
		}
		if s.unsent && op != flush {
			s.engine.Flush() // an alert may be on its way out
		}
		s.queue.free()
		s.throttled, s.fed, s.unsent, s.held = false, 0, false, false
	default:
		// An alert may be on its way out; it gets the one chance that a dying connection has.
		if s.unsent {
			s.engine.Flush()
		}
		s.Abort(err)
	}
}
