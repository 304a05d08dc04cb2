package reactor_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// greeter says hello, prints the answer and closes. A Conn's Data is a channel that tells of its end.
type greeter struct{ reactor.BaseHandler }

func (greeter) OnOpen(c *reactor.Conn) { c.Write([]byte("hello")) }

func (greeter) OnData(c *reactor.Conn, p []byte) {
	fmt.Printf("%s over %v\n", p, c.State().Version)
	c.Close()
}

func (greeter) OnClose(c *reactor.Conn, err error) { c.Data.(chan error) <- err }

// A client. One Loop serves any number of connections; the server here is there to have somebody to talk to.
func ExampleDialer_Dial() {
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

	dialer := reactor.Dialer{Context: client, Net: &net.Dialer{Timeout: 10 * time.Second}}
	ended := make(chan error, 1)
	conn, err := dialer.Dial(context.Background(), loop, "tcp", addr.String(), greeter{}, ended)
	if err != nil {
		log.Fatal(err)
	}
	err = <-ended
	fmt.Println(conn.RemoteAddr().Network(), err)
	// Output:
	// hello over TLSv1.3
	// tcp <nil>
}
