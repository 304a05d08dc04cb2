package session

import "github.com/spacemonad/go-openssl/tlsio"

// MemoryEngine is an Engine without a socket: ciphertext is passed in and taken
// out. A *cssl.Conn of NewEngineConn is one.
type MemoryEngine interface {
	Engine
	// Feed copies ciphertext from the peer and returns how many bytes it took.
	// If it took only a part, it takes the rest after a Read.
	Feed(p []byte) int
	// FeedEOF reports that nothing follows what was fed.
	FeedEOF()
	// Take moves ciphertext for the peer into p and returns how many bytes.
	Take(p []byte) int
}

// Transport is the connection below a MemoryEngine: what a framework offers
// that owns the socket and moves its bytes. Exchange calls the methods, outside
// of the Handler's methods. From within they may call Broken and Ready, such as
// when Send finds the connection broken, but not Exchange.
type Transport interface {
	// Received returns ciphertext that has come from the peer: all of it, or a
	// part from its front, and nothing only if there is none. end reports that
	// the peer's stream ends behind it, with a FIN. It is valid until Consume.
	Received() (p []byte, end bool)
	// Consume drops the first n bytes of it, at least one.
	Consume(n int)
	// Room returns memory for ciphertext to the peer. If it is empty, the
	// transport takes nothing now: it still holds enough that is not sent.
	Room() []byte
	// Send sends the first n bytes of Room, at least one.
	Send(n int)
	// CloseWrite sends a FIN behind all that was sent. It is called at most once.
	CloseWrite()
}

// Exchange moves ciphertext between a MemoryEngine and its transport and calls
// Ready, until nothing can be moved and s is not Runnable. Call it after Init,
// when bytes or the end have come, when t has room again after Room was empty,
// and instead of the Ready(0) that other methods ask for. If the connection
// broke, call Broken first.
//
// Backpressure goes all the way round: while Room is empty, the engine keeps its
// output, so Write queues, so reading pauses at Config.HighWater, so Received
// is not consumed. The caller then stops receiving, if it can.
//
// Exchange returns true when s is Closed and all ciphertext, perhaps an alert,
// was sent: close the transport, and free the engine. It does not heed
// Config.TurnBytes: the caller's own reads bound what one call does. Inside a
// handler it does nothing.
//
// With Upgrade, both engines are MemoryEngines. Nothing is consumed between
// Upgrade and its begin. What the first engine was fed and Read has not
// returned is begin's to pass on, with Feed of the next engine.
func (s *Session) Exchange(t Transport) (done bool) {
	if s.running {
		return false
	}
	for more := true; more; {
		got := s.feedInput(t)
		fin := s.finOut
		s.Ready(got)
		if s.finOut && !fin {
			t.CloseWrite()
		}
		n := 0
		if s.unsent || s.phase == Closed && !done {
			room := t.Room()
			if n = s.engine.(MemoryEngine).Take(room); n > 0 {
				t.Send(n)
				// What Flush would return.
				s.note(flush, tlsio.OpFlush, tlsio.Result{Out: true, Unsent: n == len(room)})
			}
			done = s.phase == Closed && n < len(room)
		}
		more = got != 0 || n > 0 && !done || s.Runnable() || s.input == inputNone && !done
	}
	return done
}

// feedInput feeds what t has received, and returns Readable if there was
// something.
func (s *Session) feedInput(t Transport) (got Event) {
	s.input = max(s.input, inputSome)
	if s.upgrade != nil {
		return 0 // what comes now belongs to the next engine
	}
	e := s.engine.(MemoryEngine)
	p, end := t.Received()
	n := e.Feed(p)
	if n > 0 {
		t.Consume(n)
		got = Readable
	}
	if end && n == len(p) && s.input < inputEnd {
		s.input = inputEnd
		e.FeedEOF()
		got = Readable
	}
	return got
}

// Broken reports that the transport of a MemoryEngine sends nothing any more,
// for the reason err. What it has received can still be read; then s ends.
// OnClose gets err, unless the peer had closed its direction and no data of ours
// is lost. Call Exchange afterwards, or Ready(0).
func (s *Session) Broken(err error) {
	if s.phase == Handshaking {
		s.Abort(err)
		return
	}
	s.failed(flush, err)
}
