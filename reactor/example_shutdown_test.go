package reactor_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// download is a Handler that sends the same to each client.
type download struct {
	reactor.BaseHandler
	data []byte
}

func (d download) OnOpen(c *reactor.Conn) { c.Write(d.data) }

// Shutdown lets connections finish: what has been written is delivered, close_notify follows, and the client's end is
// waited for. The context says for how long; Close cuts off those that are left then.
func ExampleServer_Shutdown() {
	server, err := newServer("127.0.0.1:0", testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key"))
	if err != nil {
		log.Fatal(err)
	}
	defer server.Context.Close()
	server.Handler = download{data: make([]byte, 8<<20)}
	listeners, err := server.Listen()
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners...) }()

	client, err := tls.Dial("tcp", listeners[0].Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		log.Fatal(err)
	}

	// In the midst of the download comes the signal to stop.
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			server.Close()
		}
		down <- err
	}()
	fmt.Println("Serve returns at once:", <-served)
	rest, err := io.ReadAll(client)
	fmt.Println("the client gets the other", len(rest), "bytes and the end:", err)
	client.Close()
	fmt.Println("Shutdown returns when it is gone:", <-down)
	// Output:
	// Serve returns at once: reactor: server closed
	// the client gets the other 8388607 bytes and the end: <nil>
	// Shutdown returns when it is gone: <nil>
}
