package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Failure names what can go wrong with a connection or a message.
type Failure string

const (
	Refused     Failure = "refused"           // nobody listens, or the address cannot be reached
	NotTLS      Failure = "not TLS"           // the answer is not TLS
	Certificate Failure = "certificate"       // the server's certificate does not verify
	Rejected    Failure = "handshake failed"  // any other failure of the handshake, such as no common cipher
	NotResumed  Failure = "not resumed"       // a full handshake where a resumed one was asked for
	Closed      Failure = "closed midway"     // the server ended the connection, or reset it, with work open
	WrongBytes  Failure = "wrong bytes"       // an answer differs from what was asked for
	TimedOut    Failure = "timed out"         // no answer within Config.Timeout
	TooSlow     Failure = "slower than asked" // messages that were due and could not be sent by the end; see below
	Local       Failure = "local"             // this side ran out of something: descriptors, ports
)

// A server that is slower than Config.Rate leaves messages behind that are due and
// cannot be sent, since an earlier one on their connection has no answer yet. They
// count as TooSlow if, at the end of the duration, the oldest of its connection has
// been waiting for longer than a hundredth of the duration and for longer than 250
// ms, which the jitter of a loaded machine does not reach. They are sent
// nevertheless and waited for up to Config.Timeout, so those that are answered are
// in Units and Latency as well. What remains then, or was due on a connection that
// has failed, is dropped and counts as TooSlow too, if it has not yet.

// Result is what one Run did. Opened, Latency (of Idle) and the failures also have what happened in calls of
// Open, and between calls, since the Run before.
type Result struct {
	Elapsed  time.Duration
	Units    uint64 // messages answered, or handshakes done (for Idle: connections opened); 0 for streams
	Sent     uint64 // payload bytes
	Received uint64
	Opened   uint64 // connections opened
	Open     int    // connections open at the end
	// Latency in nanoseconds: from the moment at which a message was due (open loop) or sent (closed loop) to its whole
	// answer; for handshakes from connect to their end; for idle connections the same. In an open loop a message that
	// waits behind others counts from when it should have been sent, so that a server that
	// stalls cannot hide it (coordinated omission).
	Latency  *hdrhistogram.Histogram
	Failures map[Failure]uint64
	Examples map[Failure]string // the text of the first of each
	// Facts of the first connection's handshake.
	Version, Cipher, Group, ALPN string
}
