package session_test

import (
	"fmt"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// crossed is an Engine that answers as OpenSSL may in the midst of a renegotiation: its Read must first write, and its
// Write must first read.
type crossed struct{ reads, writes []tlsio.Result }

func (e *crossed) Handshake() tlsio.Result     { return tlsio.Result{} }
func (e *crossed) Flush() tlsio.Result         { return tlsio.Result{} }
func (e *crossed) Shutdown() tlsio.Result      { return tlsio.Result{} }
func (e *crossed) CloseWrite() error           { return nil }
func (e *crossed) Read(p []byte) tlsio.Result  { return take(&e.reads) }
func (e *crossed) Write(p []byte) tlsio.Result { return take(&e.writes) }

// take is the next of results.
func take(results *[]tlsio.Result) tlsio.Result {
	r := (*results)[0]
	*results = (*results)[1:]
	return r
}

// listener is a Handler that says nothing.
type listener struct{ session.BaseHandler }

func (listener) OnData(p []byte) { fmt.Println("  data:", len(p), "bytes") }

// What to wait for is what the results name, not what the calls suggest: here a read waits until the socket is writable and
// a write until it is readable, both at once.
func ExampleSession_Interest() {
	e := &crossed{
		reads:  []tlsio.Result{{Want: tlsio.WantWrite}, {N: 3, In: true}, {Want: tlsio.WantRead}},
		writes: []tlsio.Result{{Want: tlsio.WantRead}, {N: 5, Out: true}},
	}
	var s session.Session
	s.Init(e, listener{}, new(session.Config))
	step := func(what string, got session.Event) {
		fmt.Println(what)
		s.Ready(got)
		fmt.Println("  wait for", s.Interest())
	}
	step("open; the read wants to write", 0)
	s.Write([]byte("hello"))
	step("something to send; the write wants to read", 0)
	step("writable: the read goes on, and the write with it, since input has moved", session.Writable)
	fmt.Println("  left to send:", s.Queued())
	// Output:
	// open; the read wants to write
	//   wait for W
	// something to send; the write wants to read
	//   wait for RW
	// writable: the read goes on, and the write with it, since input has moved
	//   data: 3 bytes
	//   wait for R
	//   left to send: 0
}
