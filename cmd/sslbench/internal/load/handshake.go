package load

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// ticket is what a slot needs for Resume.
type ticket struct {
	session *cssl.Session
	// asks: the server gave no session of its own accord, so a message is sent to get one.
	asks bool
	// fetching: the handshake under way is a full one, to get a session.
	fetching bool
}

// toResume is the session that the next handshake offers. Tickets are meant to be used once (RFC 8446, appendix C.4),
// and a server gives a new one each time; where it does not, the old one is used again.
func (t *ticket) toResume() *cssl.Session {
	t.fetching = t.session == nil
	return t.session
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
