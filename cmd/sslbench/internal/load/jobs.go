package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
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
	case Idle:
		return &hold{}
	}
	return &handshakes{resume: c.Kind == Resume}
}

// quiet does nothing, for jobs to embed.
type quiet struct{}

func (quiet) data(*slot, []byte)                    {}
func (quiet) drained(*slot)                         {}
func (quiet) overdue(*slot, time.Duration)          {}
func (quiet) stop(*slot)                            {}
func (quiet) ended(s *slot, err error) *failedError { return ofOpen(err, s.got > 0) }

// request is the job of Request: one message under way on each connection.
type request struct {
	quiet
	size    int
	reverse bool
	open    bool // loop: messages are due by the clock
}

func (r *request) begin(s *slot) { r.next(s, s.w.load.now()) }

// next sends the next message if it is due.
func (r *request) next(s *slot, now time.Duration) {
	due := now
	switch {
	case r.open && s.next < s.w.due.Load():
		due = s.w.load.due(s.next)
		s.next += uint64(len(s.w.load.slots))
	case s.w.phase != running:
		s.idle()
		return
	case r.open: // the next one may be due at any time
		s.deadline = 0
		s.set(true, s.bad)
		return
	}
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
		s.fail(Closed, "write: %w", err)
		return
	}
	s.sent += uint64(len(p))
	s.w.count[sent].Add(int64(len(p)))
}

// writePattern sends the next n bytes of the pattern.
func (s *slot) writePattern(n int) {
	for n > 0 {
		k := min(n, pieceSize)
		s.write(patternAt(s.base+s.sent, k))
		n -= k
	}
}

// echoed says what is wrong with p unless it is what the pattern has next.
func (s *slot) echoed(p []byte) error { return s.received(p, patternAt(s.base+s.got, len(p))) }

// received counts p, and says what is wrong with it unless it was asked for and is want.
func (s *slot) received(p, want []byte) error {
	if more := s.got + uint64(len(p)); more > s.sent {
		return failed(WrongBytes, fmt.Errorf("the server sent %d bytes more than it was asked for", more-s.sent))
	}
	if !bytes.Equal(p, want) {
		i := 0
		for p[i] == want[i] {
			i++
		}
		return failed(WrongBytes, fmt.Errorf("byte %d of what the server sent is 0x%02x, want 0x%02x", s.got+uint64(i), p[i], want[i]))
	}
	s.got += uint64(len(p))
	s.w.count[received].Add(int64(len(p)))
	return nil
}

func (r *request) data(s *slot, p []byte) {
	if err := r.check(s, p); err != nil {
		s.conn.Abort(err)
		return
	}
	if s.got < s.sent {
		return
	}
	now := s.w.load.now()
	s.w.done(now - s.due)
	s.w.succeeded(s)
	s.asked = false
	r.next(s, now)
}

// check compares p with the answer that is under way.
func (r *request) check(s *slot, p []byte) error {
	if !r.reverse {
		return s.echoed(p)
	}
	_, answer := lineAt(s.got/uint64(r.size), r.size-1)
	at := min(int(s.got%uint64(r.size)), len(answer))
	n := min(len(p), len(answer)-at)
	if err := s.received(p[:n], answer[at:at+n]); err != nil || n == len(p) {
		return err
	}
	return s.received(p[n:], newline)
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
	quiet
	size int
}

func (t *stream) begin(s *slot) {
	s.set(true, s.bad)
	s.deadline = s.w.load.deadline(s.w.load.now())
	s.writePattern(t.size)
}

func (t *stream) data(s *slot, p []byte) {
	if err := s.echoed(p); err != nil {
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
type send struct{}

func (d *send) begin(s *slot) {
	if s.w.phase != running {
		s.conn.Close()
		return
	}
	s.queued = sendAhead
	s.deadline = s.w.load.deadline(s.w.load.now())
	s.writePattern(sendAhead - s.conn.Queued())
}

func (d *send) drained(s *slot) {
	if s.w.phase == running {
		s.w.succeeded(s)
		d.begin(s)
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

// hold is the job of Idle: what the server says is not listened to.
type hold struct{ quiet }

func (h *hold) begin(s *slot) {
	s.set(true, s.bad)
	s.w.succeeded(s)
}

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

// patternAt is the pattern's n bytes from position at on, up to pieceSize.
func patternAt(at uint64, n int) []byte {
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

// toResume is the session that the next handshake offers. Tickets are meant to be used once (RFC 8446, appendix C.4),
// and a server gives a new one each time; where it does not, the old one is used again.
func (s *slot) toResume() *cssl.Session {
	s.fetching = s.session == nil
	return s.session
}

// askMessage makes a server that holds its ticket back until it has something to write do so. An echo server
// and an HTTP server both answer it.
const askMessage = "GET / HTTP/1.0\r\n\r\n"

// ticketWait is how long a server that was asked gets for its ticket.
const ticketWait = time.Second

// handshakes is the job of Handshake and Resume. A ticket needs no waiting for: it comes before the
// server's answer to our close_notify, which each connection waits for.
type handshakes struct {
	quiet
	resume bool
}

func (h *handshakes) begin(s *slot) {
	if h.resume && s.fetching && s.asks && s.conn.Session() == nil {
		if _, err := s.conn.Write([]byte(askMessage)); err != nil {
			s.conn.Abort(err)
		}
		s.deadline = s.w.load.now() + min(ticketWait, s.w.load.cfg.Timeout)
		return
	}
	s.conn.Close()
}

// data: what the server says does not matter, only that it has come so far.
func (h *handshakes) data(s *slot, p []byte) { s.conn.Close() }

func (h *handshakes) overdue(s *slot, now time.Duration) { s.conn.Close() }

// noteEnd notes that the server's close_notify or FIN was read. A reset is fine after that, in
// answer to our close_notify, and not before: in TLS 1.3 a server may refuse a client, and reset the
// connection, after the client's own handshake is done.
func noteEnd(c *reactor.Conn, op tlsio.Op, r tlsio.Result, _ session.Event) {
	if err := r.Err; op == tlsio.OpRead && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		c.Data.(*slot).peerEnded = true
	}
}

func (h *handshakes) ended(s *slot, err error) *failedError {
	w := s.w
	s.deadline = 0
	reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if err != nil && !(reset && s.peerEnded) {
		return ofOpen(err, false)
	}
	if h.resume {
		if ticket := s.conn.Session(); ticket != nil {
			s.session = ticket
			s.await(false)
		}
		switch {
		case s.fetching && s.session == nil && !s.asks:
			s.asks = true
			return nil
		case s.fetching && s.session == nil:
			return &failedError{NotResumed, errors.New("the server gave no session that could be resumed")}
		case s.fetching:
			w.succeeded(s)
			return nil
		case !s.conn.State().Resumed:
			return &failedError{NotResumed, errors.New("the server made a full handshake, although a session of its own was offered")}
		}
	}
	w.done(s.took)
	w.succeeded(s)
	return nil
}
