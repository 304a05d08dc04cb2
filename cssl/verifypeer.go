package cssl

/*
#include "conn.h"
#include "decide.h"
#include <openssl/x509_vfy.h>
*/
import "C"

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/spacemonad/go-openssl/tlsio"
)

// PeerVerification is a peer's certificate about which the application decides:
// see [Config].VerifyPeer. The application must call Accept or Refuse once, in
// the callback or later, on any goroutine. Further calls are ignored.
type PeerVerification struct {
	// Sent has the certificates that the peer sent, leaf first, up to the first
	// one that crypto/x509 cannot parse; Err then says so. A leaf that cannot
	// be parsed is refused without calling VerifyPeer.
	Sent []*x509.Certificate
	// PublicKey is the raw public key that the peer sent instead (RFC 7250; see
	// Config.PeerKeysFile), a SubjectPublicKeyInfo in DER. Err is nil if it is in
	// the list.
	PublicKey []byte
	// Chain is the chain from the leaf to a trusted CA; nil if OpenSSL found
	// none.
	Chain []*x509.Certificate
	// Err is nil if OpenSSL found the certificate valid and all certificates
	// could be parsed. Only with VerifyApplication can it be a verification
	// error of OpenSSL.
	Err error
	// ServerName is the name that the client sent (SNI), or empty.
	ServerName string
	// PeerName is what a client's certificate check is about:
	// ConnConfig.ServerName, a DNS name or an IP address. It is empty on a
	// server, and with InsecureSkipNameCheck.
	// If the server has rejected an Encrypted Client Hello, it is the outer name,
	// and AcceptChains is what makes its RetryConfigList authentic with
	// VerifyApplication.
	PeerName string
	// Version, CipherID and ALPN are those of State.
	Version  TLSVersion
	CipherID uint16
	ALPN     string
	// Owner is the owner passed to [Conn.Bind].
	Owner any

	decision *decision
}

// Accept continues the handshake.
func (v *PeerVerification) Accept() { v.decision.decide(nil, nil) }

// AcceptChains is Accept for an application that has verified the certificate
// itself. State.VerifiedChains returns the chains, and State.VerifyError is nil
// then, whatever OpenSSL has found. A resumed session ends with the first chain.
// If there are none, no chain counts as verified.
func (v *PeerVerification) AcceptChains(chains [][]*x509.Certificate) {
	v.decision.vouch(chains)
}

// Refuse ends the handshake. The connection's error wraps err. The alert is the
// [tlsio.Alert] in err if it is a certificate alert (42 to 48), and
// bad_certificate otherwise.
func (v *PeerVerification) Refuse(err error) { v.decision.decide(nil, refusal(err)) }

// newPeerVerification returns the peer's certificate and OpenSSL's result.
// unreadable is the error of the first certificate that could not be parsed.
func newPeerVerification(c *C.cssl_conn) (v *PeerVerification, unreadable error) {
	d := C.cssl_conn_decisions(c)
	ssl := C.cssl_conn_ssl(c)
	v = &PeerVerification{ServerName: C.GoString(C.SSL_get_servername(ssl, C.TLSEXT_NAMETYPE_host_name)),
		Version: TLSVersion(C.SSL_version(ssl))}
	if cipher := C.SSL_get_pending_cipher(ssl); cipher != nil {
		v.CipherID = uint16(C.SSL_CIPHER_get_protocol_id(cipher))
	}
	var alpn *C.uchar
	var n C.uint
	C.SSL_get0_alpn_selected(ssl, &alpn, &n)
	v.ALPN = C.GoStringN((*C.char)(unsafe.Pointer(alpn)), C.int(n))
	if d.verdict != C.X509_V_OK {
		v.Err = errors.New(verifyText(C.long(d.verdict)))
	}
	if d.raw == 1 {
		v.PublicKey = rawKey(blob(d.sent))
		return v, nil
	}
	var err error
	if v.Sent, unreadable = parseChain(blob(d.sent)); v.Err == nil {
		v.Err = unreadable
	}
	if v.Chain, err = parseChain(blob(d.valid)); err != nil && v.Err == nil {
		v.Err = err
	}
	return v, unreadable
}

// verifyErrorOf returns the OpenSSL verification error that leads to the alert
// in err.
func verifyErrorOf(err error) C.int {
	var alert tlsio.Alert
	if errors.As(err, &alert) {
		switch alert {
		case tlsio.AlertUnsupportedCertificate:
			return C.X509_V_ERR_INVALID_PURPOSE
		case tlsio.AlertCertificateRevoked:
			return C.X509_V_ERR_CERT_REVOKED
		case tlsio.AlertCertificateExpired:
			return C.X509_V_ERR_CERT_HAS_EXPIRED
		case tlsio.AlertCertificateUnknown:
			return C.X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION
		case tlsio.AlertUnknownCA:
			return C.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
		}
	}
	return C.X509_V_ERR_CERT_REJECTED
}

// encodeChain is the inverse of parseChain.
func encodeChain(chain []*x509.Certificate) (b []byte) {
	for _, cert := range chain {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(cert.Raw))), cert.Raw...)
	}
	return b
}

// rawKey returns the key that C has encoded like a chain of one certificate.
func rawKey(b []byte) []byte { return b[min(4, len(b)):] }

func blob(b C.cssl_blob) []byte { return C.GoBytes(unsafe.Pointer(b.p), C.int(b.len)) }

// parseChain parses certificates, each preceded by its length.
func parseChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for len(b) > 4 {
		size := int(binary.BigEndian.Uint32(b))
		if size > len(b)-4 {
			return chain, errors.New("peer chain: invalid certificate length from OpenSSL")
		}
		cert, err := x509.ParseCertificate(b[4 : 4+size])
		if err != nil {
			return chain, fmt.Errorf("peer chain: certificate %d: %w", len(chain), err)
		}
		chain = append(chain, cert)
		b = b[4+size:]
	}
	return chain, nil
}
