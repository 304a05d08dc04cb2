// Package connstate makes the tls.ConnectionState of a connection of cssl.
package connstate

import (
	"crypto/tls"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
)

// groupIDs maps OpenSSL's names of groups, which differ between its versions,
// to their numbers (IANA, TLS Supported Groups). crypto/tls has names for some.
var groupIDs = map[string]tls.CurveID{
	"x25519": tls.X25519, "X25519": tls.X25519, "x448": 30, "X448": 30,
	"prime256v1": tls.CurveP256, "secp256r1": tls.CurveP256, "secp384r1": tls.CurveP384, "secp521r1": tls.CurveP521,
	"ffdhe2048": 256, "ffdhe3072": 257, "ffdhe4096": 258, "ffdhe6144": 259, "ffdhe8192": 260,
	"brainpoolP256r1tls13": 31, "brainpoolP384r1tls13": 32, "brainpoolP512r1tls13": 33, "curveSM2": 41,
	"MLKEM512": 512, "MLKEM768": 513, "MLKEM1024": 514, "SecP256r1MLKEM768": tls.SecP256r1MLKEM768,
	"X25519MLKEM768": tls.X25519MLKEM768, "SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024, "curveSM2MLKEM768": 4590,
	// Before TLS 1.3.
	"sect163k1": 1, "sect163r1": 2, "sect163r2": 3, "sect193r1": 4, "sect193r2": 5, "sect233k1": 6, "sect233r1": 7, "sect239k1": 8,
	"sect283k1": 9, "sect283r1": 10, "sect409k1": 11, "sect409r1": 12, "sect571k1": 13, "sect571r1": 14, "secp160k1": 15,
	"secp160r1": 16, "secp160r2": 17, "secp192k1": 18, "secp192r1": 19, "secp224k1": 20, "secp224r1": 21, "secp256k1": 22,
	"brainpoolP256r1": 26, "brainpoolP384r1": 27, "brainpoolP512r1": 28,
}

// withoutExporter is a ConnectionState whose ExportKeyingMaterial returns an
// error. That of a zero one panics.
var withoutExporter = sync.OnceValue(func() tls.ConnectionState {
	return tls.Client(nil, &tls.Config{Renegotiation: tls.RenegotiateOnceAsClient}).ConnectionState()
})

// Of returns s as crypto/tls would. Certificates that crypto/x509
// cannot parse are left out. ExportKeyingMaterial needs unexported state of
// crypto/tls: it returns an error (about renegotiation, since crypto/tls has no
// other). Call the method of cssl.Conn or sslnet.Conn instead.
func Of(s cssl.State) tls.ConnectionState {
	t := withoutExporter()
	t.Version, t.HandshakeComplete, t.DidResume, t.CipherSuite = uint16(s.Version), s.Version != 0, s.Resumed, s.CipherID
	t.CurveID, t.NegotiatedProtocol, t.ServerName = groupIDs[s.Group], s.ALPN, s.ServerName
	//lint:ignore SA1019 net/http uses NegotiatedProtocol only if it is set
	t.NegotiatedProtocolIsMutual = true
	t.PeerCertificates, _ = s.PeerCertificates()
	t.VerifiedChains, _ = s.VerifiedChains()
	t.OCSPResponse, t.SignedCertificateTimestamps = s.OCSP, s.Timestamps
	t.TLSUnique, t.HelloRetryRequest = s.TLSUnique, s.HelloRetryRequest
	return t
}
