package reactor_test

import (
	"fmt"
	"log"
	"net"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// caller asks one question on each connection. Its counters belong to the loop's goroutine.
type caller struct {
	reactor.BaseHandler
	answers, left int
	done          chan int
}

func (h *caller) OnOpen(c *reactor.Conn) { c.Write([]byte("?")) }

func (h *caller) OnData(c *reactor.Conn, p []byte) {
	h.answers++
	c.Close()
}

// OnClose comes for each, also for one that could not connect or whose handshake failed.
func (h *caller) OnClose(c *reactor.Conn, err error) {
	if err != nil {
		log.Print(err)
	}
	if h.left--; h.left == 0 {
		h.done <- h.answers
	}
}

// Many connections from one goroutine: Connect does not wait, and the handler hears how each went.
func ExampleLoop_Connect() {
	_, addr, stop := serve(echo{})
	defer stop()
	client, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	loop, err := reactor.NewLoop(reactor.LoopConfig{})
	if err != nil {
		log.Fatal(err)
	}
	go loop.Run()
	defer loop.Stop()

	const calls = 50
	h := &caller{left: calls, done: make(chan int, 1)}
	remote := addr.(*net.TCPAddr).AddrPort()
	for range calls {
		if err := loop.Connect(remote, client, cssl.ConnConfig{ServerName: "localhost"}, h, nil); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(<-h.done, "answers")
	// Output: 50 answers
}
