package session_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// memory is an Engine without encryption, over two buffers. A real one is *cssl.Conn.
type memory struct{ in, out bytes.Buffer }

func (m *memory) Handshake() cssl.Result { return cssl.Result{} }
func (m *memory) Flush() cssl.Result     { return cssl.Result{} }
func (m *memory) Shutdown() cssl.Result  { return cssl.Result{Out: true} }
func (m *memory) CloseWrite() error      { return nil }

func (m *memory) Write(p []byte) cssl.Result {
	n, _ := m.out.Write(p)
	return cssl.Result{N: n, Out: true}
}

func (m *memory) Read(p []byte) cssl.Result {
	switch n, _ := m.in.Read(p); {
	case n == 0:
		return cssl.Result{Want: cssl.WantRead}
	case bytes.HasPrefix(p[:n], []byte("bye")):
		return cssl.Result{Err: io.EOF}
	default:
		return cssl.Result{N: n, In: true}
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
