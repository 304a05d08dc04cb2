package sslnet

import (
	"errors"
	"io"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ErrUnread is returned by AwaitCertificate if data arrives before the
// certificate.
var ErrUnread = errors.New("sslnet: data arrived before the certificate: Read it first")

// RequestCertificate asks the client for its certificate after the handshake
// (TLS 1.3; see cssl.Config.PostHandshakeAuth and
// [cssl.Conn.RequestCertificate]). Only a server may call it. It returns when
// the request has been sent. It waits for a Write in progress; the write
// deadline applies. The error is tlsio.ErrState if the client cannot be asked.
//
// The client answers when it reads. Read or AwaitCertificate receives the
// answer; then State has the certificates. If the certificate is not accepted,
// that call returns an error, and the connection has failed.
func (c *Conn) RequestCertificate() error { return c.rekey(taskRequestCertificate) }

// AwaitCertificate waits for the answer to RequestCertificate. It returns at
// once if the answer has arrived or nothing was requested. It waits for a Read
// in progress; the read deadline applies. If data of the client arrives first,
// it returns ErrUnread, and nothing is lost.
func (c *Conn) AwaitCertificate() error {
	s := &c.reader
	s.sem <- struct{}{}
	_, err := s.do("read", taskAwaitCertificate, nil)
	<-s.sem
	return err
}

// tryCertificate processes the client's messages up to the next data.
func (s *half) tryCertificate() (r tlsio.Result, finished bool) {
	if s.c.certificates == 0 {
		return r, true
	}
	var p [1]byte
	if r = s.c.tls.Peek(p[:]); r.N > 0 {
		r.N = 0
		if !r.Certificate {
			r.Err = ErrUnread
		}
	}
	return r, r.Certificate && r.Err == nil
}

// answered records that the answer to a certificate request has arrived. c.mu
// is held.
func (c *Conn) answered() {
	if c.certificates--; c.state != nil {
		c.keepState(c.tls.State())
	}
}

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
