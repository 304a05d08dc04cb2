package reactor_test

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

type echo struct{ reactor.BaseHandler }

func (echo) OnData(c *reactor.Conn, p []byte) { c.Write(p) }
func newServer(addr, certFile, keyFile string) (*reactor.Server, error) {
	tlsContext, err := cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: certFile, KeyFile: keyFile}},
	})
	if err != nil {
		return nil, err
	}
	return &reactor.Server{Addr: addr, Handler: echo{}, Context: tlsContext}, nil
}

// serve starts a server on a port of its own. A program would call ListenAndServe; Listen and Serve are for those
// that want to know the port first.
func serve(h reactor.Handler) (server *reactor.Server, addr net.Addr, stop func()) {
	server, err := newServer("127.0.0.1:0", testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key"))
	if err != nil {
		log.Fatal(err)
	}
	server.Handler = h
	listeners, err := server.Listen()
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(listeners...)
	return server, listeners[0].Addr(), func() { server.Close(); server.Context.Close() }
}

// An echo server, and a client that tries it.
func Example() {
	_, addr, stop := serve(echo{})
	defer stop()
	client, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Fprint(client, "hello")
	answer := make([]byte, 5)
	client.Read(answer)
	fmt.Println(string(answer))
	// Output: hello
}
