package cssl

/*
#include "context.h"
*/
import "C"

import (
	"fmt"

	"github.com/spacemonad/go-openssl/tlsio"
)

// RequestCertificate makes a server request the client's certificate after the
// handshake (TLS 1.3; see [Config].PostHandshakeAuth). Progress means that the
// request was sent. After a Want, Handshake continues it.
//
// The client responds when it reads, which may be at any time or never, so set
// a deadline. The operation that reads the response sets Result.Certificate,
// and fails if the certificate is not accepted. While only a part of the
// response has arrived, Write waits for the rest. Afterwards [Conn.State] has
// the new certificate.
//
// The error is [tlsio.ErrState], with OpenSSL's reason if there is one, if
// nothing was requested: the client does not support it ("extension not
// received"), an earlier request is pending ("request sent"), or Config.Verify
// does not request a certificate.
func (c *Conn) RequestCertificate() tlsio.Result {
	if c.server && c.fatal == nil && !c.first() && C.cssl_requests_certificates(c.c) == 0 {
		return tlsio.Result{Err: &tlsio.Error{Op: tlsio.OpRequestCertificate, Err: fmt.Errorf("%w: Config.Verify does not request a certificate", tlsio.ErrState)}}
	}
	return c.operate(tlsio.OpRequestCertificate, false)
}
