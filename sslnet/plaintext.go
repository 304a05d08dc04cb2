package sslnet

import (
	"bufio"
	"net"

	"github.com/spacemonad/go-openssl/tlsio"
)

// AfterPlaintext returns the connection for Server or Client when plaintext was
// exchanged over conn before, as with STARTTLS. r is the only reader that has
// read from conn; it must not be used any more. leftover says what becomes of
// bytes that r has buffered, which came in the clear: the default returns
// tlsio.ErrPlaintextAfterStartTLS, and the caller closes conn. What the caller
// has written to conn is in the clear; a bufio.Writer must have been flushed.
//
// With LeftoverTLS and a conn that is not a socket, Server and Client take at
// most 33 kB (two records) of such bytes, and return an error if there are more.
//
// A server sends its response to STARTTLS and then calls AfterPlaintext. A
// client calls it when it has read the response.
func AfterPlaintext(conn net.Conn, r *bufio.Reader, leftover tlsio.Leftover) (net.Conn, error) {
	n := r.Buffered()
	switch {
	case n == 0 || leftover == tlsio.LeftoverDiscard:
		return conn, nil
	case leftover == tlsio.LeftoverRefuse:
		return nil, tlsio.ErrPlaintextAfterStartTLS
	}
	first, err := r.Peek(n)
	return &begun{conn, first}, err
}

// begun is a connection whose first bytes have already been read.
type begun struct {
	net.Conn
	first []byte
}

// Read implements net.Conn, for users other than this package.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}
