package tlsio

import "fmt"

// Want says what an operation waits for. The direction to wait in is the one
// that the result names, never the one that the call suggests: a read may want
// to write and a write may want to read. When it has come, the same operation
// is called again with the same bytes.
//
// The values follow SSL_get_error(3).
type Want uint8

const (
	// WantNone: the operation waits for nothing.
	WantNone Want = iota
	// WantRead: the transport must become readable.
	WantRead
	// WantWrite: the transport must become writable; in engine mode, the output must be taken.
	WantWrite
	// WantAsync: an asynchronous engine or provider works on it.
	WantAsync
	// WantClientHello: the application's client hello callback asked to be called again.
	WantClientHello
	// WantRetryVerify: the application's verification callback asked to be called again.
	WantRetryVerify
	// WantAppRead: application data has arrived before the handshake message
	// that the operation needs (a renegotiation under way). No event of the
	// transport helps: Read must take the data first. This one is not of
	// SSL_get_error; OpenSSL itself would fail the connection.
	WantAppRead

	wantEnd
)

var wantNames = [wantEnd]string{
	"NONE", "WANT_READ", "WANT_WRITE", "WANT_ASYNC", "WANT_CLIENT_HELLO_CB", "WANT_RETRY_VERIFY", "WANT_APP_READ",
}

// String is the name that OpenSSL's manual uses.
func (w Want) String() string {
	if w < wantEnd {
		return wantNames[w]
	}
	return fmt.Sprintf("Want(%d)", uint8(w))
}

// Application reports whether the application must act, and the operation be
// called again afterwards; no event of the transport ends such a wait.
func (w Want) Application() bool { return w >= WantAsync && w <= WantRetryVerify }

// Result is what an operation answers: exactly one of progress (Want is
// WantNone and Err is nil), a Want, or an error.
type Result struct {
	// N is the number of bytes of plaintext that Read, Peek, Write, ReadEarlyData or WriteEarlyData moved.
	N int
	// Want is what the operation waits for.
	Want Want
	// In: ciphertext was taken from the transport, also if the operation itself
	// made no progress. Another operation that wants to read may be able to go on.
	In bool
	// Out: ciphertext was handed to the transport.
	Out bool
	// Unsent: ciphertext is left that the transport has not taken yet. Flush
	// sends it; in engine mode, Take takes it.
	Unsent bool
	// Held: ciphertext is kept that was not offered to the transport yet, for nobody waits
	// for it: the tickets of a TLS 1.3 server. It leaves with the next Write, or by Flush.
	Held bool
	// Drained, with progress of a Read: nothing is buffered and the transport had
	// no more just now, so a Read straight after this one would answer WantRead.
	Drained bool
	// Certificate: the peer's answer to a RequestCertificate has come, and was accepted. It can come with any operation that
	// takes input, also with a want.
	Certificate bool
	// Err is nil, or usually an [*Error].
	Err error
}

// Unblocks reports whether another operation on the same connection, which
// waits for w, must be tried again now that op returned r: op has moved what the
// other one waits for, and the transport may not report it again. A Read ends
// the wait for a Read also when it finds no data: then none is in the way.
func (r Result) Unblocks(op Op, w Want) bool {
	return r.In && w == WantRead || r.Out && w == WantWrite || op == OpRead && w == WantAppRead
}

// MaxPlaintext is the most bytes of plaintext that a TLS record carries (RFC
// 8446, section 5.1).
const MaxPlaintext = 1 << 14

// Op names an operation on a connection.
type Op uint8

// The operations.
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

// Ops is the number of operations, for arrays that an Op indexes.
const Ops = int(opEnd)

var opNames = [opEnd]string{"handshake", "read", "peek", "write", "flush", "shutdown", "key update", "renegotiate",
	"request certificate", "read early data", "write early data"}

// String is the operation's name in lower case.
func (o Op) String() string {
	if o < opEnd {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}
