// Package live counts the OpenSSL objects that package cssl holds, for tests
// that look for leaks. Package cssl sets the functions. They may be called from
// any goroutine.
package live

var (
	// Conns returns the number of SSL objects that are not freed.
	Conns func() int64
	// Contexts returns the number of SSL_CTX objects, including closed ones
	// that connections keep alive.
	Contexts func() int64
	// Certificates returns the number of certificates, with their keys, that at
	// least one Context has.
	Certificates func() int64
)
