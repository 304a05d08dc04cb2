package session_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// memory is an Engine without encryption, over two buffers. A real one is *cssl.Conn.
type memory struct{ in, out bytes.Buffer }

func (m *memory) Handshake() tlsio.Result { return tlsio.Result{} }
func (m *memory) Flush() tlsio.Result     { return tlsio.Result{} }
func (m *memory) Shutdown() tlsio.Result  { return tlsio.Result{Out: true} }
func (m *memory) CloseWrite() error       { return nil }

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
