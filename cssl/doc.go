// Package cssl is a thin binding to the system's OpenSSL (3.0 or newer) for
// non-blocking TLS.
//
//	        Context (SSL_CTX)            built once, immutable, shared
//	            │ NewConn / NewEngineConn
//	            ▼
//	plaintext  Conn (SSL)               one cgo call for one operation:
//	  ◄──Read──┤                          ERR_clear_error, SSL_…, SSL_get_error,
//	  ──Write─►┤                          errno, error queue → one Result
//	            │
//	        transport BIO ──── tail      ciphertext that the socket did not take
//	            │
//	          socket  or  Feed / Take    (no socket: the caller moves the bytes)
//
// # One cgo call for one operation
//
// OpenSSL keeps one error queue for each thread, and a goroutine may move to
// another thread between two cgo calls. So each operation is one C function: it
// clears the queue, calls OpenSSL, calls SSL_get_error and copies the queue's
// entries. Every operation returns a [tlsio.Result]: progress, a [tlsio.Want],
// or an error. These types are in package tlsio, which needs no cgo.
//
// # Goroutines and ownership
//
// A Context may be used from any goroutine. A Conn may be used by one goroutine
// at a time. The caller closes both; there are no finalizers. A Context may be
// closed while connections made from it are open. C keeps no Go pointer.
//
// # The transport
//
// The SSL reads and writes through a BIO of this package, which calls recv and
// send with MSG_NOSIGNAL. After a short recv the BIO does not call recv again
// within the same operation, since that call would fail with EAGAIN; a Read
// reports this in [tlsio.Result].Drained. With read-ahead, OpenSSL passes the
// BIO its whole record buffer, so one recv fetches header and body without an
// extra copy. A failed send fails the write direction only: data that the peer
// sent before it closed can still be read, and a handshake does not fail
// because the peer closed before it read the session tickets.
//
// Without a socket ([Context.NewEngineConn], "engine mode"), the caller passes
// ciphertext in with Feed and takes ciphertext out with Take, as with memory
// BIOs.
//
// # Reads while a write waits
//
// After SSL_write returned WANT_WRITE, OpenSSL's manual allows no operation on
// the SSL but the same SSL_write. If two peers both stream data and both follow
// this rule, they deadlock. OpenSSL 3.0 behaves as follows (the tests
// TestParkedWrite… show each case):
//
//   - Over a plain socket BIO (Config.Tail < 0), SSL_read works while an
//     SSL_write is unfinished, as long as OpenSSL itself has nothing to write.
//     If the peer requests KeyUpdates during long writes, or renegotiates,
//     SSL_read must write. It then finds the unfinished record and fails with
//     "bad length" or "bad write retry". (OpenSSL 3.0.19 defers its response to
//     a KeyUpdate where it can.)
//   - With a tail (the default), the BIO accepts the whole record: it sends
//     what the socket takes and keeps the rest, so SSL_write completes. While
//     there is a tail, Write returns WantWrite without calling SSL_write.
//     SSL_read is allowed at any time, and the response to a KeyUpdate is
//     queued behind the record. As usual, WantWrite means: wait until the
//     socket is writable, then call again.
//
// Config.Tail bounds the tail. It is allocated when needed and freed when sent.
// [tlsio.Result].Unsent reports that there is one, and Flush sends it. If the
// tail is full, a Read that must write (a renegotiation with a large
// certificate chain) returns WantWrite, as over any BIO.
//
// # Renegotiation and KeyUpdate
//
// If application data arrives during a renegotiation, SSL_do_handshake and
// SSL_write fail with a protocol error; SSL_read does not. So Write, Shutdown
// and Handshake continue a renegotiation with SSL_peek, which leaves the data
// in place. If data precedes the next handshake message, they return
// [tlsio.WantAppRead]: Read must take the data first.
//
// In TLS 1.2 a peer that has sent close_notify ignores handshake messages. So a
// renegotiation that is unfinished when it arrives returns io.EOF. A KeyUpdate
// (TLS 1.3) is still sent.
//
// # Early data
//
// Before the first Handshake a client may call WriteEarlyData and a server
// ReadEarlyData. Called in another order, operations return [tlsio.ErrState]
// and change nothing. docs/guide/handshake.md explains replay attacks.
//
// # End of stream
//
// A close_notify of the peer is io.EOF. A FIN without close_notify is
// io.ErrUnexpectedEOF. The BIO never reports end of input to OpenSSL, because
// OpenSSL 4.0 then treats the whole connection as closed; this package reports
// it instead. Only reading ends: queued data can still be written.
//
// # Waiting for the application
//
// With [Config].ClientHello, [Config].VerifyPeer and slow keys, the first
// handshake also waits for the application or for a key. An operation then
// returns a [tlsio.Want] whose Application method returns true. The function
// passed to [Conn].Bind is called when the operation should be tried again.
//
// OpenSSL's callback only suspends the handshake; this package calls the
// application after OpenSSL has returned. Where OpenSSL cannot suspend it (a
// server that verifies a certificate, a signature with a key in a token), each
// step of the handshake runs on its own goroutine, on buffers in memory instead
// of the socket: see Config.Offload.
//
// Three files hold this code: conn.go has the operations, conn.c their C
// functions, and handshaker.go the handshakes that wait for the application or
// run on their own goroutine.
//
// # Providers and keys in tokens
//
// A [Library] has its own providers, such as the FIPS provider or that of a
// token. A Context takes all its algorithms from Config.Library, filtered by
// Config.Properties. A key named by Certificate.KeyURI stays in its token, and
// Certificate.ChainURI names its certificates. A PKCS#12 file in
// Certificate.ChainFile is turned into PEM when it is read (keystore.c).
// docs/guide/handshake.md has the steps.
//
// # Direct records
//
// With [Config].Records set to [RecordsDirect], a server's connection frees its
// SSL when the handshake is done (direct_switch.c). direct.c then takes the
// place of SSL_read_ex, SSL_write_ex and SSL_shutdown; record.c seals and opens
// records on EVP. With [RecordsKernel], ktls.c hands the keys on to the kernel.
// docs/design/records.md has the reasons, and what differs.
//
// # The C files
//
// Go calls OpenSSL directly where the call cannot fail. C has the calls that
// must share one cgo call with the error queue, and the callbacks. A C file
// calls only files on the lines below it, and Go functions (cssl_go_…). The
// header that declares a function says what it may block on, which callbacks
// may run in it, and who frees what.
//
//	conn.c                               the operations; makes and frees an SSL
//	context.c                            makes and frees an SSL_CTX; cssl_init
//	msg_callback.c                       alerts, limits, the first ClientHello
//	decide.c                             decisions; switching the SSL_CTX
//	session.c    conn_info.c  engine.c   sessions; State; Feed and Take
//	direct.c                             the operations without an SSL
//	ktls.c                               the same, by the kernel
//	direct_switch.c                      from an SSL to direct records
//	byname.c     psk.c        tickets.c  settings kept beside an SSL_CTX
//	recordsize.c earlydata.c  staples.c  extension.c
//	ech.c        rawkey.c
//	certs.c      keystore.c   library.c  certificates and keys; providers
//	signer.c                             keys that Go has
//	transport.c  record.c                the BIO; keys, sealing and opening
//	exdata.c     errors.c     newer.c    data of an SSL_CTX or SSL; error queue;
//	                                     functions newer than OpenSSL 3.0
package cssl

// On other platforms, and without cgo, its error says what is needed.
import _ "github.com/spacemonad/go-openssl/internal/platform"
