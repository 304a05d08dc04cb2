package cssl_test

import (
	"fmt"
	"io"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// A client that comes back sends its request along with its first message. The same ticket a second time is a replay, or a
// client that was told of no newer one: the server takes no early data then, and the client sends it again after the handshake.
func ExampleConn_WriteEarlyData() {
	cx, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem")})
	if err != nil {
		log.Fatal(err)
	}
	defer cx.Close()
	sx, err := cssl.NewServerContext(cssl.Config{Certificates: certificate("ecdsa"), MaxEarlyData: 16384})
	if err != nil {
		log.Fatal(err)
	}
	defer sx.Close()

	var ticket *cssl.Session
	for _, visit := range []string{"first", "second", "second again"} {
		c, s := join(cx, sx, ticket)
		request, buf := []byte("GET /"), make([]byte, 1024)
		if c.EarlyDataRoom() >= len(request) {
			if r := c.WriteEarlyData(request); r.Err != nil { // in engine mode there is room, so it wants nothing
				log.Fatal(r.Err)
			}
		}
		early := ""
		for r := s.ReadEarlyData(buf); r.Err != io.EOF; r = s.ReadEarlyData(buf) {
			if r.Err != nil {
				log.Fatal(r.Err)
			}
			early += string(buf[:r.N])
			if r.Want != tlsio.WantNone {
				c.Handshake()
				carry(c, s)
			}
		}
		finish(c, s)
		fmt.Printf("%s: early data %v, %q\n", visit, s.State().EarlyData, early)
		if c.State().EarlyData != cssl.EarlyDataAccepted {
			c.Write(request)
			carry(c, s)
			fmt.Printf("then %q\n", buf[:s.Read(buf).N])
		}
		c.Read(buf) // takes the ticket in
		if ticket == nil {
			ticket = c.Session()
		}
		c.Close()
		s.Close()
	}
	// Output:
	// first: early data none, ""
	// then "GET /"
	// second: early data accepted, "GET /"
	// second again: early data rejected, ""
	// then "GET /"
}

// join makes a client with a session to resume, and a server.
func join(cx, sx *cssl.Context, session *cssl.Session) (c, s *cssl.Conn) {
	c, err := cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost", Session: session})
	if err != nil {
		log.Fatal(err)
	}
	if s, err = sx.NewEngineConn(cssl.ConnConfig{}); err != nil {
		log.Fatal(err)
	}
	return c, s
}

// carry moves what there is to move.
func carry(c, s *cssl.Conn) (moved int) {
	buf := make([]byte, 16<<10)
	moved = s.Feed(buf[:c.Take(buf)])
	return moved + c.Feed(buf[:s.Take(buf)])
}

// finish carries the handshake to its end.
func finish(c, s *cssl.Conn) {
	for moved := 1; moved > 0; moved = carry(c, s) {
		if r := c.Handshake(); r.Err != nil {
			log.Fatal(r.Err)
		}
		if r := s.Handshake(); r.Err != nil {
			log.Fatal(r.Err)
		}
	}
}
