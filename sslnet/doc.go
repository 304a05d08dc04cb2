// Package sslnet gives code that blocks TLS over OpenSSL in the shape that it knows: net.Conn, net.Listener and a
// Dialer.
//
//	goroutines          ┌──────────────── Conn ────────────────┐
//	  Read ────────────►│ reader: try ─────┐                   │   socket: Go's own poller, the descriptor of
//	  Write ───────────►│ writer: try ─────┼─ mu ─► cssl.Conn ─┼──► the *net.TCPConn or *net.UnixConn itself
//	  SetDeadline ─────►│                  │                   │
//	  Close ───────────►│ close_notify ────┘                   │   any other net.Conn: engine mode, two
//	                    └──────────────────────────────────────┘   goroutines carry the ciphertext
//
// # What waits for what
//
// A Read and a Write may be under way at once, each on its own goroutine, over one SSL, which allows one call at a time. So
// each is a half: it makes an attempt under a lock, and waits without it. The result says which direction to wait for: a Read
// may have to wait for writability (a renegotiation), and a Write for input. A half waits in the poller for its own direction, which costs
// nothing more than a plain TCP connection does. In the rare case that it wants the other one, an epoll instance of the process waits for
// that event, with the socket's own descriptor: see crossPoller, and TestModel for the proof that nobody is forgotten. What one half moves makes the
// other's want stale; then it is woken and tries again. The rules are those of package session, whose queue and callbacks have no
// place here: the goroutine that waits is the queue.
//
// The handshake is a part of the first attempts: whichever half comes first carries it on, so neither has to wait
// for the other's deadline.
//
// # Deadlines
//
// They can be set at any time and wake what is blocked. A Read or Write that ran into one leaves the connection as good as it was (crypto/tls
// gives a connection up after a Write that timed out): the number of bytes that Write answers was
// accepted and will be sent, the others were not; go on from there.
//
// # Close
//
// Close wakes all that is blocked, sends close_notify, for which it waits as long as SetCloseTimeout says at the most, and a
// FIN, throws away what has come in unread, so that no reset destroys what the peer has not read yet, and closes. It
// does not wait for the peer's own end. A Conn that is not closed is not freed: there are no finalizers.
//
// # Listener
//
// A [Listener] bounds the handshakes that are pending (MaxHandshakes). When there
// are as many, the peer that has been silent longest gives its place to the next
// connection, so that those who say nothing do not keep the rest out. It sets no
// deadline, which is left to the code that serves the connection.
//
// ALPN is a promise that the code that serves the connection has to keep. Package
// net/http speaks HTTP/2 over TLS on connections of crypto/tls alone: over a
// Listener whose Context offers h2, http.Server would answer in HTTP/1.1 to a
// client that agreed on HTTP/2. So Accept returns a *cssl.ConfigError there.
// Package sslhttp serves both protocols. A server that speaks HTTP/2 itself, such
// as one of gRPC, says so with AllowHTTP2. A Context that Config.ClientHello
// chooses is not looked at.
//
// # Errors
//
// They are those that users of crypto/tls and package net know, to be looked for with errors.Is: io.EOF after the peer's
// close_notify, io.ErrUnexpectedEOF after a bare FIN, os.ErrDeadlineExceeded (a net.Error, Timeout is true), net.ErrClosed, a
// syscall.Errno such as ECONNRESET. What TLS itself has to say is a [*cssl.Error], with whose alert it was. A handshake that failed
// stays failed.
//
// # Goroutines
//
// All methods of all types may be called from any goroutine.
package sslnet
