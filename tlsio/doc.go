// Package tlsio defines what an operation on a non-blocking TLS connection
// returns: a [Result], which says what the operation waits for ([Want]) or how
// it failed ([Error], [Alert], [Reason]). [Op] names the operation.
//
// Package cssl returns these types and re-exports every name of this package as
// an alias: cssl.Result is tlsio.Result. A program that imports cssl does not
// need this package. It is for code that must build without cgo, such as
// package session and an implementation of session.Engine that is not OpenSSL.
package tlsio
