package sslnet_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/sslnet"
)

func serverContext() *cssl.Context {
	x, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{
		ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key"),
	}}})
	if err != nil {
		log.Fatal(err)
	}
	return x
}

func clientContext() *cssl.Context {
	x, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem")})
	if err != nil {
		log.Fatal(err)
	}
	return x
}

// A client: Dial connects, makes the handshake and checks the name.
func ExampleDialer() {
	sx, cx := serverContext(), clientContext()
	defer sx.Close()
	defer cx.Close()
	l, err := sslnet.Listen("tcp", "127.0.0.1:0", sx)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "hello")
	}()

	d := sslnet.Dialer{Context: cx, Net: &net.Dialer{Timeout: 10 * time.Second}}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s over %v\n", text, c.(*sslnet.Conn).State().Version)
	// Output: hello over TLSv1.3
}

// A server that echoes, with a goroutine for each connection.
func ExampleListen() {
	sx, cx := serverContext(), clientContext()
	defer sx.Close()
	defer cx.Close()
	l, err := sslnet.Listen("tcp", "127.0.0.1:0", sx)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return // l was closed
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute)) // of the handshake too
				io.Copy(c, c)
			}()
		}
	}()

	d := sslnet.Dialer{Context: cx}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(c, "hello")
	c.(*sslnet.Conn).CloseWrite() // the server's copy ends, and then the answer does
	text, err := io.ReadAll(c)
	fmt.Printf("%s, %v\n", text, err)
	c.Close()
	l.Close()
	<-served
	// Output: hello, <nil>
}

// TLS over any net.Conn, here one that has no socket.
func ExampleServer() {
	sx, cx := serverContext(), clientContext()
	defer sx.Close()
	defer cx.Close()
	a, b := net.Pipe()
	server, err := sslnet.Server(a, sx)
	if err != nil {
		log.Fatal(err)
	}
	client, err := sslnet.Client(b, cx, cssl.ConnConfig{ServerName: "localhost"})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		defer server.Close()
		io.WriteString(server, "hello")
	}()
	text, err := io.ReadAll(client)
	client.Close()
	fmt.Printf("%s, %v\n", text, err)
	// Output: hello, <nil>
}
