package session

import "github.com/spacemonad/go-openssl/tlsio"

// Engine is the TLS connection below a Session; *cssl.Conn is one. Each
// operation answers with exactly one of progress, a want, or an error, and says
// what it moved; see [tlsio.Result]. After a want the same operation is called again, Write with
// the same bytes. After a failure only these
// are called: Flush; Read, and Handshake if it is the first, after a failed Write, Flush or Shutdown;
// all but Read after the end of input (io.EOF, io.ErrUnexpectedEOF); all after a KeyUpdate
// or Renegotiate that was refused (tlsio.ErrState).
type Engine interface {
	// Handshake carries the handshake on. Progress means that it is done.
	Handshake() tlsio.Result
	// Read reads at least one byte into p. The peer's end is io.EOF or io.ErrUnexpectedEOF.
	Read(p []byte) tlsio.Result
	// Write accepts at least one byte of p.
	Write(p []byte) tlsio.Result
	// Flush sends what the engine holds for its transport. Progress means that nothing is left.
	Flush() tlsio.Result
	// Shutdown sends close_notify. Progress means that it left the engine, if perhaps not yet the transport.
	Shutdown() tlsio.Result
	// CloseWrite ends our direction of the transport (a FIN). It is called once,
	// after Shutdown, when nothing is unsent.
	CloseWrite() error
}

// FullEngine is an Engine that can do what Session offers beside the plain
// stream; *cssl.Conn is one. A Session over an Engine that is none has no early
// data, and its KeyUpdate, Renegotiate and RequestCertificate return
// errors.ErrUnsupported.
type FullEngine interface {
	Engine
	// ReadEarlyData reads at least one byte of early data into p, before the
	// first Handshake. The end of early data is io.EOF.
	ReadEarlyData(p []byte) tlsio.Result
	// WriteMore is Write for a record that another one or close_notify follows at
	// once, so that the transport may send them together. Write may take its
	// place after a want, with the same bytes.
	WriteMore(p []byte) tlsio.Result
	// ShutdownMore is Shutdown when CloseWrite follows at once.
	ShutdownMore() tlsio.Result
	// KeyUpdate, Renegotiate and RequestCertificate begin a handshake after the
	// first one. After a want, Handshake carries it on. The peer's answer to
	// RequestCertificate comes with any operation, as Result.Certificate.
	KeyUpdate(request bool) tlsio.Result
	Renegotiate() tlsio.Result
	RequestCertificate() tlsio.Result
}

// Handler hears what happens on a connection. The methods are called from Ready,
// one at a time. Embed [BaseHandler] to have those that are of no interest. Which
// methods there are changes nothing about the protocol: see Config.HalfClose and
// Config.EarlyData for that.
type Handler interface {
	// OnOpen: the handshake is done.
	OnOpen()
	// OnData: p has arrived. It is valid until OnData returns.
	OnData(p []byte)
	// OnDrain: the queue has fallen to the low watermark or below, after it was at
	// the high one or above.
	OnDrain()
	// OnEOF: the peer has sent close_notify. It comes only with Config.HalfClose, and
	// then the connection goes on in our direction until Close or CloseWrite.
	OnEOF()
	// OnEarlyData: p has arrived, before OnOpen. It comes only with Config.EarlyData,
	// and p is valid until it returns. Somebody else may have sent p earlier, and may
	// send it again; when OnOpen comes, the peer is certain to be there. What is
	// written is sent then.
	OnEarlyData(p []byte)
	// OnRekeyError: a KeyUpdate or Renegotiate came to nothing, and the connection goes
	// on. err is tlsio.ErrState if it was refused (the version in use, or the settings, do
	// not allow it), and io.EOF if the peer ended its direction instead of answering.
	OnRekeyError(err error)
	// OnCertificate says what became of Session.RequestCertificate. If err is nil, the
	// answer has come and was accepted; OnCertificate comes before any data that the
	// peer sent after it. Otherwise there will be no answer: err is tlsio.ErrState, with
	// the reason, if nothing was asked, and io.EOF if the peer ended its direction. An answer that does not pass ends the connection. Where data comes with
	// the answer, a Pause in here takes effect behind it.
	OnCertificate(err error)
	// OnClose: the connection has ended. It comes exactly once, and last, also if
	// OnOpen never came. err is nil if both sides ended it cleanly, whichever began, and
	// otherwise the first thing that went wrong.
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

// Event is a set of directions, both of what to wait for and of what has come.
type Event uint8

const (
	// Readable: the transport has bytes, or its end.
	Readable Event = 1 << iota
	// Writable: the transport takes bytes.
	Writable
)

// String is "-", "R", "W" or "RW".
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

// Config is shared by many Sessions of one goroutine. Init fills in what is
// zero, or less, with the default; from then on nothing may be changed.
type Config struct {
	// HighWater and LowWater, in bytes queued, for pausing and resuming reads and
	// for OnDrain (see the package comment): 128 KiB, and a quarter of HighWater.
	HighWater, LowWater int
	// MaxQueue is the number of queued bytes above which Write refuses: 16 MiB.
	MaxQueue int
	// TurnBytes is how many bytes one Ready moves before it lets others have their
	// turn: 128 KiB.
	TurnBytes int
	// LingerBytes is how many bytes are read and discarded after close_notify, during Close: 1 MiB.
	LingerBytes int
	// HalfClose makes the connection go on in our direction after the peer's
	// close_notify: OnEOF is called, and Close or CloseWrite ends it. Without it a
	// Session closes then, once the queue is drained.
	HalfClose bool
	// EarlyData makes a server (see Session.ExpectPeer) hand early data to OnEarlyData
	// before the handshake goes on. It needs a FullEngine and, with cssl,
	// Config.MaxEarlyData. Without it, early data is rejected.
	EarlyData bool
	// Buffer is where reads go: 16 KiB, allocated if empty. All Sessions with this
	// Config use it, so they must share a goroutine.
	Buffer []byte
	// Counters, if set, counts what the Sessions do.
	Counters *Counters
}

// fill fills in what is zero or less.
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

// Counters counts what Sessions do. It has no lock: it belongs to their goroutine.
type Counters struct {
	// Results, by tlsio.Op and then by tlsio.Want: progress at tlsio.WantNone.
	Results [tlsio.Ops][tlsio.WantAppRead + 1]uint64
	// Errors, by tlsio.Op; the end of input is none.
	Errors [tlsio.Ops]uint64
	// BytesRead and BytesWritten, of plaintext.
	BytesRead, BytesWritten uint64
	// Sends is how many operations handed ciphertext to the transport.
	Sends uint64
}

// Add adds the counts of o.
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
