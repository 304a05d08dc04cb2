// Package fromtls turns a tls.Config of crypto/tls into a cssl.Config.
//
//	cfg, err := fromtls.Server(tlsConfig)
//	x, err := cssl.NewServerContext(cfg)
//	err = sslhttp.ListenAndServe(httpServer, x)
//
// net/http adds to NextProtos what it speaks. Here it must be there:
// sslhttp.ALPN for HTTP/2 and HTTP/1.1.
//
// # What is taken
//
// Each field is honoured, or the error names it and says what to do instead.
// Nothing is dropped silently: a field that this package does not know, because
// a newer Go has added it, is an error too unless it is zero. Fields that
// crypto/tls itself ignores in that role, such as RootCAs on a server, are
// ignored. Of a Config that changes afterwards, such as by
// SetSessionTicketKeys, nothing is seen: build another Context.
//
// # Certificates of the peer
//
// crypto/x509 verifies them, against the CertPools and by the rules of
// crypto/tls: Time, key usage, name. OpenSSL's own result does not count. Then
// VerifyPeerCertificate and VerifyConnection are called, as by crypto/tls.
//
// A server calls VerifyConnection before it accepts a client's certificate.
// Everywhere else, it is called when OpenSSL's handshake is done, before data
// can be read or written. The peer of a client that refuses then sees the end
// of the stream, and no alert.
//
// OpenSSL's sessions have the leaf only. So in a resumed one, PeerCertificates
// and VerifiedChains have no other certificate. It is resumed only by a Config
// with the same ClientAuth, the same callbacks set, and the same CAs. If
// VerifyConnection is set, a client resumes nothing, and neither does a server
// that requests certificates: NoTickets of the cssl.Config is set. If the leaf
// is enough for the callback, change can unset it.
//
// # Callbacks
//
// GetCertificate and GetConfigForClient may block: each call has its own
// goroutine, and the handshake waits, for at most
// cssl.Config.DecisionTimeout. Their ClientHelloInfo is made by crypto/tls from
// the client's bytes. With package sslnet its Conn is the connection below;
// with package reactor it has only the addresses. Its Context is never
// cancelled. The results are kept as Contexts: up to 1024 certificates, by their
// content and key, and up to 256 Configs, by their address; the least recently
// used are dropped. So GetConfigForClient should return the same pointers: a new
// Config costs a new Context, and does not resume sessions of others. An ACME
// client such as acme/autocert needs NextProtos with "acme-tls/1" for the
// challenge tls-alpn-01, as with crypto/tls.
//
// # Differences
//
//   - Several Certificates: OpenSSL selects among them by name and by type of
//     key, see cssl.Config.Certificates. One that could never be selected is
//     refused. So is a certificate that a callback returns and OpenSSL cannot
//     use.
//   - A server with NextProtos refuses a client that offers ALPN without any of
//     them. crypto/tls lets one that offers http/1.1 pass if NextProtos has h2.
//   - Sessions of servers are encrypted by OpenSSL: hosts share them by
//     SetSessionTicketKeys only if all run this package. Time does not count for
//     their lifetime.
//   - The Config of GetConfigForClient has the ticket keys of the first one.
//   - Ticket keys that OpenSSL generates stay until the Context is replaced.
//     crypto/tls replaces its own every day.
//   - A client sends its certificate whatever CAs the server names. crypto/tls
//     sends only one that matches.
//   - Certificates of a peer behind the first one that crypto/x509 cannot parse
//     are left out. crypto/tls refuses the peer.
package fromtls
