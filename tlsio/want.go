package tlsio

import "fmt"

// Want says what an operation waits for. Wait in the direction that the Want
// names, not in the direction of the operation: a Read may have to wait for
// writability and a Write for readability. Then call the same operation again
// with the same bytes.
//
// Each Want but WantAppRead corresponds to a result of SSL_get_error(3).
type Want uint8

const (
	// WantNone means that the operation waits for nothing.
	WantNone Want = iota
	// WantRead means that the transport must become readable.
	WantRead
	// WantWrite means that the transport must become writable; without a socket
	// (cssl.Context.NewEngineConn), that the output must be taken.
	WantWrite
	// WantAsync means that a step of the handshake runs on another goroutine
	// (cssl.Config.Offload).
	WantAsync
	// WantClientHello means that the application's client hello callback has
	// not decided yet.
	WantClientHello
	// WantRetryVerify means that the application's verification callback has
	// not decided yet.
	WantRetryVerify
	// WantAppRead means that application data has arrived before the handshake
	// message that the operation needs (during a renegotiation). No event of
	// the transport ends this wait: call Read first. SSL_get_error(3) has no
	// such value; OpenSSL alone would fail the connection.
	WantAppRead

	wantEnd
)

var wantNames = [wantEnd]string{
	"NONE", "WANT_READ", "WANT_WRITE", "WANT_ASYNC", "WANT_CLIENT_HELLO_CB", "WANT_RETRY_VERIFY", "WANT_APP_READ",
}

// String returns a name such as WANT_READ: as in SSL_get_error(3), without
// SSL_ERROR_.
func (w Want) String() string {
	if w < wantEnd {
		return wantNames[w]
	}
	return fmt.Sprintf("Want(%d)", uint8(w))
}

// Application reports whether the operation waits for the application or for
// another goroutine. No event of the transport ends such a wait: call the
// operation again when the function passed to cssl.Conn.Bind is called.
func (w Want) Application() bool { return w >= WantAsync && w <= WantRetryVerify }

// Result is the result of an operation: exactly one of progress (Want is
// WantNone and Err is nil), a Want, or an error.
type Result struct {
	// N is the number of bytes of plaintext that Read, Peek, Write,
	// ReadEarlyData or WriteEarlyData moved. With an error of Write, it counts
	// the bytes that were written before.
	N int
	// Want is what the operation waits for.
	Want Want
	// In reports that ciphertext was taken from the transport, even if the
	// operation itself made no progress. Another operation that waits for
	// readability may now be able to continue.
	In bool
	// Out reports that ciphertext was handed to the transport.
	Out bool
	// Unsent reports that the transport has refused ciphertext that is still to
	// be sent. Flush sends it; without a socket, Take takes it.
	Unsent bool
	// Held reports that ciphertext has not been offered to the transport yet
	// because it is not urgent: the tickets of a TLS 1.3 server. The next Write
	// or Flush sends it.
	Held bool
	// Drained reports, with progress of a Read, that nothing is buffered and
	// that the transport had no more input: another Read now would return
	// WantRead.
	Drained bool
	// Certificate reports that the peer's answer to RequestCertificate has
	// arrived and was accepted. Any operation that takes input can report it,
	// also with a Want.
	Certificate bool
	// Err is nil or, usually, an [*Error].
	Err error
}

// Unblocks reports whether another operation on the same connection that waits
// for w must be tried again after op returned r. That is so if op moved
// ciphertext in the direction of w, because the transport may not report that
// direction again. A Read also ends WantAppRead, even if it finds no data.
func (r Result) Unblocks(op Op, w Want) bool {
	return r.In && w == WantRead || r.Out && w == WantWrite || op == OpRead && w == WantAppRead
}

// MaxPlaintext is the largest number of bytes of plaintext in a TLS record (RFC
// 8446, section 5.1).
const MaxPlaintext = 1 << 14

// Op names an operation on a connection.
type Op uint8

const (
	OpHandshake Op = iota
	OpRead
	OpPeek
	OpWrite
	OpFlush
	OpShutdown
	OpKeyUpdate
	OpRenegotiate
	OpRequestCertificate
	OpReadEarlyData
	OpWriteEarlyData

	opEnd
)

// Ops is the number of operations, as the length of an array that an Op
// indexes.
const Ops = int(opEnd)

var opNames = [opEnd]string{"handshake", "read", "peek", "write", "flush", "shutdown", "key update", "renegotiate",
	"request certificate", "read early data", "write early data"}

// String returns the operation's name in lower case.
func (o Op) String() string {
	if o < opEnd {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}
