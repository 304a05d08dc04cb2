package sslnet

import (
	"errors"
	"io"

	"github.com/spacemonad/go-openssl/cssl"
)

// ErrUnread is what AwaitCertificate answers when data has come before the certificate.
var ErrUnread = errors.New("sslnet: data has come before the certificate: Read it first")

// RequestCertificate makes a server ask for the client's certificate after the handshake (TLS 1.3; see
// cssl.Config.PostHandshakeAuth and [cssl.Conn.RequestCertificate]). It returns when the request is sent. It waits for a Write that
// is under way, and is bounded by the write deadline. A client answers when it reads. A Read, or AwaitCertificate, takes the answer in; then State has
// the certificates. One that does not pass is the error of that Read, and ends the connection. The error is
// cssl.ErrState where nothing can be asked.
func (c *Conn) RequestCertificate() error { return c.rekey(taskRequestCertificate) }

// AwaitCertificate waits until the answer to RequestCertificate has come, bounded by the read deadline; it returns at once if it has come already, or
// if nothing was asked. It waits for a Read that is under way. When data of the client's comes first it answers ErrUnread, and nothing is lost.
func (c *Conn) AwaitCertificate() error {
	s := &c.reader
	s.sem <- struct{}{}
	_, err := s.do("read", taskAwaitCertificate, nil)
	<-s.sem
	return err
}

// tryCertificate takes in what comes before data.
func (s *half) tryCertificate() (r cssl.Result, finished bool) {
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

// answered takes note of an answer that has come. c.mu is held.
func (c *Conn) answered() {
	if c.certificates--; c.state != nil {
		c.keepState(c.tls.Negotiated())
	}
}

// ReadEarlyData makes a server read early data (0-RTT), before the first Read, Write or Handshake; see [cssl.Conn.ReadEarlyData] for what
// it is worth. It answers io.EOF when there is no more, at once if there is none; then the connection is used like any
// other. A server that does not call it rejects early data. One that has begun must go on until io.EOF: all else
// but WriteEarlyData is cssl.ErrState before. The read deadline bounds it.
func (c *Conn) ReadEarlyData(p []byte) (int, error) {
	s := &c.reader
	s.sem <- struct{}{}
	n, err := s.do("read early data", taskReadEarly, p)
	<-s.sem
	return n, err
}

// WriteEarlyData makes a client, made by Client and not by a Dialer, send p along with its first message, before the first Read, Write or Handshake; a
// server calls it to answer early data. See [cssl.Conn.WriteEarlyData]. It answers how much of p was sent, and cssl.ErrState if that
// is not all, since the server takes no more or the session allows none: the rest is Write's. When the handshake is done,
// State.EarlyData says whether the server has taken it; if it is cssl.EarlyDataRejected, all of it is to be written again. The
// write deadline bounds it.
func (c *Conn) WriteEarlyData(p []byte) (int, error) {
	s := &c.writer
	s.sem <- struct{}{}
	n, err := s.do("write early data", taskWriteEarly, p)
	<-s.sem
	return n, err
}

// tryEarly reads or writes early data.
func (s *half) tryEarly() (r cssl.Result, finished bool) {
	c := s.c
	if c.failed != nil {
		return cssl.Result{Err: c.failed}, false
	}
	switch {
	case s.task == taskReadEarly:
		r = c.tls.ReadEarlyData(s.p)
		s.n += r.N
		finished = r.Want == cssl.WantNone
	case len(s.p) == 0:
		return s.flush(r)
	default:
		r = c.tls.WriteEarlyData(s.p)
		s.n += r.N
		s.p = s.p[r.N:]
		finished = r.Want == cssl.WantNone && len(s.p) == 0 && !r.Unsent && c.transport.flushed()
	}
	if r.Err != nil && r.Err != io.EOF && !errors.Is(r.Err, cssl.ErrState) {
		r = c.fail(r)
	}
	return r, finished && r.Err == nil
}

// ExportEarlyKeyingMaterial derives n bytes from the secret of early data; see [cssl.Conn.ExportEarlyKeyingMaterial].
func (c *Conn) ExportEarlyKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil, c.closedError("export")
	}
	return c.tls.ExportEarlyKeyingMaterial(label, context, n)
}
