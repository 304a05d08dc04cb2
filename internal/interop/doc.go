// Package interop holds tests only: this module's servers and clients against
// other implementations of TLS, and against each other.
//
//	reactor.Server  ◄──►  crypto/tls client, openssl s_client, gnutls-cli, NSS's tstclnt and strsclnt, reactor.Loop.Attach
//	reactor.Loop    ◄──►  crypto/tls server, openssl s_server, gnutls-serv, NSS's selfserv
//
// In each test both sides send a stream that the other one can make too, in odd sizes and at
// the same time, and check what they get byte for byte, so that a byte that is lost,
// doubled or out of order is found where it happens.
package interop
