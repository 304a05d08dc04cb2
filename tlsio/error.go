package tlsio

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
)

// Errors that say what was wrong with a call or a peer. They are found with
// errors.Is in what the operations answer.
var (
	// ErrLimit: the peer sent more KeyUpdates, tickets or renegotiations than
	// cssl.Config allows.
	ErrLimit = errors.New("peer went over the limit of post-handshake messages")
	// ErrState: the operation makes no sense at this point, such as a Write
	// before the handshake is done or a Shutdown after a fatal error.
	ErrState = errors.New("operation not possible in this state of the connection")
	// ErrShutdown: a Write after Shutdown.
	ErrShutdown = errors.New("write after shutdown")
	// ErrPSK: the handshake failed, and it seems for want of a pre-shared key
	// (cssl.Config.PSKs) that both sides have.
	ErrPSK = errors.New("no pre-shared key that both sides have: another identity, another key, another hash, or none")
	// ErrUnknown: SSL_get_error answered a value that this package does not know.
	ErrUnknown = errors.New("unknown answer of SSL_get_error")
)

// Reason is one entry of OpenSSL's error queue.
type Reason struct {
	// Code is OpenSSL's packed error code.
	Code uint64
	// Library is the part of OpenSSL that it came from, such as "SSL routines".
	Library string
	// Text is the reason, such as "certificate verify failed".
	Text string
	// Data is what OpenSSL added, such as a file name; often empty.
	Data string
}

// String is the reason with its library and data.
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

// AlertSide says whose alert it was.
type AlertSide uint8

// The sides.
const (
	AlertNone AlertSide = iota
	AlertSent
	AlertReceived
)

// Error is what an operation on a connection failed with. errors.Is finds io.EOF,
// io.ErrUnexpectedEOF, a syscall.Errno, an [Alert] and the Err… values of this
// package in it, whichever apply.
type Error struct {
	// Op is the operation that failed.
	Op Op
	// Reasons are OpenSSL's, oldest first; empty where OpenSSL gave none.
	Reasons []Reason
	// Alert is the TLS alert that ended the connection, if AlertSide is not AlertNone.
	Alert     Alert
	AlertSide AlertSide
	// Verify is OpenSSL's text for why the peer's certificate was refused, or empty.
	Verify string
	// Errno is not 0 if the transport failed; it is the system call's.
	Errno syscall.Errno
	// Err is io.EOF after a close_notify alert, io.ErrUnexpectedEOF after a bare
	// FIN, one of this package's Err… values, why a callback refused the
	// handshake, or nil. If Err is nil and Errno is 0, the TLS protocol failed
	// (SSL_ERROR_SSL).
	Err error
}

// Error says the operation, the cause, OpenSSL's reasons and whose alert it was.
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

// Unwrap gives errors.Is and errors.As the parts.
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

// Alert is a TLS alert description (RFC 8446, section 6). As an error it can
// be looked for: errors.Is(err, tlsio.AlertUnknownCA).
type Alert uint8

// The alerts of TLS 1.3, and of TLS 1.2 what is still sent (RFC 5246, section 7.2).
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

	// Of older versions.
	21:  "decryption failed",
	30:  "decompression failure",
	41:  "no certificate",
	60:  "export restriction",
	111: "certificate unobtainable",
	114: "bad certificate hash value",
}

// String is the alert's name.
func (a Alert) String() string {
	if s, ok := alertNames[a]; ok {
		return s
	}
	return "alert " + strconv.Itoa(int(a))
}

// Error makes an Alert findable with errors.Is.
func (a Alert) Error() string { return "tls alert: " + a.String() }
