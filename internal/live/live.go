// Package live counts what package cssl holds in OpenSSL, for tests that look
// for leaks. cssl sets the functions; they may be called from any goroutine.
package live

var (
	// Conns returns the number of SSLs that were not freed.
	Conns func() int64
	// Contexts returns the number of SSL_CTXs, including those that were closed
	// and live on in connections.
	Contexts func() int64
	// Certificates returns the number of certificates with their keys that were
	// read for Contexts, and that one or more of them have.
	Certificates func() int64
)
