package sslnet

import (
	"errors"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ErrUnread is returned by AwaitCertificate if data arrives before the
// certificate.
var ErrUnread = errors.New("sslnet: data arrived before the certificate: call Read first")

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
