package cssl_test

import (
	"fmt"
	"io"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// Two connections in engine mode, with the bytes between them carried by hand.
func Example() {
	server, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	s, err := server.NewEngineConn(cssl.ConnConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	c, err := client.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	buf := make([]byte, 1<<14)
	carry := func(from, to *cssl.Conn) { to.Feed(buf[:from.Take(buf)]) }
	for ready := false; !ready; {
		cr, sr := c.Handshake(), s.Handshake()
		if cr.Err != nil || sr.Err != nil {
			log.Fatal(cr.Err, sr.Err)
		}
		ready = cr.Want == tlsio.WantNone && sr.Want == tlsio.WantNone
		carry(c, s)
		carry(s, c)
	}
	c.Write([]byte("hello"))
	c.Shutdown()
	carry(c, s)
	r := s.Read(buf)
	fmt.Printf("%v %s\n", s.State().Version, buf[:r.N])
	fmt.Println(s.Read(buf).Err == io.EOF)
	// Output:
	// TLSv1.3 hello
	// true
}

// What an event loop does with a Result.
func ExampleResult() {
	next := func(r tlsio.Result) string {
		switch {
		case r.Err != nil:
			return "close: " + r.Err.Error()
		case r.Want == tlsio.WantRead:
			return "wait until the socket is readable, then call the same again"
		case r.Want == tlsio.WantWrite:
			return "wait until the socket is writable, then call the same again"
		case r.Want == tlsio.WantAppRead:
			return "Read first, then call the same again"
		case r.Want.Application():
			return "do what " + r.Want.String() + " asks for"
		}
		return "go on"
	}
	fmt.Println(next(tlsio.Result{N: 5}))
	fmt.Println(next(tlsio.Result{Want: tlsio.WantRead}))
	fmt.Println(next(tlsio.Result{Want: tlsio.WantWrite}))
	fmt.Println(next(tlsio.Result{Want: tlsio.WantAppRead}))
	fmt.Println(next(tlsio.Result{Err: io.EOF}))
	// Output:
	// go on
	// wait until the socket is readable, then call the same again
	// wait until the socket is writable, then call the same again
	// Read first, then call the same again
	// close: EOF
}
