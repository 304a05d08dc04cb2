package session

import "github.com/spacemonad/go-openssl/tlsio"

// Engine is the TLS connection below a Session; *cssl.Conn is one. Each
// operation returns exactly one of progress, a want, or an error, and reports
// what it moved; see [tlsio.Result]. After a want the session calls the same
// operation again, Write with the same bytes. What it may call after a failure
// depends on the failure:
//
//   - After io.EOF or io.ErrUnexpectedEOF from Read: all but Read.
//   - After a failed Write, Flush or Shutdown: Flush, Read and the first
//     Handshake.
//   - After a KeyUpdate, Renegotiate or RequestCertificate that failed with
//     tlsio.ErrState or io.EOF, also in Handshake: everything.
//   - After any other failure: Flush.
type Engine interface {
	// Handshake continues the handshake. Progress means that it is done.
	Handshake() tlsio.Result
	// Read reads at least one byte into p. The end of the peer's direction is
	// io.EOF or io.ErrUnexpectedEOF.
	Read(p []byte) tlsio.Result
	// Write accepts at least one byte of p. If it fails, N counts the bytes that
	// it accepted before.
	Write(p []byte) tlsio.Result
	// Flush sends what the engine holds for its transport. Progress means that
	// nothing is left.
	Flush() tlsio.Result
	// Shutdown sends close_notify. Progress means that close_notify has left
	// the engine, but perhaps not yet the transport.
	Shutdown() tlsio.Result
	// CloseWrite ends our direction of the transport (a FIN). It is called
	// once, after Shutdown, when nothing is unsent.
	CloseWrite() error
}

// FullEngine is an Engine with all that Session can use; *cssl.Conn is one. A
// Session over an Engine that is not a FullEngine reads no early data, and its
// KeyUpdate, Renegotiate and RequestCertificate return errors.ErrUnsupported.
type FullEngine interface {
	Engine
	// ReadEarlyData reads at least one byte of early data into p, before the
	// first Handshake. The end of early data is io.EOF.
	ReadEarlyData(p []byte) tlsio.Result
	// WriteBuffers is Write for the bytes of up to four buffers, none of which
	// is empty or larger than a record. It may accept any number of them, also
	// from within a buffer. After a want, only the first buffer must be the same
	// again. more says that further data or close_notify follows at once, so
	// that the transport can send them together.
	WriteBuffers(bufs [][]byte, more bool) tlsio.Result
	// ShutdownMore is Shutdown when CloseWrite follows at once.
	ShutdownMore() tlsio.Result
	// KeyUpdate and RequestCertificate send a post-handshake message,
	// Renegotiate begins a new handshake. After a want, Handshake continues it.
	// The peer's answer to RequestCertificate arrives with any operation, as
	// Result.Certificate.
	KeyUpdate(request bool) tlsio.Result
	Renegotiate() tlsio.Result
	RequestCertificate() tlsio.Result
}

// Handler is called with what happens on a connection. Ready calls the methods,
// one at a time. Embed [BaseHandler] and write only the methods that you need.
// Writing OnEOF or OnEarlyData does not turn half-close or early data on: set
// Config.HalfClose or Config.EarlyData.
type Handler interface {
	// OnOpen is called when the handshake is done.
	OnOpen()
	// OnData is called with data that has arrived. p is valid until OnData
	// returns.
	OnData(p []byte)
	// OnDrain is called when the queue has fallen to the low watermark or
	// below, after it was at the high one or above.
	OnDrain()
	// OnEOF is called when the peer has sent close_notify and Config.HalfClose
	// is set. The connection goes on in our direction until Close or
	// CloseWrite.
	OnEOF()
	// OnEarlyData is called with early data, before OnOpen, if Config.EarlyData
	// is set. p is valid until OnEarlyData returns. Early data may be a replay:
	// an attacker can record it and send it again. Only OnOpen proves that the
	// peer is present. What is written here is sent after the handshake.
	OnEarlyData(p []byte)
	// OnRekeyError is called when a KeyUpdate or Renegotiate has failed and the
	// connection goes on. err wraps tlsio.ErrState if the version or the
	// settings do not allow it, and io.EOF if the peer ended its direction
	// instead of answering.
	OnRekeyError(err error)
	// OnCertificate reports the outcome of RequestCertificate. If err is nil,
	// the peer has answered and the answer was accepted; OnCertificate is
	// called before OnData with any data that the peer sent after its answer.
	// Otherwise there will be no answer: err wraps tlsio.ErrState if no request
	// could be made, and io.EOF if the peer ended its direction. An answer that
	// is not accepted ends the connection. A Pause in OnCertificate does not
	// hold back data that arrived together with the answer.
	OnCertificate(err error)
	// OnClose is called exactly once, as the last method, when the connection
	// has ended, even if OnOpen was never called. err is nil if both sides
	// closed cleanly, in either order, and otherwise the first error.
	OnClose(err error)
}

// BaseHandler is a Handler whose methods do nothing, for embedding.
type BaseHandler struct{}

// OnOpen implements Handler.
func (BaseHandler) OnOpen() {}

// OnData implements Handler.
func (BaseHandler) OnData([]byte) {}

// OnDrain implements Handler.
func (BaseHandler) OnDrain() {}

// OnEOF implements Handler.
func (BaseHandler) OnEOF() {}

// OnEarlyData implements Handler.
func (BaseHandler) OnEarlyData([]byte) {}

// OnRekeyError implements Handler.
func (BaseHandler) OnRekeyError(error) {}

// OnCertificate implements Handler.
func (BaseHandler) OnCertificate(error) {}

// OnClose implements Handler.
func (BaseHandler) OnClose(error) {}

// Event is a set of directions: those to wait for, or those that are ready.
type Event uint8

const (
	// Readable means that the transport has bytes or has reached its end.
	Readable Event = 1 << iota
	// Writable means that the transport takes bytes.
	Writable
)

// String returns "-", "R", "W" or "RW".
func (e Event) String() string {
	switch e {
	case 0:
		return "-"
	case Readable:
		return "R"
	case Writable:
		return "W"
	}
	return "RW"
}

func eventOf(w tlsio.Want) Event {
	switch {
	case w == tlsio.WantRead:
		return Readable
	case w == tlsio.WantWrite:
		return Writable
	}
	return 0
}

// Config has settings that many Sessions of one goroutine may share. Init
// replaces those that are zero or negative by their defaults. Change nothing
// afterwards.
type Config struct {
	// HighWater and LowWater are numbers of queued bytes; see Backpressure in
	// the package documentation. The defaults are 128 KiB and a quarter of
	// HighWater.
	HighWater, LowWater int
	// MaxQueue is the largest number of queued bytes; Write returns
	// ErrQueueFull instead of exceeding it. The default is 16 MiB.
	MaxQueue int
	// TurnBytes is the number of bytes after which Ready returns, so that one
	// connection cannot hold up the others. The default is 128 KiB. A turn may
	// move more: the read or write that reaches TurnBytes is not cut short, since
	// a part of a record cannot be read or written, and the other direction gets
	// one more. A read moves at most Buffer.
	TurnBytes int
	// LingerBytes is the number of bytes that are read and discarded after our
	// close_notify before the close fails with ErrLinger. The default is 1 MiB.
	LingerBytes int
	// HalfClose keeps our direction open after the peer's close_notify: OnEOF
	// is called, and Close or CloseWrite ends the connection. Without it, the
	// peer's close_notify closes the Session once the queue is written.
	HalfClose bool
	// EarlyData makes a server (see Session.ExpectPeer) pass early data to
	// OnEarlyData before the handshake continues. It needs a FullEngine and,
	// with cssl, Config.MaxEarlyData. Without it, early data is rejected.
	EarlyData bool
	// Buffer is the buffer for reads: 16 KiB, allocated if empty. All Sessions
	// with this Config use it, so they must belong to one goroutine.
	Buffer []byte
	// Counters, if not nil, counts what the Sessions do.
	Counters *Counters

	bufs [batch][]byte // arguments of FullEngine.WriteBuffers
}

// fill replaces settings that are zero or negative by their defaults.
func (c *Config) fill() {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&c.HighWater, 128<<10)
	set(&c.LowWater, c.HighWater/4)
	c.LowWater = min(c.LowWater, c.HighWater)
	set(&c.MaxQueue, 16<<20)
	set(&c.TurnBytes, 128<<10)
	set(&c.LingerBytes, 1<<20)
	if len(c.Buffer) == 0 {
		c.Buffer = make([]byte, tlsio.MaxPlaintext)
	}
	if c.Counters == nil {
		c.Counters = new(Counters)
	}
}

// Counters counts what Sessions do. It has no lock: it belongs to their
// goroutine.
type Counters struct {
	// Results counts results by tlsio.Op and tlsio.Want; progress counts as
	// tlsio.WantNone.
	Results [tlsio.Ops][tlsio.WantAppRead + 1]uint64
	// Errors counts errors by tlsio.Op, without the end of input.
	Errors [tlsio.Ops]uint64
	// BytesRead and BytesWritten count bytes of plaintext.
	BytesRead, BytesWritten uint64
	// Sends counts operations that handed ciphertext to the transport.
	Sends uint64
}

// Add adds the counts of o to c.
func (c *Counters) Add(o *Counters) {
	for op := range c.Results {
		for w := range c.Results[op] {
			c.Results[op][w] += o.Results[op][w]
		}
		c.Errors[op] += o.Errors[op]
	}
	c.BytesRead += o.BytesRead
	c.BytesWritten += o.BytesWritten
	c.Sends += o.Sends
}
