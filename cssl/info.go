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

	"github.com/spacemonad/go-openssl/tlsio"
)

// established reports whether the first handshake is done.
func (c *Conn) established() bool { return c.usable() && C.cssl_established(c.c) == 1 }

// State is what a handshake led to. It is a copy: it stays as it is when the
// connection goes on or is closed.
type State struct {
	// Version is 0 before the handshake is done.
	Version TLSVersion
	// Cipher is the cipher suite's name as OpenSSL writes it, such as
	// TLS_AES_128_GCM_SHA256, and CipherID its number in IANA's registry, as crypto/tls
	// has it.
	Cipher   string
	CipherID uint16
	// Group is the key exchange group's name, such as x25519. It is empty where there
	// was none: RSA key exchange, and DHE in TLS 1.2.
	Group string
	// ALPN is the protocol that was agreed on, or empty.
	ALPN string
	// ServerName is the name that the client sent (SNI), or empty.
	ServerName string
	// Resumed says that the handshake resumed an earlier session, or in TLS 1.3 that
	// an external pre-shared key authenticated it, of which TLS makes no difference.
	Resumed bool
	// PSK is the identity of the external pre-shared key that authenticated the
	// handshake, or the one that it resumes; nil if it was none.
	PSK []byte
	// EarlyData says what became of early data. A client knows it when Handshake is
	// done, a server from the first Result of ReadEarlyData on that is no want.
	EarlyData EarlyDataStatus
	// VerifyError is nil if the peer's certificate was found valid, or none was sent.
	// Otherwise it says why not, where Config.Verify lets an invalid one pass.
	VerifyError error

	peer, verified []byte // certificates, each behind its length
}

// PeerCertificates parses the certificates that the peer sent, leaf first; nil if it
// sent none. After a resumption only the leaf is known. Whether they are valid,
// VerifyError says. After an error, the certificates in front of the one that
// crypto/x509 cannot parse are returned with it.
func (s State) PeerCertificates() ([]*x509.Certificate, error) { return parseChain(s.peer) }

// VerifiedChain parses the chain from the peer's certificate to the trusted CA that
// vouched for it, leaf first; nil if the peer sent no certificate, if none was asked
// for, or if it was not found valid. After a resumption it is the leaf alone, which was
// found valid when the session began.
func (s State) VerifiedChain() ([]*x509.Certificate, error) { return parseChain(s.verified) }

// State returns what the first handshake led to. ALPN and ServerName are there as soon
// as they are known; all else is the zero value before the handshake is done, after
// Close, and while a step of a handshake runs elsewhere (WantAsync). In the midst of a
// renegotiation, OpenSSL does not know most of it. It crosses into C once, and again if
// there are certificates.
func (c *Conn) State() State {
	if !c.usable() {
		return State{}
	}
	n := C.cssl_conn_state(c.c)
	s := State{
		Version: TLSVersion(n.version), Cipher: C.GoString(n.cipher), CipherID: uint16(n.cipher_id), Group: C.GoString(n.group),
		ALPN:       C.GoStringN((*C.char)(unsafe.Pointer(n.alpn)), C.int(n.alpn_len)),
		ServerName: C.GoString(n.server_name), Resumed: n.resumed == 1, EarlyData: EarlyDataStatus(n.early),
		peer: takeBytes(n.peer, n.peer_len), verified: takeBytes(n.verified, n.verified_len),
	}
	if n.psk_len > 0 {
		s.PSK = C.GoBytes(unsafe.Pointer(n.psk), C.int(n.psk_len))
	}
	if n.verify != C.X509_V_OK {
		s.VerifyError = errors.New(verifyText(n.verify))
	}
	return s
}

// takeBytes copies n bytes at p, which malloc gave, and frees them.
func takeBytes(p *C.uchar, n C.long) []byte {
	if p == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(p))
	return C.GoBytes(unsafe.Pointer(p), C.int(n))
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
		return nil, &tlsio.Error{Op: tlsio.OpHandshake, Err: tlsio.ErrState}
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
	if der := takeBytes(p, n); der != nil {
		return &Session{der: der}
	}
	return nil
}
