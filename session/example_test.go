package session_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// willing is what the engines of these examples have in common. A real engine is *cssl.Conn.
type willing struct{}

func (willing) Handshake() tlsio.Result { return tlsio.Result{} }
func (willing) Flush() tlsio.Result     { return tlsio.Result{} }
func (willing) Shutdown() tlsio.Result  { return tlsio.Result{Out: true} }
func (willing) CloseWrite() error       { return nil }

// memory is an Engine without encryption, over two buffers.
type memory struct {
	willing
	in, out bytes.Buffer
}

func (m *memory) Write(p []byte) tlsio.Result {
	n, _ := m.out.Write(p)
	return tlsio.Result{N: n, Out: true}
}

func (m *memory) Read(p []byte) tlsio.Result {
	switch n, _ := m.in.Read(p); {
	case n == 0:
		return tlsio.Result{Want: tlsio.WantRead}
	case bytes.HasPrefix(p[:n], []byte("bye")):
		return tlsio.Result{Err: io.EOF}
	default:
		return tlsio.Result{N: n, In: true}
	}
}

// echo is a Handler that answers what it hears.
type echo struct {
	session.BaseHandler
	s session.Session
}

func (e *echo) OnOpen()           { fmt.Println("open") }
func (e *echo) OnClose(err error) { fmt.Println("closed:", err) }
func (e *echo) OnData(p []byte) {
	if err := e.s.Write(p); err != nil {
		e.s.Close(err)
	}
}

// An event loop calls Ready with what has come, and waits for Interest unless
// the session is Runnable.
func Example() {
	var m memory
	var e echo
	e.s.Init(&m, &e, new(session.Config))

	e.s.Ready(0)
	fmt.Println("wait for", e.s.Interest(), "runnable", e.s.Runnable())

	m.in.WriteString("hello")
	e.s.Ready(session.Readable)
	fmt.Println("sent", m.out.String())

	m.in.WriteString("bye")
	e.s.Ready(session.Readable)
	fmt.Println("wait for", e.s.Interest(), e.s.Phase())
	// Output:
	// open
	// wait for R runnable false
	// sent hello
	// closed: <nil>
	// wait for - closed
}

// crossed is an Engine that answers as OpenSSL may in the midst of a renegotiation: its Read must first write, and its
// Write must first read.
type crossed struct {
	willing
	reads, writes []tlsio.Result
}

func (e *crossed) Read(p []byte) tlsio.Result  { return take(&e.reads) }
func (e *crossed) Write(p []byte) tlsio.Result { return take(&e.writes) }

// take is the next of results.
func take(results *[]tlsio.Result) tlsio.Result {
	r := (*results)[0]
	*results = (*results)[1:]
	return r
}

// listener is a Handler that says what it hears.
type listener struct{ session.BaseHandler }

func (listener) OnData(p []byte)   { fmt.Println("  data:", len(p), "bytes") }
func (listener) OnClose(err error) { fmt.Println("  OnClose:", err) }

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

// narrow is an Engine that tells what it is asked for. Its transport takes a write only after it was waited for.
type narrow struct {
	willing
	writable, peerEnded bool
}

func (n *narrow) Write(p []byte) tlsio.Result {
	if !n.writable {
		fmt.Println("  write: the socket is full")
		return tlsio.Result{Want: tlsio.WantWrite}
	}
	fmt.Printf("  write: %q\n", p)
	return tlsio.Result{N: len(p), Out: true}
}

func (n *narrow) Shutdown() tlsio.Result {
	fmt.Println("  close_notify")
	return tlsio.Result{Out: true}
}

func (n *narrow) CloseWrite() error {
	fmt.Println("  FIN")
	return nil
}

func (n *narrow) Read(p []byte) tlsio.Result {
	if n.peerEnded {
		return tlsio.Result{Err: io.EOF}
	}
	return tlsio.Result{Want: tlsio.WantRead}
}

// A close is a sequence: what is queued, close_notify, FIN, then the peer's end. It waits where it must; a deadline for
// it is the owner's to set, and to end with Abort.
func ExampleSession_Close() {
	var n narrow
	var s session.Session
	s.Init(&n, listener{}, new(session.Config))
	s.Ready(0)
	step := func(what string, got session.Event) {
		fmt.Println(what)
		s.Ready(got)
		fmt.Println("  now it is", s.Phase(), "and waits for", s.Interest())
	}
	s.Write([]byte("last words"))
	s.Close(nil)
	step("Close", 0)
	fmt.Println("  another Write:", s.Write([]byte("one more thing")))
	n.writable = true
	step("writable", session.Writable)
	n.peerEnded = true
	step("readable", session.Readable)
	// Output:
	// Close
	//   write: the socket is full
	//   now it is closing and waits for RW
	//   another Write: use of closed network connection
	// writable
	//   write: "last words"
	//   close_notify
	//   FIN
	//   now it is closing and waits for R
	// readable
	//   OnClose: <nil>
	//   now it is closed and waits for -
}
