// Package cssl is a thin binding to the system's OpenSSL (3.0 or newer) for
// non-blocking TLS.
//
//	        Context (SSL_CTX)            built once, immutable, shared
//	            │ NewConn / NewEngineConn
//	            ▼
//	plaintext  Conn (SSL)               one crossing into C for one operation:
//	  ◄──Read──┤                          ERR_clear_error, SSL_…, SSL_get_error,
//	  ──Write─►┤                          errno, error queue → one Result
//	            │
//	        transport BIO ──── tail      ciphertext that the socket did not take
//	            │
//	          socket  or  Feed / Take    (engine mode: the caller moves the bytes)
//
// # One crossing
//
// OpenSSL's error queue belongs to the thread, and a goroutine may change its
// thread between two cgo calls. So each operation is one C function that clears
// the queue, calls OpenSSL, asks SSL_get_error and takes the queue's entries
// along. Every operation returns a [tlsio.Result]: progress, a [tlsio.Want], or an error.
//
// # The transport
//
// The BIO below the SSL is this package's own. It uses recv and send with
// MSG_NOSIGNAL. Within one operation it remembers a short recv and saves the one
// that would fail with EAGAIN, and a Read says so ([tlsio.Result].Drained). With
// read-ahead OpenSSL hands it the whole of its own record buffer, so header and
// body come with one recv and no copy. A failed send belongs to the write
// direction alone: what the peer said before it went away can still be read, and
// tickets that a peer does not wait for do not fail the handshake.
//
// In engine mode there is no socket: Feed takes ciphertext in and Take takes it
// out, for an event loop that owns the bytes.
//
// # Reads while a write waits
//
// OpenSSL's manual allows no other operation on an SSL whose SSL_write returned
// WANT_WRITE, except the same SSL_write again. But two peers that both stream and
// both obey it wait for each other for ever. OpenSSL 3.0 does this (the tests
// TestParkedWrite… show each):
//
//   - Over a plain socket BIO (Config.Tail < 0) SSL_read works while an SSL_write
//     is unfinished, as long as OpenSSL itself has nothing to write. When the peer
//     asks for KeyUpdates while long writes are under way, or renegotiates,
//     SSL_read must write, finds the unfinished record in the way and fails with
//     "bad length" or "bad write retry". (OpenSSL 3.0.19 puts the answer to a
//     KeyUpdate off where it can.)
//   - With a tail (the default) the BIO takes the whole record: it sends what the
//     socket takes and keeps the rest, so SSL_write completes. While a tail is
//     left, Write returns WantWrite without entering SSL_write. SSL_read is
//     allowed at any time, and the answer to the KeyUpdate is kept behind the
//     record. WANT_WRITE keeps its meaning: wait until the socket takes bytes,
//     then call again.
//
// The tail is bounded (Config.Tail), allocated only while needed and freed when
// it has been sent. [tlsio.Result].Unsent says that there is one, and Flush sends it.
// When the tail is full, a Read that must write (a renegotiation with a large
// certificate chain) returns WantWrite like over any BIO.
//
// # Handshakes after the first
//
// SSL_do_handshake and SSL_write treat application data that arrives in the midst
// of a renegotiation as a protocol error; SSL_read does not. So Write, Shutdown
// and Handshake carry an unfinished renegotiation on by SSL_peek, which is a read
// that leaves the data in place. If such data stands in the way they return
// [tlsio.WantAppRead]: Read must take it first.
//
// After the peer's close_notify TLS 1.2 has no renegotiation any more: its sender
// ignores handshake messages, and an unfinished renegotiation returns io.EOF. A
// KeyUpdate is still sent.
//
// # Early data
//
// Before the first Handshake a client may call WriteEarlyData and a server
// ReadEarlyData, each an operation like the others. In another order they return
// [tlsio.ErrState], and nothing is lost. docs/tls13.md tells what a replay is.
//
// # End of stream
//
// io.EOF is the peer's close_notify. A bare FIN is io.ErrUnexpectedEOF. The BIO
// never tells OpenSSL of the end of input, which OpenSSL 4.0 takes for the end of
// the connection; this package reports it. So it fails the read alone, and queued
// data can still be written.
//
// # Waiting for the application
//
// [Config].ClientHello, [Config].VerifyPeer and slow keys make the first
// handshake wait for something else than the transport. Its operations return a
// [tlsio.Want] for which Application is true, and the function given to [Conn].Bind is
// called when they are to be tried again. OpenSSL calls no Go code for that: its
// callbacks suspend the handshake, and the application is asked outside. Where
// OpenSSL cannot suspend it (a server that verifies, a key in a token) the step
// of the handshake runs on a goroutine of its own, in memory and without the
// socket, see Config.Offload.
//
// Three files have the whole way. conn.go has the operations, conn.c the C side
// of each, and handshaker.go what a handshake does that waits for the
// application or runs off its owner's goroutine.
//
// # Providers and keys in tokens
//
// A [Library] has providers of its own: the FIPS provider, that of a token. A
// Context that is built with it, and with Config.Properties, takes all that it
// computes from there. A key that is named by Certificate.KeyURI stays in its
// token. docs/keys.md has the steps.
//
// # The C files
//
// Settings go to OpenSSL from Go where it cannot refuse them; C has what must share
// one crossing with the error queue, and the callbacks. Each C file calls only
// those in the lines below its own, and nothing calls back but Go (cssl_go_…).
// What a function may block on, what it may call and who frees what stands in the
// header that declares it.
//
//	conn.c                               an operation, from the crossing to its result; makes and frees a connection
//	context.c                            makes and frees an SSL_CTX; cssl_init
//	msg_callback.c                       alerts, limits, the first ClientHello
//	decide.c                             what the application decides; the change to another SSL_CTX
//	session.c    conn_info.c  engine.c   sessions; what a connection tells; Feed and Take
//	byname.c     psk.c        tickets.c  what is beside an SSL_CTX
//	recordsize.c earlydata.c
//	certs.c      keystore.c   library.c  certificates and keys; providers
//	transport.c                          the BIO
//	exdata.c     errors.c                what is kept beside an SSL_CTX and an SSL; the error queue
//
// # Rules
//
// A Context may be used from any goroutine. A Conn belongs to one goroutine at a
// time. The owner of each closes it; there are no finalizers. A Context may be
// closed while connections made from it live. No Go pointer is kept by C.
//
// What operations return ([tlsio.Result], [tlsio.Want], [tlsio.Error]) are types of package tlsio,
// which needs no cgo.
package cssl

// It says what is needed where this package does not build.
import _ "github.com/spacemonad/go-openssl/internal/platform"
