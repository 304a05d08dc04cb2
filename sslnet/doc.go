// Package sslnet provides net.Conn, net.Listener and a Dialer for TLS over
// OpenSSL, for blocking code.
//
//	              ┌──────────────── Conn ────────────────┐
//	Read ────────►│ reader: try ─────┐                   │
//	Write ───────►│ writer: try ─────┼─ mu ─► cssl.Conn ─┼──► transport
//	SetDeadline ─►│                  │                   │
//	Close ───────►│ close_notify ────┘                   │
//	              └──────────────────────────────────────┘
//
// The transport is the socket itself, if the underlying connection is a
// *net.TCPConn or *net.UnixConn. Any other net.Conn is read and written by two
// goroutines, which carry the ciphertext ([cssl.Context.NewEngineConn]).
//
// # Waiting
//
// A Read and a Write may run at the same time, on two goroutines. They share
// one SSL, which allows one call at a time. So a Conn has two halves: Read uses
// the reader, Write the writer. A half tries its operation under a lock, and
// waits without the lock. The result says which direction to wait for: a Read
// may have to wait for writability (a renegotiation), and a Write for
// readability.
//
// A half waits for its own direction in Go's poller, as a plain TCP connection
// does. In the rare case that it must wait for the other direction, an epoll
// instance of the process watches the socket (crossPoller; TestModel proves
// that no wake-up is lost). When one half moves bytes, the other may no longer
// have to wait: it is woken and tries again, by the same rules as in package
// session.
//
// Whichever half runs first performs the handshake. If both run, both drive it,
// so neither depends on the other's deadline.
//
// An idle connection can do without the goroutine that waits in Read: see
// [Conn.NotifyReadable]. A Read that waits for a second gives the connection's
// buffers back.
//
// # Deadlines
//
// A deadline can be set at any time, and wakes blocked calls. A timeout does
// not damage the connection (in crypto/tls, a Write that times out does). Write
// returns how many bytes it accepted: these will be sent. Continue with the
// rest.
//
// # Close
//
// Close wakes all blocked calls. It sends close_notify and a FIN, discards
// unread input, and closes the underlying connection. If unread input were
// left, the kernel would send a RST, which can destroy data that the peer has
// not read yet. Close does not wait for the peer's close_notify.
//
// # Listener
//
// A [Listener] limits the number of pending handshakes (MaxHandshakes). At the
// limit it evicts a peer that has sent nothing for 250 ms, or else one that has
// kept its handshake waiting for two seconds; if there is none, Accept waits.
// It sets no deadlines: the code that serves a connection does.
//
// That code must also speak the protocol that ALPN has selected. http.Server
// speaks HTTP/2 over TLS only on connections of crypto/tls. On those of this
// package it would answer in HTTP/1.1 to a client that negotiated h2, so Accept
// refuses a Context that offers h2, with a [*cssl.ConfigError]. Package sslhttp
// serves both protocols. A server that speaks HTTP/2 itself calls AllowHTTP2.
// gRPC needs no Listener: see adapters/sslgrpc.
//
// # Errors
//
// Ends of the stream, timeouts and errors of the transport are those of
// crypto/tls and package net; find them with errors.Is:
//
//   - io.EOF after the peer's close_notify
//   - io.ErrUnexpectedEOF after a FIN without close_notify
//   - os.ErrDeadlineExceeded, in a net.Error whose Timeout is true
//   - net.ErrClosed after Close
//   - a syscall.Errno, such as ECONNRESET
//
// An error of TLS is a [*tlsio.Error], which has the alert and says which side
// sent it. Once a handshake has failed, every Read, Write and Handshake returns
// its error.
//
// # Goroutines
//
// Any goroutine may call any method, also concurrently. At one time, one reads
// and one writes; others wait.
package sslnet
