package session

import (
	"errors"
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/tlsio"
)

// attemptCost is what an attempt counts against the budget besides its bytes,
// so that a peer cannot prolong a turn with attempts that move almost nothing.
const attemptCost = 256

// Ready tries each live operation whose want got meets, and then whatever
// became possible, up to Config.TurnBytes. Report a hang-up or an error of the
// transport as both directions. Call Ready(0) after Write, Close and the like,
// and for a Runnable session. Inside a handler Ready only takes note of got:
// the Ready that called the handler does the work.
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
	// A caller that recovers a panic of a handler can still abort.
	defer func() { s.running = false }()
	wrote := 0     // since the last read
	spent := false // the budget, and one attempt in the other direction
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
			// The other direction gets one attempt beyond the budget. A peer
			// that never stops sending must not delay our replies for ever,
			// nor one that takes all we write delay our reading.
			other := write
			if op == write || wrote >= 2*tlsio.MaxPlaintext {
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
// that the replies to several small messages share a record. There are two
// exceptions. Writing goes first while at least two records are queued and
// fewer than two were written since the last read (wrote bytes): they share a
// send. And writing goes first when no more will be queued, so that a peer that
// keeps sending cannot delay the close.
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

// step is a part of a close, or the change of the engine. It cannot wait.
type step uint8

const (
	stepNone step = iota
	stepUpgrade
	stepFIN
	stepFinish
)

// due returns the step to take now, for Ready and Runnable.
func (s *Session) due() step {
	switch {
	case s.phase == Closed:
		return stepNone
	case s.aborted:
		return stepFinish
	case s.broken:
		if s.can(read) || s.can(handshake) || s.refill && s.live(read) {
			return stepNone // what the peer sent before can still be read
		}
		return stepFinish
	case s.upgrade != nil && s.upgrade.left == 0 && !s.unsent && !s.held:
		return stepUpgrade
	case s.shutdownOut && !s.unsent && !s.held && !s.finOut:
		return stepFIN
	case s.finOut && s.readDone:
		return stepFinish
	}
	return stepNone
}

// take takes a step.
func (s *Session) take(st step) {
	switch st {
	case stepFinish:
		s.finish()
		return
	case stepUpgrade:
		s.begin()
		return
	}
	s.finOut = true
	// An error means that the peer has reset the connection, which reading
	// reports too.
	_ = s.engine.CloseWrite()
}

// try makes one attempt at an operation and returns how many bytes it moved.
func (s *Session) try(op operation) int {
	var r tlsio.Result
	var name tlsio.Op
	switch op {
	case handshake:
		name, r = s.tryHandshake()
	case read:
		name, r = tlsio.OpRead, s.engine.Read(s.cfg.Buffer)
	case write:
		name, r = tlsio.OpWrite, s.writeQueue()
	case flush:
		name, r = tlsio.OpFlush, s.engine.Flush()
	case shutdown:
		name, r = tlsio.OpShutdown, s.sendCloseNotify()
	}
	if r.Err == nil && (r.Want > tlsio.WantAppRead || op == read && r.Want == tlsio.WantAppRead) {
		// Neither an event nor the application would ever end this wait.
		r.Err, r.Want = fmt.Errorf("session: %v returned %v, which a session cannot wait for", name, r.Want), tlsio.WantNone
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

// note stores the want of an attempt, and clears those of other operations that
// the attempt made stale.
func (s *Session) note(op operation, name tlsio.Op, r tlsio.Result) {
	s.want[op] = r.Want
	for other := range operations {
		if other != op && r.Unblocks(name, s.want[other]) {
			s.want[other] = tlsio.WantNone
		}
	}
	if r.Want == tlsio.WantAppRead {
		s.want[read] = tlsio.WantNone // no event reports data inside the engine
	}
	if op == read && r.Drained {
		s.want[read] = tlsio.WantRead
	}
	if s.held = r.Held; s.held {
		s.want[flush] = tlsio.WantNone // tried after write, which also sends it
	}
	if s.unsent = r.Unsent; s.unsent {
		// The transport has refused it and would refuse the next record too.
		s.want[flush] = tlsio.WantWrite
		if s.want[write] == tlsio.WantNone {
			s.want[write] = tlsio.WantWrite
		}
	}
}

func (s *Session) count(name tlsio.Op, r tlsio.Result) {
	c := s.cfg.Counters
	if name == tlsio.OpRead || name == tlsio.OpReadEarlyData {
		c.BytesRead += uint64(r.N)
	} else {
		c.BytesWritten += uint64(r.N)
	}
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
}

// writeQueue writes the head of the queue, together with the chunks behind it
// if the engine can.
func (s *Session) writeQueue() tlsio.Result {
	p := s.queue.freeze()
	e, ok := s.engine.(FullEngine)
	if n := s.writable(); !ok || n < s.queue.len() {
		return s.engine.Write(p[:min(n, len(p))])
	}
	bufs, n := s.queue.first(s.cfg.bufs[:0])
	r := e.WriteBuffers(bufs, n < s.queue.len() || s.ending && s.rekey == rekeyNone)
	clear(bufs)
	return r
}

// sendCloseNotify sends close_notify. A FIN follows.
func (s *Session) sendCloseNotify() tlsio.Result {
	if e, ok := s.engine.(FullEngine); ok {
		return e.ShutdownMore()
	}
	return s.engine.Shutdown()
}

// tryHandshake continues the first handshake, or begins or continues a later
// one.
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
		s.rekey, s.certRequestPending = rekeyRequestUnderWay, false
		return tlsio.OpRequestCertificate, s.engine.(FullEngine).RequestCertificate()
	}
	if k == rekeyNone || k.underWay() {
		return tlsio.OpHandshake, s.engine.Handshake()
	}
	s.rekey = rekeyUnderWay
	e := s.engine.(FullEngine)
	if k == rekeyRenegotiate {
		return tlsio.OpRenegotiate, e.Renegotiate()
	}
	return tlsio.OpKeyUpdate, e.KeyUpdate(k == rekeyUpdateRequest)
}

// progress handles an operation that succeeded.
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
			return // the queue is not written; the owner's deadline bounds it
		}
		if s.lingered += r.N; s.lingered > s.cfg.LingerBytes {
			s.Abort(ErrLinger)
		}
	case write:
		before := s.queue.len()
		s.queue.accept(r.N)
		if s.upgrade != nil {
			s.upgrade.left -= r.N
		}
		s.shrunk(r.N, before)
	case shutdown:
		s.shutdownOut = true
	}
}

// feed passes p to the handler.
func (s *Session) feed(p []byte) {
	s.feeding = true
	defer func() { s.feeding = false }() // also after a panic
	s.handler.OnData(p)
}

// failed handles an operation that cannot succeed any more.
func (s *Session) failed(op operation, err error) {
	switch {
	case op == read && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		s.endOfInput(err)
	case op == handshake && s.rekey.underWay() && (errors.Is(err, tlsio.ErrState) || errors.Is(err, io.EOF)):
		// It was refused before it began, or the peer ended its direction
		// instead of answering, which reading reports too. The connection
		// goes on.
		k := s.rekey
		s.rekey = rekeyNone
		switch {
		case s.phase != Open:
		case k == rekeyRequestUnderWay:
			s.handler.OnCertificate(err)
		default:
			s.handler.OnRekeyError(err)
		}
	case op == write || op == flush || op == shutdown:
		// The write direction has failed. What the peer sent before can still
		// be read; due ends the session when there is no more. If the peer
		// ended its direction cleanly and no data of ours is lost, the missing
		// close_notify is not an error.
		s.broken = true
		ended := s.readDone || errors.Is(err, io.EOF)
		if s.cause == nil && !(ended && s.queue.len() == 0) {
			s.cause = err
		}
		if s.unsent && op != flush {
			s.engine.Flush() // what is unsent may be an alert
		}
		s.queue.free()
		s.throttled, s.fed, s.unsent, s.held = false, 0, false, false
	default:
		// What is unsent may be an alert: try once to send it.
		if s.unsent {
			s.engine.Flush()
		}
		s.Abort(err)
	}
}
