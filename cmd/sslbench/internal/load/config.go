package load

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spacemonad/go-openssl/cssl"
)

// Kind says what the connections of a Load do.
type Kind string

const (
	Handshake Kind = "full-handshake"    // connect, handshake, close_notify both ways, again and again on each of Conns slots
	Resume    Kind = "resumed-handshake" // the same with sessions that the server gave earlier
	// Request sends messages of Size bytes and waits for the answer to each: the next one straight
	// after it (closed loop), or by the clock if Rate is set (open loop).
	Request Kind = "request"
	Stream  Kind = "stream" // sends and receives at once, with Size bytes under way on each connection
	Send    Kind = "send"   // sends as fast as the server takes it; the server answers nothing
	Idle    Kind = "idle"   // opens connections and holds them
)

// Kinds are all kinds.
var Kinds = []Kind{Handshake, Resume, Request, Stream, Send, Idle}

// Answer is what the server does with what it gets.
type Answer string

const (
	Echo    Answer = "echo"    // the same bytes
	Reverse Answer = "reverse" // each line reversed, as openssl s_server -rev does
)

// Config says what a Load does, and to whom.
type Config struct {
	Target string // host:port
	Kind   Kind
	Answer Answer  // for Request and Stream (which needs Echo); default Echo
	Conns  int     // connections at once; default 1
	Size   int     // bytes of one message (Request), or under way (Stream); default 1024
	Rate   float64 // how many messages a second all connections send together (Request only); 0 is closed loop

	Ramp       time.Duration // over which the connections are opened, evenly; 0 is as fast as the server takes them
	Loops      int           // event loops; default 1
	Timeout    time.Duration // of connect and handshake together, and of the wait for one answer; default 10 s
	Background bool          // the loops give way to all other threads of their cores (sched(7), SCHED_IDLE)

	TLS        cssl.Config // the client's settings: CA, verification, versions, ciphers, groups, ALPN
	ServerName string      // sent as SNI and checked against the certificate; default: the target's host
}

// Limits of a Config. A message, or a window of a stream, is queued as a whole, so its size
// times the connections is memory.
const (
	MaxSize = 16 << 20 // of a message or window
	MaxLine = 16 << 10 // of a message for Reverse
	maxRate = 10e6
)

// persistent reports whether connections outlive a Run.
func (c *Config) persistent() bool { return c.Kind == Request || c.Kind == Stream || c.Kind == Idle }

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	c.Answer = cmp.Or(c.Answer, Echo)
	c.Conns, c.Size, c.Loops = cmp.Or(c.Conns, 1), cmp.Or(c.Size, 1024), cmp.Or(c.Loops, 1)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	if host, _, err := net.SplitHostPort(c.Target); err == nil && c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// Check says what is wrong with the settings, apart from those of TLS, which New tries out.
func (c Config) Check() error {
	c = c.withDefaults()
	host, port, err := net.SplitHostPort(c.Target)
	if err != nil || host == "" {
		return fmt.Errorf("target %q: want host:port", c.Target)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "0" {
		return fmt.Errorf("target %q: bad port %q", c.Target, port)
	}
	least, most := 1, MaxSize
	switch {
	case !slices.Contains(Kinds, c.Kind):
		return fmt.Errorf("kind %q is not known: use one of %v", c.Kind, Kinds)
	case c.Answer == Reverse && c.Kind != Request:
		return fmt.Errorf("answer %q: only requests can be answered so", c.Answer)
	case c.Answer == Reverse:
		least, most = 2, MaxLine
	case c.Answer != Echo:
		return fmt.Errorf("answer %q is not known: use %q or %q", c.Answer, Echo, Reverse)
	}
	if (c.Kind == Request || c.Kind == Stream) && (c.Size < least || c.Size > most) {
		return fmt.Errorf("size %d: use %d to %d bytes", c.Size, least, most)
	}
	switch {
	case c.Rate != 0 && c.Kind != Request:
		return fmt.Errorf("rate %v: only requests are sent at a rate", c.Rate)
	case c.Rate < 0 || c.Rate > maxRate || math.IsNaN(c.Rate):
		return fmt.Errorf("rate %v: use up to %d messages a second, or 0 for as many as are answered", c.Rate, int(maxRate))
	case c.Conns < 1:
		return fmt.Errorf("%d connections: at least one is needed", c.Conns)
	case c.Loops < 1 || c.Loops > 1024:
		return fmt.Errorf("%d loops: use 1 to 1024", c.Loops)
	case c.Ramp < 0:
		return fmt.Errorf("ramp %v: must not be negative", c.Ramp)
	case c.Timeout < time.Millisecond:
		return fmt.Errorf("timeout %v: use at least 1ms", c.Timeout)
	}
	return nil
}

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
	Facts                       // of the first connection's handshake
}

// Add adds what another Run did, or another Load.
func (r *Result) Add(o Result) {
	r.Elapsed += o.Elapsed
	r.Units += o.Units
	r.Sent += o.Sent
	r.Received += o.Received
	r.Opened += o.Opened
	if r.Latency == nil {
		r.Latency = NewHistogram()
	}
	if o.Latency != nil {
		r.Latency.Merge(o.Latency)
	}
	for what, n := range o.Failures {
		if r.Failures == nil {
			r.Failures, r.Examples = map[Failure]uint64{}, map[Failure]string{}
		}
		r.Failures[what] += n
		r.Examples[what] = o.Examples[what]
	}
	r.Facts = cmp.Or(r.Facts, o.Facts)
}

// Facts are what a handshake has agreed on.
type Facts struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	Group   string `json:"group"`
	ALPN    string `json:"alpn"`
}
