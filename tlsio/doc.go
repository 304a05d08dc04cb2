// Package tlsio defines what an operation on a non-blocking TLS connection
// returns: a [Result], which says what the operation waits for ([Want]) or how
// it failed ([Error], [Alert], [Reason]). [Op] names the operation.
//
// Package cssl returns these types and has no names of its own for them: each thing
// has one name, whether it comes from cssl, session, reactor or sslnet. This package
// needs no cgo, so that package session builds without it, and an implementation of
// session.Engine that is not OpenSSL.
package tlsio
