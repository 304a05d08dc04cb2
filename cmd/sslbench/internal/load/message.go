package load

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// newJob is the job for a Config.
func newJob(c *Config) job {
	switch c.Kind {
	case Request:
		return &request{size: c.Size, reverse: c.Answer == Reverse, open: c.Rate > 0}
	case Stream:
		return &stream{size: c.Size}
	case Send:
		return &send{}
	case Receive:
		return &receive{}
	case Idle:
		return &hold{}
	}
	return &handshakes{resume: c.Kind == Resume}
}

// quiet does nothing, for jobs to embed.
type quiet struct{}

func (quiet) begin(*slot)                           {}
func (quiet) data(*slot, []byte)                    {}
func (quiet) drained(*slot)                         {}
func (quiet) overdue(*slot, time.Duration)          {}
func (quiet) stop(*slot)                            {}
func (quiet) ended(s *slot, err error) *failedError { return ofOpen(err, s.got > 0) }

// kept is quiet for connections that are kept open between Runs.
type kept struct{ quiet }

// open answers whether s, whose handshake is done, is to begin work.
func (kept) open(s *slot) bool {
	if s.w.phase == opening {
		s.w.succeeded(s)
	}
	if s.w.phase == stopping {
		s.w.drop(s)
	}
	if s.w.phase != running {
		s.idle()
	}
	return s.w.phase == running
}

// request is the job of Request: one message under way on each connection.
type request struct {
	kept
	size    int
	reverse bool
	open    bool // loop: messages are due by the clock
}

func (r *request) opened(s *slot) {
	if r.kept.open(s) {
		r.begin(s)
	}
}

func (r *request) begin(s *slot) {
	if r.open {
		r.nextDue(s)
	} else {
		r.ask(s, s.w.load.now(), s.w.load.now())
	}
}

// nextDue sends the next message if it is due.
func (r *request) nextDue(s *slot) {
	if s.next >= s.w.due.Load() {
		s.deadline = 0
		if s.w.phase != running {
			s.idle()
			return
		}
		s.set(true, s.bad) // the next one may be due at any time
		return
	}
	due := s.w.load.due(s.next)
	s.next += uint64(len(s.w.load.slots))
	r.ask(s, due, s.w.load.now())
}

// ask sends a message.
func (r *request) ask(s *slot, due, now time.Duration) {
	s.asked, s.due, s.deadline = true, due, s.w.load.deadline(now)
	s.set(true, s.bad)
	if r.reverse {
		line, _ := lineAt(s.sent/uint64(r.size), r.size-1)
		s.write(line)
		s.write(newline)
	} else {
		s.writePattern(r.size)
	}
}

var newline = []byte("\n")

// write sends p.
func (s *slot) write(p []byte) {
	if _, err := s.conn.Write(p); err != nil {
		s.conn.Abort(failed(Closed, fmt.Errorf("write: %w", err)))
		return
	}
	s.sent += uint64(len(p))
	s.w.sent.Add(uint64(len(p)))
}

// writePattern sends the next n bytes of the pattern.
func (s *slot) writePattern(n int) {
	for n > 0 {
		k := min(n, pieceSize)
		s.write(PatternAt(s.base+s.sent, k))
		n -= k
	}
}

// received counts p and answers an error unless it is what the pattern has next.
func (s *slot) received(p []byte, want []byte) error {
	if err := difference(p, want, s.got); err != nil {
		return err
	}
	s.got += uint64(len(p))
	s.w.received.Add(uint64(len(p)))
	return nil
}

// tooMuch is the error for bytes that nobody asked for, or nil.
func (s *slot) tooMuch(n int) error {
	if s.got+uint64(n) <= s.sent {
		return nil
	}
	return failed(WrongBytes, fmt.Errorf("the server sent %d bytes more than it was asked for", s.got+uint64(n)-s.sent))
}

func (r *request) data(s *slot, p []byte) {
	err := s.tooMuch(len(p))
	if err == nil {
		err = r.check(s, p)
	}
	if err != nil {
		s.conn.Abort(err)
		return
	}
	if s.got < s.sent {
		return
	}
	w := s.w
	now := w.load.now()
	w.record(now - s.due)
	w.units.Add(1)
	w.succeeded(s)
	s.asked = false
	switch {
	case r.open:
		r.nextDue(s)
	case w.phase == running:
		r.ask(s, now, now)
	default:
		s.idle()
	}
}

// check compares p with the answer that is under way.
func (r *request) check(s *slot, p []byte) error {
	if !r.reverse {
		return s.received(p, PatternAt(s.base+s.got, len(p)))
	}
	m, at := s.got/uint64(r.size), int(s.got%uint64(r.size))
	_, answer := lineAt(m, r.size-1)
	text := answer[min(at, len(answer)):min(at+len(p), len(answer))]
	if err := s.received(p[:len(text)], text); err != nil || len(text) == len(p) {
		return err
	}
	return s.received(p[len(text):], newline)
}

func (r *request) overdue(s *slot, now time.Duration) {
	s.fail(TimedOut, "%d of %d bytes of the answer came within %v", r.size-int(s.sent-s.got), r.size, s.w.load.cfg.Timeout)
}

func (r *request) stop(s *slot) {
	if !s.asked {
		s.idle()
	}
}

// stream is the job of Stream.
type stream struct {
	kept
	size int
}

func (t *stream) opened(s *slot) {
	if t.open(s) {
		t.begin(s)
	}
}

func (t *stream) begin(s *slot) {
	s.set(true, s.bad)
	s.deadline = s.w.load.deadline(s.w.load.now())
	s.writePattern(t.size)
}

func (t *stream) data(s *slot, p []byte) {
	err := s.tooMuch(len(p))
	if err == nil {
		err = s.received(p, PatternAt(s.base+s.got, len(p)))
	}
	if err != nil {
		s.conn.Abort(err)
		return
	}
	s.w.succeeded(s)
	if s.w.phase == running {
		s.writePattern(len(p))
	} else if s.got == s.sent {
		s.idle()
		return
	}
	s.deadline = s.w.load.deadline(s.w.load.now())
}

func (t *stream) overdue(s *slot, now time.Duration) {
	s.fail(TimedOut, "nothing came for %v, with %d bytes under way", s.w.load.cfg.Timeout, s.sent-s.got)
}

func (t *stream) stop(s *slot) {
	if s.got == s.sent {
		s.idle()
	}
}

// sendAhead is how much a connection of Send queues before it waits for the server.
const sendAhead = 256 << 10

// send is the job of Send.
type send struct{ quiet }

func (d *send) opened(s *slot) {
	if s.w.phase != running {
		s.conn.Close()
		return
	}
	d.more(s)
}

func (d *send) more(s *slot) {
	s.queued = sendAhead
	s.deadline = s.w.load.deadline(s.w.load.now())
	s.writePattern(sendAhead - s.conn.Queued())
}

func (d *send) drained(s *slot) {
	if s.w.phase == running {
		s.w.succeeded(s)
		d.more(s)
	}
}

func (d *send) data(s *slot, p []byte) {
	s.fail(WrongBytes, "the server answered %d bytes, where it is to answer nothing", len(p))
}

// overdue: a server that reads slowly is not one that does not read.
func (d *send) overdue(s *slot, now time.Duration) {
	if s.w.phase != running {
		return // the wait for the server's end has a deadline of its own
	}
	if n := s.conn.Queued(); n != s.queued {
		s.queued, s.deadline = n, s.w.load.deadline(now)
		return
	}
	s.fail(TimedOut, "the server took nothing for %v", s.w.load.cfg.Timeout)
}

// stop: when the server has ended its direction too, it has read all.
func (d *send) stop(s *slot) { s.conn.Close() }

func (d *send) ended(s *slot, err error) *failedError {
	s.deadline = 0
	if err == nil && s.w.phase != running {
		s.w.succeeded(s)
		return nil
	}
	return ofOpen(err, false)
}

// receive is the job of Receive.
type receive struct{ quiet }

var errEnough = errors.New("enough received")

func (receive) opened(s *slot) {
	if s.w.phase != running {
		s.conn.Abort(errEnough)
		return
	}
	s.deadline = s.w.load.deadline(s.w.load.now())
}

func (receive) data(s *slot, p []byte) {
	at := s.got % chargenSize
	if err := s.received(p, chargen[at:at+uint64(len(p))]); err != nil {
		s.conn.Abort(err)
		return
	}
	s.w.succeeded(s)
	s.deadline = s.w.load.deadline(s.w.load.now())
}

func (receive) overdue(s *slot, now time.Duration) {
	s.fail(TimedOut, "the server sent nothing for %v", s.w.load.cfg.Timeout)
}

func (receive) stop(s *slot) { s.conn.Abort(errEnough) }

func (receive) ended(s *slot, err error) *failedError {
	s.deadline = 0
	if errors.Is(err, errEnough) {
		return nil
	}
	return ofOpen(err, s.got > 0)
}

// hold is the job of Idle: what the server says is not listened to.
type hold struct{ kept }

func (h *hold) opened(s *slot) {
	s.w.record(s.took)
	s.w.units.Add(1)
	if h.open(s) {
		s.w.succeeded(s)
	}
}

func (h *hold) begin(s *slot) { s.set(true, s.bad) }

func (h *hold) stop(s *slot) { s.idle() }

// pattern is what clients send, over and over. It is incompressible, and so long that a block that is lost
// or doubled cannot go unnoticed. The part behind patternSize repeats the beginning, so that any piece
// of up to pieceSize bytes lies in one place.
var pattern = func() []byte {
	p := make([]byte, patternSize+pieceSize)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(p[:patternSize])
	copy(p[patternSize:], p)
	return p
}()

const (
	patternSize = 1<<20 - 3
	pieceSize   = 256 << 10
)

// PatternAt is the pattern's n bytes from position at on, up to pieceSize.
func PatternAt(at uint64, n int) []byte {
	i := int(at % patternSize)
	return pattern[i : i+n]
}

// Lines are cut from printable; reversed has the same bytes from the last to the first, so that a
// line's answer is a piece of it. Capital letters are left out: openssl s_server -rev takes
// the line CLOSE for a command.
var printable, reversed = func() (p, r []byte) {
	const letters = "!#$%&()*+,-./0123456789:;<=>?@[]^_abcdefghijklmnopqrstuvwxyz{|}~"
	p, r = make([]byte, 5*MaxLine), make([]byte, 5*MaxLine)
	random := rand.New(rand.NewPCG(2, 3))
	for i := range p {
		p[i] = letters[random.IntN(len(letters))]
		r[len(r)-1-i] = p[i]
	}
	return p, r
}()

// lineAt is message number m for Reverse, of n bytes without the newline, and its answer.
func lineAt(m uint64, n int) (line, answer []byte) {
	i := int(m * 7919 % uint64(len(printable)-n))
	return printable[i : i+n], reversed[len(reversed)-i-n : len(reversed)-i]
}

// chargen is what the chargen service sends (RFC 864): lines of 72 of the 95 printable characters,
// each line beginning one character later. It repeats after chargenSize bytes, and so does the
// part behind them, long enough for one call of OnData.
var chargen = func() []byte {
	var p []byte
	for line := 0; len(p) < chargenSize+16<<10; line++ {
		for i := range 72 {
			p = append(p, byte(' '+(line+i)%95))
		}
		p = append(p, "\r\n"...)
	}
	return p
}()

const chargenSize = 95 * 74

// difference says where got differs from want, of the same length; at is the position of their first byte.
func difference(got, want []byte, at uint64) error {
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if got[i] != want[i] {
			return failed(WrongBytes, fmt.Errorf("byte %d of what the server sent is 0x%02x, want 0x%02x", at+uint64(i), got[i], want[i]))
		}
	}
	return nil
}
