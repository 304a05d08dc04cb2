//go:build cgo

package cssl

/*
#include "context.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// defaultEarlySessions is the size of the session cache that early data needs, where SessionCache is 0; it is OpenSSL's own.
const defaultEarlySessions = 20480

// maxSessionLifetime is RFC 8446's for a ticket (section 4.6.1), and so for what comes of it.
const maxSessionLifetime = 7 * 24 * time.Hour

// sessionCache is the size of the server's cache.
func (c *Config) sessionCache() int {
	if c.MaxEarlyData > 0 && !c.AllowReplay && c.SessionCache == 0 {
		return defaultEarlySessions
	}
	return c.SessionCache
}

// checkEarly says why the settings of early data cannot be.
func (b *builder) checkEarly() error {
	c := b.cfg
	refuse := func(setting, why string) error { return &ConfigError{Setting: setting, Err: errors.New(why)} }
	switch {
	case c.MaxEarlyData == 0 && c.AllowReplay:
		return refuse("AllowReplay", "set without MaxEarlyData, which it is for")
	case c.MaxEarlyData == 0:
		return nil
	case !b.server:
		return refuse("MaxEarlyData", "only a server accepts early data; a client calls WriteEarlyData")
	case c.MaxEarlyData > math.MaxInt32:
		return refuse("MaxEarlyData", "more than 2147483647 bytes")
	case c.before13():
		return refuse("MaxEarlyData", "needs TLS 1.3, and MaxVersion is below")
	case c.NoTickets:
		return refuse("MaxEarlyData", "comes with a ticket, and NoTickets is set")
	case len(c.TicketKeys) > 0 && !c.AllowReplay:
		return refuse("MaxEarlyData", "whoever has TicketKeys would accept the same early data once more: set AllowReplay if that does no harm, or leave one of the two out")
	}
	return nil
}

// extras sets what has no place elsewhere.
func (b *builder) extras() error {
	c := b.cfg
	if err := b.checkEarly(); err != nil {
		return err
	}
	if d := c.SessionLifetime; d != 0 && (d < time.Second || d > maxSessionLifetime) {
		return &ConfigError{Setting: "SessionLifetime", Value: d.String(), Err: errors.New("must be from a second to 7 days (168h)")}
	}
	if c.PostHandshakeAuth && b.server && c.Verify != VerifyOptional && c.Verify != VerifyRequire {
		return &ConfigError{Setting: "PostHandshakeAuth", Err: errors.New("needs Verify to be VerifyOptional or VerifyRequire, which says what is demanded then")}
	}
	fragment := 0
	switch c.MaxFragment {
	case 0:
	case 512, 1024, 2048, 4096:
		if b.server {
			return &ConfigError{Setting: "MaxFragment", Err: errors.New("only a client asks for it; see MaxSendFragment")}
		}
		fragment = bits.Len(uint(c.MaxFragment)) - 9 // 1 to 4, RFC 6066
	default:
		return &ConfigError{Setting: "MaxFragment", Value: fmt.Sprint(c.MaxFragment), Err: errors.New("must be 512, 1024, 2048 or 4096")}
	}
	if n := c.MaxSendFragment; n != 0 && (n < 512 || n > 16384) {
		return &ConfigError{Setting: "MaxSendFragment", Value: fmt.Sprint(n), Err: errors.New("must be from 512 to 16384")}
	}
	if n := c.RecordSizeLimit; n != 0 && (n < 513 || n > 16385) {
		return &ConfigError{Setting: "RecordSizeLimit", Value: fmt.Sprint(n), Err: errors.New("must be from 513 to 16385")}
	}
	if c.Tail < 0 && (c.RecordSizeLimit != 0 || c.MaxFragment != 0) {
		// OpenSSL 3.0 makes its buffer anew when the first message after the handshake comes, since records are smaller now; the half
		// of a record that is still in it is lost.
		return &ConfigError{Setting: "Tail", Value: fmt.Sprint(c.Tail), Err: errors.New("negative; with MaxFragment or RecordSizeLimit a Write that stays half done would be lost")}
	}
	if c.RecordSizeLimit != 0 && c.MaxFragment != 0 {
		return &ConfigError{Setting: "RecordSizeLimit", Err: errors.New("takes the place of MaxFragment (RFC 8449, section 5): set one")}
	}
	if C.cssl_ctx_sessions(b.ptr, cbool(b.server), C.uint(cmp.Or(c.SessionLifetime, DefaultSessionLifetime)/time.Second), &b.reasons) == 0 {
		return b.fail("SessionLifetime", "")
	}
	if b.server && C.cssl_ctx_early_data(b.ptr, C.uint32_t(c.MaxEarlyData), cbool(c.AllowReplay), &b.reasons) == 0 {
		return b.fail("MaxEarlyData", "")
	}
	if C.cssl_ctx_record_sizes(b.ptr, C.int(fragment), C.uint(c.MaxSendFragment), C.uint(c.RecordSizeLimit), &b.reasons) == 0 {
		return b.fail("MaxFragment, MaxSendFragment, RecordSizeLimit", "")
	}
	return nil
}

// MaxFragment is the length of records that was agreed on (RFC 6066, section 4), or 0 if none was.
func (c *Conn) MaxFragment() int {
	if !c.established() {
		return 0
	}
	return int(C.cssl_ssl_max_fragment(C.cssl_conn_ssl(c.c)))
}

// RequestCertificate makes a server ask for the client's certificate after the handshake (TLS 1.3; see
// Config.PostHandshakeAuth). After a Want, Handshake carries it on; progress means that the request has left. The client answers when it
// reads, which may be at any time or never: a deadline is the caller's. Whichever operation takes the answer in says so by
// Result.Certificate, and fails if the certificate does not pass; in between, while a part of the answer has come,
// Write waits for the rest. Then PeerChain, VerifiedChain and VerifyResult tell of the new one. ErrState, with the
// reason where OpenSSL has one, is that nothing was asked: the client has not offered to answer (extension not
// received), an earlier request waits (request sent), Config.Verify demands nothing.
func (c *Conn) RequestCertificate() Result {
	if c.fatal != nil {
		return Result{Err: c.fatal}
	}
	if c.first() {
		return tooEarly(OpRequestCertificate)
	}
	if c.server && C.SSL_get_verify_mode(C.cssl_conn_ssl(c.c))&C.SSL_VERIFY_PEER == 0 {
		return Result{Err: &Error{Op: OpRequestCertificate, Class: ClassState, Err: fmt.Errorf("%w: Config.Verify demands no certificate", ErrState)}}
	}
	return c.result(OpRequestCertificate, C.cssl_request_certificate(c.c))
}
