package cssl

/*
#include "context.h"
#include <openssl/x509_vfy.h>
#include <stdlib.h>
*/
import "C"

import (
	"crypto/x509"
	"errors"
	"fmt"
	"unsafe"
)

// The facts below are those of the handshake. Before it is done they are zero
// values. Each is a crossing into C: read them once and keep them.

// established reports whether there are facts. OpenSSL itself crashes when asked
// for some of them too early.
func (c *Conn) established() bool { return c.usable() && C.cssl_established(c.c) == 1 }

// Negotiated is what a handshake led to.
type Negotiated struct {
	Version TLSVersion
	// Cipher is the cipher suite's name as OpenSSL writes it, such as TLS_AES_128_GCM_SHA256.
	Cipher string
	// CipherID is the number of the cipher suite in IANA's registry, as crypto/tls has it.
	CipherID uint16
	// Group is the key exchange group's name, such as x25519; empty where there was none.
	Group string
	// Resumed: the handshake resumed an earlier session.
	Resumed bool
}

// Negotiated is what the handshake led to.
func (c *Conn) Negotiated() Negotiated {
	if !c.usable() {
		return Negotiated{}
	}
	n := C.cssl_conn_negotiated(c.c)
	return Negotiated{TLSVersion(n.version), C.GoString(n.cipher), uint16(n.cipher_id), C.GoString(n.group), n.resumed == 1}
}

// Group is the key exchange group's name, such as x25519; empty where there was none (RSA key exchange, and DHE in TLS 1.2).
func (c *Conn) Group() string {
	if !c.established() {
		return ""
	}
	return C.GoString(C.cssl_ssl_group(C.cssl_conn_ssl(c.c)))
}

// ALPN is the protocol that was agreed on, or empty.
func (c *Conn) ALPN() string {
	if !c.usable() {
		return ""
	}
	var p *C.uchar
	var n C.uint
	C.SSL_get0_alpn_selected(C.cssl_conn_ssl(c.c), &p, &n)
	return C.GoStringN((*C.char)(unsafe.Pointer(p)), C.int(n))
}

// ServerName is the name that the client sent (SNI), or empty.
func (c *Conn) ServerName() string {
	if !c.usable() {
		return ""
	}
	return C.GoString(C.SSL_get_servername(C.cssl_conn_ssl(c.c), C.TLSEXT_NAMETYPE_host_name))
}

// PeerChain is what the peer sent, leaf first; nil if it sent no certificate.
// After a resumption only the leaf is known. That the chain is valid is
// VerifyResult's to say.
func (c *Conn) PeerChain() ([]*x509.Certificate, error) {
	return c.chain(func(ssl *C.SSL, p **C.uchar) C.long { return C.cssl_ssl_peer_chain(ssl, p) })
}

// VerifiedChain is the way from the peer's certificate to the trusted CA that vouched for it, leaf first; nil
// if the peer sent no certificate, if none was asked for, or if it was not found valid. After a resumption it is the
// leaf alone, which was found valid when the session began.
func (c *Conn) VerifiedChain() ([]*x509.Certificate, error) {
	return c.chain(func(ssl *C.SSL, p **C.uchar) C.long { return C.cssl_ssl_verified_chain(ssl, p) })
}

// chain parses what get answers: certificates, each behind its length.
func (c *Conn) chain(get func(*C.SSL, **C.uchar) C.long) ([]*x509.Certificate, error) {
	if !c.usable() {
		return nil, nil
	}
	var p *C.uchar
	n := get(C.cssl_conn_ssl(c.c), &p)
	if p == nil {
		return nil, nil
	}
	b := C.GoBytes(unsafe.Pointer(p), C.int(n)) // the certificates keep parts of it
	C.free(unsafe.Pointer(p))
	return parseChain(b)
}

// VerifyResult is nil if the peer's certificate was found valid, or none was
// sent; otherwise it says why not. It matters where Config.Verify lets an
// invalid one pass.
func (c *Conn) VerifyResult() error {
	if !c.usable() {
		return nil
	}
	ssl := C.cssl_conn_ssl(c.c)
	switch r := C.SSL_get_verify_result(ssl); {
	case r == C.X509_V_OK:
		return nil
	case r == C.X509_V_ERR_UNSPECIFIED && C.SSL_get0_peer_certificate(ssl) == nil:
		return nil // a pre-shared key took the certificate's place
	default:
		return errors.New(verifyText(r))
	}
}

func verifyText(r C.long) string {
	return C.GoString(C.X509_verify_cert_error_string(r))
}

// ExportKeyingMaterial derives n bytes from the connection's secrets (RFC 5705
// and RFC 8446, section 7.5). A nil context differs from an empty one in TLS 1.2, where the peer must know the extended
// master secret too (RFC 7627): without it the same can be derived in two connections, so it would bind to neither.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	if c.fatal != nil {
		return nil, c.fatal
	}
	if !c.established() {
		return nil, &Error{Op: OpHandshake, Class: ClassState, Err: ErrState}
	}
	if n <= 0 || n > 1<<16 {
		return nil, fmt.Errorf("exporter: %d bytes asked for, want 1 to 65536", n)
	}
	var reasons C.cssl_reasons
	out := make([]byte, n)
	l := []byte(label)
	use := cbool(context != nil)
	if C.cssl_ssl_export(C.cssl_conn_ssl(c.c), bytesPtr(out), C.size_t(n), (*C.char)(bytesPtr(l)), C.size_t(len(l)),
		bytesPtr(context), C.size_t(len(context)), use, &reasons) == 0 {
		return nil, &ConfigError{Setting: "exporter", Value: label, Reasons: goReasons(&reasons), Err: errors.New("no keying material; in TLS 1.2 it needs the extended master secret (RFC 7627)")}
	}
	return out, nil
}

// Session is the session to resume later (a client's), or nil if there is none yet. In TLS
// 1.3 it comes with a ticket after the handshake, so ask when data has been
// read, and once for each resumption: a ticket should be used once (RFC 8446, appendix C.4).
func (c *Conn) Session() *Session {
	if !c.usable() || c.server {
		return nil
	}
	var p *C.uchar
	n := C.cssl_conn_session(c.c, &p)
	if p == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(p))
	return &Session{der: C.GoBytes(unsafe.Pointer(p), C.int(n))}
}
