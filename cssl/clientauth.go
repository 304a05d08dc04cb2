package cssl

/*
#include "context.h"
*/
import "C"

import (
	"fmt"

	"github.com/spacemonad/go-openssl/tlsio"
)

// RequestCertificate makes a server ask for the client's certificate after the
// handshake (TLS 1.3; see Config.PostHandshakeAuth). After a Want, Handshake
// carries it on; progress means that the request has left. The client answers
// when it reads, which may be at any time or never: a deadline is the caller's.
// Whichever operation takes the answer in says so by Result.Certificate, and
// fails if the certificate does not pass; in between, while a part of the
// answer has come, Write waits for the rest. Then PeerChain, VerifiedChain and
// VerifyResult tell of the new one. ErrState, with the reason where OpenSSL has
// one, is that nothing was asked: the client has not offered to answer
// (extension not received), an earlier request waits (request sent),
// Config.Verify demands nothing.
func (c *Conn) RequestCertificate() tlsio.Result {
	if c.server && c.fatal == nil && !c.first() && C.SSL_get_verify_mode(C.cssl_conn_ssl(c.c))&C.SSL_VERIFY_PEER == 0 {
		return tlsio.Result{Err: &tlsio.Error{Op: tlsio.OpRequestCertificate, Err: fmt.Errorf("%w: Config.Verify demands no certificate", tlsio.ErrState)}}
	}
	return c.operate(tlsio.OpRequestCertificate, nil, false)
}
