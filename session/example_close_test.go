package session_test

import (
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// narrow is an Engine that tells what it is asked for. Its transport takes a write only after it was waited for.
type narrow struct{ writable, peerEnded bool }

func (n *narrow) Handshake() tlsio.Result { return tlsio.Result{} }
func (n *narrow) Flush() tlsio.Result     { return tlsio.Result{} }

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

// closer is a Handler that waits for the end.
type closer struct{ session.BaseHandler }

func (closer) OnClose(err error) { fmt.Println("  OnClose:", err) }

// A close is a sequence: what is queued, close_notify, FIN, then the peer's end. It waits where it must; a deadline for
// it is the owner's to set, and to end with Abort.
func ExampleSession_Close() {
	var n narrow
	var s session.Session
	s.Init(&n, closer{}, new(session.Config))
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
