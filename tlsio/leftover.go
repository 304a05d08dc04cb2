package tlsio

import "errors"

// Leftover says what becomes of bytes that the peer has sent in the clear, and
// that the application has not consumed, when TLS starts on a connection that
// began in plain text (STARTTLS). With no setting are they taken for data that
// came encrypted.
type Leftover uint8

const (
	// LeftoverRefuse ends the connection with ErrPlaintextAfterStartTLS. A peer
	// that waits for the response to STARTTLS sends nothing, so such bytes are
	// an attempt to inject commands or responses (CVE-2011-0411; RFC 3207,
	// section 6).
	LeftoverRefuse Leftover = iota
	// LeftoverDiscard discards them.
	LeftoverDiscard
	// LeftoverTLS passes them to TLS as the peer's first bytes: for a port that
	// looks at the beginning of a ClientHello, and for protocols whose client
	// sends its ClientHello without waiting.
	LeftoverTLS
)

// ErrPlaintextAfterStartTLS is the error of a connection whose peer has sent
// plaintext behind STARTTLS; see LeftoverRefuse.
var ErrPlaintextAfterStartTLS = errors.New("tls: the peer sent plaintext after STARTTLS")
