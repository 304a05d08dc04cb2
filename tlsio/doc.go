// Package tlsio defines what an operation on a non-blocking TLS connection
// returns: a [Result], which says what the operation waits for ([Want]) or how
// it failed ([Error], [Alert], [Reason]). [Op] names the operation.
//
// Packages cssl, session, reactor and sslnet all return these types. Package
// tlsio needs no cgo, so package session and implementations of session.Engine
// without OpenSSL build without it.
package tlsio
