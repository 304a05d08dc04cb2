package reactor_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"

	"github.com/spacemonad/go-openssl/reactor"
)

// upload stores what a client sends. Storing may block, so it must not happen in OnData. Between Pause and Resume
// nothing is read from that client, so there is never more than one piece of its data in memory, and they are
// stored in order; TCP makes the client wait.
type upload struct {
	reactor.BaseHandler
	store bytes.Buffer // or a file, or a database
	ended chan error
}

func (u *upload) OnData(c *reactor.Conn, p []byte) {
	c.Pause()
	piece := bytes.Clone(p) // p is the loop's
	go func() {
		u.store.Write(piece)
		c.Resume()
	}()
}

// OnClose does not come before the last Resume if the client ends cleanly: its end is read behind all else.
func (u *upload) OnClose(c *reactor.Conn, err error) { u.ended <- err }

func ExampleConn_Pause() {
	u := &upload{ended: make(chan error, 1)}
	_, addr, stop := serve(u)
	defer stop()
	client, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		log.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	client.Write(data)
	client.CloseWrite()
	io.Copy(io.Discard, client) // until the server has read all and ended too; an early Close could reset what is on its way
	client.Close()
	fmt.Println("ended:", <-u.ended)
	fmt.Println(u.store.Len(), "bytes stored, as they were sent:", bytes.Equal(u.store.Bytes(), data))
	// Output:
	// ended: <nil>
	// 1000000 bytes stored, as they were sent: true
}
