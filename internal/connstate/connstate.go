// Package connstate makes the tls.ConnectionState of a connection of cssl.
package connstate

import (
	"crypto/tls"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
)

// groupIDs maps OpenSSL's names of groups, which differ between its versions,
// to the numbers of crypto/tls.
var groupIDs = map[string]tls.CurveID{
	"x25519": tls.X25519, "prime256v1": tls.CurveP256, "secp256r1": tls.CurveP256, "secp384r1": tls.CurveP384,
	"secp521r1": tls.CurveP521, "x448": 30, "X25519": tls.X25519, "X448": 30, "X25519MLKEM768": tls.X25519MLKEM768,
	"SecP256r1MLKEM768": tls.SecP256r1MLKEM768, "SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024,
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
