package sslnet

import (
	"errors"
	"io"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ReadEarlyData reads the client's early data (0-RTT). Call it before the first
// Read, Write or Handshake. Early data can be a replay: see
// [cssl.Conn.ReadEarlyData]. A server that does not call ReadEarlyData rejects
// early data.
//
// It returns io.EOF at the end of the early data, or at once if there is none.
// A server that has called it must continue until io.EOF; until then, every
// other operation but WriteEarlyData returns tlsio.ErrState. The read deadline
// applies.
func (c *Conn) ReadEarlyData(p []byte) (int, error) {
	s := &c.reader
	s.sem <- struct{}{}
	n, err := s.do("read early data", taskReadEarly, p)
	<-s.sem
	return n, err
}

// WriteEarlyData sends p as early data. Call it before the first Read, Write or
// Handshake; see [cssl.Conn.WriteEarlyData]. A client sends p along with its
// first message; use Client for that, because a Dialer performs the handshake.
// A server calls WriteEarlyData to answer early data.
//
// It returns how many bytes it sent, and tlsio.ErrState if the server or the
// session does not allow the rest: send that with Write. After the handshake,
// State.EarlyData says whether the server accepted early data. If the value is
// cssl.EarlyDataRejected, send all of it again with Write. The write deadline
// applies.
func (c *Conn) WriteEarlyData(p []byte) (int, error) {
	s := &c.writer
	s.sem <- struct{}{}
	n, err := s.do("write early data", taskWriteEarly, p)
	<-s.sem
	return n, err
}

// tryEarly reads or writes early data. c.mu is held.
func (s *half) tryEarly() (r tlsio.Result, finished bool) {
	c := s.c
	if c.failed != nil {
		return tlsio.Result{Err: c.failed}, false
	}
	switch {
	case s.task == taskReadEarly:
		r = c.tls.ReadEarlyData(s.p)
		s.n += r.N
		finished = r.Want == tlsio.WantNone
	case len(s.p) == 0:
		return s.flush(r)
	default:
		r = c.tls.WriteEarlyData(s.p)
		s.n += r.N
		s.p = s.p[r.N:]
		finished = r.Want == tlsio.WantNone && len(s.p) == 0 && !r.Unsent && c.transport.flushed()
	}
	if r.Err != nil && r.Err != io.EOF && !errors.Is(r.Err, tlsio.ErrState) {
		r = c.fail(r)
	}
	return r, finished && r.Err == nil
}
