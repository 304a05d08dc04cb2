package cssl

/*
#include "context.h"
#include <openssl/x509_vfy.h>
#include <stdlib.h>
*/
import "C"

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/tlsio"
)

// established reports whether the first handshake is done.
func (c *Conn) established() bool { return c.usable() && C.cssl_established(c.c) == 1 }

// State is the result of a handshake. It is a copy, which does not change when
// the connection goes on or is closed.
type State struct {
	// Version is 0 before the handshake is done.
	Version TLSVersion
	// Cipher is OpenSSL's name of the cipher suite, such as
	// TLS_AES_128_GCM_SHA256. CipherID is its IANA number, as in crypto/tls.
	Cipher   string
	CipherID uint16
	// Group is the name of the key exchange group, such as x25519. It is empty
	// for RSA key exchange, and for DHE in TLS 1.2.
	Group string
	// ALPN is the negotiated protocol, or empty.
	ALPN string
	// ServerName is the name that the client sent (SNI), or empty.
	ServerName string
	// Resumed reports whether the handshake resumed an earlier session. In TLS
	// 1.3 it is also true if an external pre-shared key authenticated the
	// handshake: TLS does not distinguish the two.
	Resumed bool
	// PSK is the identity of the external pre-shared key that authenticated
	// this handshake, or the one that it resumes; nil if there was none.
	PSK []byte
	// EarlyData says whether early data was accepted. A client knows it when
	// Handshake is done, a server after the first Result of ReadEarlyData that
	// is not a want.
	EarlyData EarlyDataStatus
	// PeerPublicKey is the raw public key of the peer (RFC 7250), a
	// SubjectPublicKeyInfo in DER for x509.ParsePKIXPublicKey; nil if it sent a
	// certificate or nothing. VerifyError says whether it is trusted.
	PeerPublicKey []byte
	// VerifyError is nil if the peer's certificate is valid, or if the peer
	// sent none. Otherwise it is the verification error, where Config.Verify
	// accepts an invalid certificate.
	VerifyError error
	// Records says who seals and opens the records, RecordsOpenSSL before the
	// handshake is done. If Config.Records asks for another kind,
	// RecordsReason says why this connection has another, or why the kernel has
	// only one direction of it.
	Records       Records
	RecordsReason string

	// OCSP is the response that a client was sent about the server's
	// certificate, in DER, and Timestamps are the signed certificate timestamps
	// (RFC 6962, section 3.3). Both need Config.Staples, and a full handshake.
	OCSP       []byte
	Timestamps [][]byte
	// ChainOCSP are the responses about the certificates that followed the
	// leaf, in their order; nil where one is missing. They need TLS 1.3 and
	// OpenSSL 3.6.
	ChainOCSP [][]byte
	// TLSUnique is the channel binding tls-unique (RFC 5929, section 3). It is
	// nil in TLS 1.3, and after a resumption without the extended master secret
	// (RFC 7627).
	TLSUnique []byte
	// ECH says what became of the client's Encrypted Client Hello. If it was
	// accepted, OuterServerName is the name in the unencrypted one; empty if
	// that had none.
	ECH             ECHStatus
	OuterServerName string
	// Extensions is what the callbacks of Config.Extensions have left in
	// [ExtensionCall].Value.
	Extensions any
	// HelloRetryRequest reports whether the server asked for another
	// ClientHello (RFC 8446, section 4.1.4).
	HelloRetryRequest bool

	peer, verified []byte // certificates, each preceded by its length; peer: or a raw public key
	chains         [][]*x509.Certificate
}

// PeerCertificates parses the certificates that the peer sent, leaf first; nil
// if it sent none. VerifyError says whether they are valid. After a resumption
// only the leaf is known. If crypto/x509 cannot parse one, it returns those
// before it, with the error.
func (s State) PeerCertificates() ([]*x509.Certificate, error) {
	if s.PeerPublicKey != nil {
		return nil, nil
	}
	return parseChain(s.peer)
}

// VerifiedChain parses the verified chain from the peer's certificate to a
// trusted CA, leaf first. It is nil if the peer sent no certificate, if none
// was requested, or if it was not valid. After a resumption it is only the
// leaf, which was valid when the session began.
func (s State) VerifiedChain() ([]*x509.Certificate, error) { return parseChain(s.verified) }

// VerifiedChains returns the chains that the application has verified
// ([PeerVerification.AcceptChains]), or else VerifiedChain as the only one, if
// there is one.
func (s State) VerifiedChains() ([][]*x509.Certificate, error) {
	if len(s.chains) > 0 {
		return s.chains, nil
	}
	chain, err := s.VerifiedChain()
	if len(chain) == 0 {
		return nil, err
	}
	return [][]*x509.Certificate{chain}, err
}

// State returns the result of the first handshake. ALPN and ServerName are set
// as soon as they are known. All other fields are zero before the handshake is
// done. After Close, and while a handshake step runs on its own goroutine
// (WantAsync), the whole State is zero. During a renegotiation, OpenSSL does
// not know most of it. State makes one cgo call, and copies the certificates if
// there are any.
func (c *Conn) State() State {
	if !c.usable() {
		return State{}
	}
	n := C.cssl_conn_state(c.c, 1)
	f := factsOf(&n)
	s := State{
		Version: TLSVersion(f.Version), Cipher: f.Cipher, CipherID: uint16(n.cipher_id), Group: f.Group, ALPN: f.ALPN,
		Records: Records(f.Records), RecordsReason: f.Obstacle,
		ServerName: C.GoString(n.server_name), Resumed: f.Resumed, EarlyData: EarlyDataStatus(n.early),
		peer: takeBytes(n.peer, n.peer_len), verified: takeBytes(n.verified, n.verified_len),
	}
	if n.raw == 1 {
		s.PeerPublicKey = rawKey(s.peer)
	}
	if n.ocsp_len > 0 {
		s.OCSP = C.GoBytes(unsafe.Pointer(n.ocsp), C.int(n.ocsp_len))
	}
	for more := reader(takeBytes(n.more_ocsp, n.more_ocsp_len)); len(more) > 0; {
		response := []byte(more.run(int(more.u16())<<16 | int(more.u16())))
		if len(response) == 0 {
			response = nil
		}
		s.ChainOCSP = append(s.ChainOCSP, response)
	}
	all := reader(C.GoBytes(unsafe.Pointer(n.timestamps), C.int(n.timestamps_len)))
	for list := all.run(int(all.u16())); len(list) > 0; {
		s.Timestamps = append(s.Timestamps, list.run(int(list.u16())))
	}
	if n.unique_len > 0 {
		s.TLSUnique = C.GoBytes(unsafe.Pointer(&n.unique[0]), C.int(n.unique_len))
	}
	s.HelloRetryRequest = n.retried == 1
	s.ECH, s.OuterServerName = ECHStatus(n.ech), C.GoString(&n.outer_name[0])
	if c.hs != nil {
		s.chains, s.Extensions = c.hs.chains, c.hs.value
	}
	if n.psk_len > 0 {
		s.PSK = C.GoBytes(unsafe.Pointer(n.psk), C.int(n.psk_len))
	}
	if n.verify != C.X509_V_OK {
		s.VerifyError = errors.New(verifyText(n.verify))
	}
	return s
}

// facts returns a part of State without copying the certificates.
func (c *Conn) facts() negotiated.Facts {
	if !c.usable() {
		return negotiated.Facts{}
	}
	n := C.cssl_conn_state(c.c, 0)
	return factsOf(&n)
}

func factsOf(n *C.cssl_state) negotiated.Facts {
	records := RecordsOpenSSL
	switch {
	case n.kernel == 1:
		records = RecordsKernel
	case n.direct == 1:
		records = RecordsDirect
	}
	obstacle := C.GoString(n.obstacle)
	if n.obstacle_errno != 0 {
		obstacle += ": " + syscall.Errno(n.obstacle_errno).Error()
	}
	return negotiated.Facts{
		Version: uint16(n.version), Cipher: C.GoString(n.cipher), Group: C.GoString(n.group),
		ALPN: C.GoStringN((*C.char)(unsafe.Pointer(n.alpn)), C.int(n.alpn_len)), Resumed: n.resumed == 1,
		Records: uint8(records), Obstacle: obstacle,
	}
}

// takeBytes copies n bytes at p, which C allocated with malloc, and frees p.
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

// ExportKeyingMaterial derives n bytes, 1 to 65536, from the connection's
// secrets (RFC 5705; RFC 8446, section 7.5). In TLS 1.2 a nil context differs
// from an empty one, and the peer must support the extended master secret (RFC
// 7627): without it, two connections could have the same keying material.
// Before the handshake is done, the error is [tlsio.ErrState].
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	if c.fatal != nil {
		return nil, c.fatal
	}
	if !c.established() {
		return nil, &tlsio.Error{Op: tlsio.OpHandshake, Err: tlsio.ErrState}
	}
	out, err := keyingMaterial(n)
	if err != nil {
		return nil, err
	}
	var reasons C.cssl_reasons
	l := []byte(label)
	use := cbool(context != nil)
	if C.cssl_conn_export(c.c, 0, (*C.uchar)(bytesPtr(out)), C.size_t(n), (*C.char)(bytesPtr(l)), C.size_t(len(l)),
		(*C.uchar)(bytesPtr(context)), C.size_t(len(context)), use, &reasons) == 0 {
		return nil, exportError(label, &reasons, "TLS 1.2 needs the extended master secret (RFC 7627)")
	}
	return out, nil
}

// keyingMaterial returns the n bytes to export to.
func keyingMaterial(n int) ([]byte, error) {
	if n <= 0 || n > 1<<16 {
		return nil, fmt.Errorf("exporter: %d bytes requested, want 1 to 65536", n)
	}
	return make([]byte, n), nil
}

// Session returns a client's session to resume later, or nil if there is none
// yet. In TLS 1.3 the session comes with a ticket after the handshake, so call
// Session after data has been read. Call it once for each resumption: a ticket
// should be used only once (RFC 8446, appendix C.4).
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

// exportError has OpenSSL's reasons or, if there are none, why.
func exportError(label string, reasons *C.cssl_reasons, why string) error {
	return fmt.Errorf("exporter %q: %s", label, cmp.Or(reasonText(reasons), why))
}
