package tlsio

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
)

// Errors that a call or a peer caused. errors.Is finds them in the errors that
// operations return.
var (
	// ErrLimit is returned when the peer sent more KeyUpdates, tickets or
	// renegotiations than cssl.Config allows, and by a Write of direct records
	// when one key has sealed as many records as it may and the version has no
	// KeyUpdate (TLS 1.2).
	ErrLimit = errors.New("too many post-handshake messages from the peer, or records under one key")
	// ErrState is returned when the operation is not possible in the
	// connection's state, such as a Write before the handshake is done or a
	// Shutdown after a fatal error.
	ErrState = errors.New("not possible in the connection's state")
	// ErrShutdown is returned by a Write after Shutdown.
	ErrShutdown = errors.New("write after shutdown")
	// ErrPSK is returned when the handshake failed, probably because the two
	// sides have no pre-shared key in common (cssl.Config.PSKs).
	ErrPSK = errors.New("no pre-shared key in common: identity, key or hash differ, or one side has none")
	// ErrUnknown is returned when SSL_get_error(3) returned a value that this
	// module does not know.
	ErrUnknown = errors.New("unknown value of SSL_get_error")
)

// Reason is one entry of OpenSSL's error queue (ERR_get_error(3)).
type Reason struct {
	// Code is the packed error code.
	Code uint64
	// Library is the part of OpenSSL that reported it, such as "SSL routines".
	Library string
	// Text is the reason, such as "certificate verify failed".
	Text string
	// Data is additional text, such as a file name; often empty.
	Data string
}

// String returns the reason with its library and data.
func (r Reason) String() string {
	s := r.Text
	if r.Library != "" {
		s = r.Library + ": " + s
	}
	if r.Data != "" {
		s += " (" + r.Data + ")"
	}
	return s
}

// AlertSide says which side sent an alert.
type AlertSide uint8

const (
	AlertNone AlertSide = iota
	AlertSent
	AlertReceived
)

// Error is the error of an operation on a connection. errors.Is finds io.EOF,
// io.ErrUnexpectedEOF, a syscall.Errno, an [Alert] and the Err… values of this
// package in it, whichever apply.
type Error struct {
	// Op is the operation that failed.
	Op Op
	// Reasons are OpenSSL's, oldest first; empty if OpenSSL gave none.
	Reasons []Reason
	// Alert is the alert that ended the connection. It is valid if AlertSide is
	// not AlertNone.
	Alert     Alert
	AlertSide AlertSide
	// Verify is OpenSSL's text for why the peer's certificate was rejected, or
	// empty.
	Verify string
	// Errno is the error of the system call if the transport failed, and
	// otherwise 0.
	Errno syscall.Errno
	// Err is io.EOF after a close_notify alert, io.ErrUnexpectedEOF after a FIN
	// without one, an Err… value of this package, the error with which a
	// callback refused the handshake, or nil. If Err is nil and Errno is 0,
	// OpenSSL failed (SSL_ERROR_SSL, SSL_ERROR_SYSCALL), and the connection
	// cannot be used any more.
	Err error
}

// Error returns the operation, the cause, OpenSSL's reasons and the alert.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("tls: ")
	b.WriteString(e.Op.String())
	sep := ": "
	put := func(s string) {
		b.WriteString(sep)
		b.WriteString(s)
		sep = "; "
	}
	if e.Err != nil {
		put(e.Err.Error())
	}
	if e.Errno != 0 {
		put(e.Errno.Error())
	}
	for _, r := range e.Reasons {
		put(r.String())
	}
	if e.Verify != "" {
		put(e.Verify)
	}
	switch e.AlertSide {
	case AlertSent:
		put("alert sent: " + e.Alert.String())
	case AlertReceived:
		put("alert received: " + e.Alert.String())
	}
	if sep == ": " {
		put("failed")
	}
	return b.String()
}

// Unwrap returns the parts for errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var parts []error
	if e.Err != nil {
		parts = append(parts, e.Err)
	}
	if e.Errno != 0 {
		parts = append(parts, e.Errno)
	}
	if e.AlertSide != AlertNone {
		parts = append(parts, e.Alert)
	}
	return parts
}

// Alert is a TLS alert description (RFC 8446, section 6). errors.Is(err,
// tlsio.AlertUnknownCA) finds it in an Error.
type Alert uint8

// The alerts of TLS 1.3 and those of TLS 1.2 that are still in use (RFC 5246,
// section 7.2).
const (
	AlertCloseNotify                  Alert = 0
	AlertUnexpectedMessage            Alert = 10
	AlertBadRecordMAC                 Alert = 20
	AlertRecordOverflow               Alert = 22
	AlertHandshakeFailure             Alert = 40
	AlertBadCertificate               Alert = 42
	AlertUnsupportedCertificate       Alert = 43
	AlertCertificateRevoked           Alert = 44
	AlertCertificateExpired           Alert = 45
	AlertCertificateUnknown           Alert = 46
	AlertIllegalParameter             Alert = 47
	AlertUnknownCA                    Alert = 48
	AlertAccessDenied                 Alert = 49
	AlertDecodeError                  Alert = 50
	AlertDecryptError                 Alert = 51
	AlertProtocolVersion              Alert = 70
	AlertInsufficientSecurity         Alert = 71
	AlertInternalError                Alert = 80
	AlertInappropriateFallback        Alert = 86
	AlertUserCanceled                 Alert = 90
	AlertNoRenegotiation              Alert = 100
	AlertMissingExtension             Alert = 109
	AlertUnsupportedExtension         Alert = 110
	AlertUnrecognizedName             Alert = 112
	AlertBadCertificateStatusResponse Alert = 113
	AlertUnknownPSKIdentity           Alert = 115
	AlertCertificateRequired          Alert = 116
	AlertNoApplicationProtocol        Alert = 120
)

var alertNames = map[Alert]string{
	AlertCloseNotify:                  "close notify",
	AlertUnexpectedMessage:            "unexpected message",
	AlertBadRecordMAC:                 "bad record MAC",
	AlertRecordOverflow:               "record overflow",
	AlertHandshakeFailure:             "handshake failure",
	AlertBadCertificate:               "bad certificate",
	AlertUnsupportedCertificate:       "unsupported certificate",
	AlertCertificateRevoked:           "certificate revoked",
	AlertCertificateExpired:           "certificate expired",
	AlertCertificateUnknown:           "certificate unknown",
	AlertIllegalParameter:             "illegal parameter",
	AlertUnknownCA:                    "unknown CA",
	AlertAccessDenied:                 "access denied",
	AlertDecodeError:                  "decode error",
	AlertDecryptError:                 "decrypt error",
	AlertProtocolVersion:              "protocol version",
	AlertInsufficientSecurity:         "insufficient security",
	AlertInternalError:                "internal error",
	AlertInappropriateFallback:        "inappropriate fallback",
	AlertUserCanceled:                 "user canceled",
	AlertNoRenegotiation:              "no renegotiation",
	AlertMissingExtension:             "missing extension",
	AlertUnsupportedExtension:         "unsupported extension",
	AlertUnrecognizedName:             "unrecognized name",
	AlertBadCertificateStatusResponse: "bad certificate status response",
	AlertUnknownPSKIdentity:           "unknown PSK identity",
	AlertCertificateRequired:          "certificate required",
	AlertNoApplicationProtocol:        "no application protocol",

	// Alerts of older versions.
	21:  "decryption failed",
	30:  "decompression failure",
	41:  "no certificate",
	60:  "export restriction",
	111: "certificate unobtainable",
	114: "bad certificate hash value",
}

// String returns the alert's name.
func (a Alert) String() string {
	if s, ok := alertNames[a]; ok {
		return s
	}
	return "alert " + strconv.Itoa(int(a))
}

// Error makes Alert an error, so that errors.Is can find it.
func (a Alert) Error() string { return "tls alert: " + a.String() }
