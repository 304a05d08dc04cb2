package sslhttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
)

func serverContext() *cssl.Context {
	x, err := cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
		ALPN:         sslhttp.ALPN,
	})
	if err != nil {
		log.Fatal(err)
	}
	return x
}

func clientContext() *cssl.Context {
	x, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), ALPN: sslhttp.ALPN})
	if err != nil {
		log.Fatal(err)
	}
	return x
}

// A server of HTTP/2 and HTTP/1.1.
func ExampleServe() {
	x := serverContext()
	defer x.Close()
	l, err := sslnet.Listen("tcp", "127.0.0.1:0", x)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, agreed on as %s", r.Proto, r.TLS.NegotiatedProtocol)
	})}
	served := make(chan error)
	go func() { served <- sslhttp.Serve(srv, l) }()

	ask("https://" + l.Addr().String()) // a client's program
	if err := srv.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-served)
	// Output:
	// HTTP/2.0, agreed on as h2
	// http: Server closed
}

// A client that speaks what the server chooses.
func ExampleNewTransport() {
	x := clientContext()
	defer x.Close()
	t := sslhttp.NewTransport(&sslnet.Dialer{Context: x}, nil)
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t}

	addr, stop := start() // somebody's server
	defer stop()
	for range 2 {
		resp, err := client.Get("https://" + addr)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status, resp.Proto, resp.TLS.NegotiatedProtocol)
	}
	// Output:
	// 204 No Content HTTP/2.0 h2
	// 204 No Content HTTP/2.0 h2
}

// ask prints what a server answers.
func ask(url string) {
	x := clientContext()
	defer x.Close()
	t := sslhttp.NewTransport(&sslnet.Dialer{Context: x}, nil)
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t}).Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer))
}

// start starts a server that has nothing to say.
func start() (addr string, stop func()) {
	x := serverContext()
	address := make(chan string)
	srv := &http.Server{
		Addr:    "127.0.0.1:0",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		BaseContext: func(l net.Listener) context.Context {
			address <- l.Addr().String()
			return context.Background()
		},
	}
	served := make(chan error)
	go func() { served <- sslhttp.ListenAndServe(srv, x) }()
	return <-address, func() {
		srv.Close()
		<-served
		x.Close()
	}
}
