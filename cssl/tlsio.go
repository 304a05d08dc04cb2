package cssl

import "github.com/spacemonad/go-openssl/tlsio"

// The types of package tlsio, which operations on a [Conn] return.
type (
	// Result is what an operation returns.
	Result = tlsio.Result
	// Want says what an operation waits for.
	Want = tlsio.Want
	// Op names an operation.
	Op = tlsio.Op
	// Error is what an operation failed with.
	Error = tlsio.Error
	// Class says in which way an operation failed.
	Class = tlsio.Class
	// Reason is one entry of OpenSSL's error queue.
	Reason = tlsio.Reason
	// Alert is a TLS alert description, and an error.
	Alert = tlsio.Alert
	// AlertSide says whose alert it was.
	AlertSide = tlsio.AlertSide
)

// MaxPlaintext is the most bytes of plaintext that a TLS record carries.
const MaxPlaintext = tlsio.MaxPlaintext

// What an operation waits for; see package tlsio.
const (
	WantNone        = tlsio.WantNone
	WantRead        = tlsio.WantRead
	WantWrite       = tlsio.WantWrite
	WantAsync       = tlsio.WantAsync
	WantClientHello = tlsio.WantClientHello
	WantRetryVerify = tlsio.WantRetryVerify
	WantAppRead     = tlsio.WantAppRead
)

// The operations, and how many there are.
const (
	OpHandshake          = tlsio.OpHandshake
	OpRead               = tlsio.OpRead
	OpPeek               = tlsio.OpPeek
	OpWrite              = tlsio.OpWrite
	OpFlush              = tlsio.OpFlush
	OpShutdown           = tlsio.OpShutdown
	OpKeyUpdate          = tlsio.OpKeyUpdate
	OpRenegotiate        = tlsio.OpRenegotiate
	OpRequestCertificate = tlsio.OpRequestCertificate
	OpReadEarlyData      = tlsio.OpReadEarlyData
	OpWriteEarlyData     = tlsio.OpWriteEarlyData

	Ops = tlsio.Ops
)

// In which way an operation failed; see package tlsio.
const (
	ClassSSL     = tlsio.ClassSSL
	ClassSyscall = tlsio.ClassSyscall
	ClassEOF     = tlsio.ClassEOF
	ClassState   = tlsio.ClassState
	ClassLimit   = tlsio.ClassLimit
	ClassUnknown = tlsio.ClassUnknown
)

// Whose alert it was.
const (
	AlertNone     = tlsio.AlertNone
	AlertSent     = tlsio.AlertSent
	AlertReceived = tlsio.AlertReceived
)

// The errors of package tlsio, to be found with errors.Is.
var (
	ErrLimit    = tlsio.ErrLimit
	ErrState    = tlsio.ErrState
	ErrShutdown = tlsio.ErrShutdown
	ErrPSK      = tlsio.ErrPSK
	ErrUnknown  = tlsio.ErrUnknown
)
