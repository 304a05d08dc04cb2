package cssl_test

import (
	"bytes"
	"cmp"
	"errors"
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

// certificate is one of those in testdata/certs.
func certificate(name string) []cssl.Certificate {
	return []cssl.Certificate{{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}}
}

// clientContext and serverContext end the program where a Context cannot be made.
func clientContext(c cssl.Config) *cssl.Context { return must(cssl.NewClientContext(c)) }
func serverContext(c cssl.Config) *cssl.Context { return must(cssl.NewServerContext(c)) }

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// pair makes a client, which asks for a server name, and a server in engine mode, and carries their handshake to and fro
// until nothing is left to carry. The errors are the client's and the server's.
func pair(client, server cssl.Config, name string) (c, s *cssl.Conn, errs [2]error) {
	cx, sx := clientContext(client), serverContext(server)
	defer cx.Close() // what is made from it lives on
	defer sx.Close()
	c, s = join(cx, sx, cssl.ConnConfig{ServerName: name})
	return c, s, finish(c, s)
}

// join makes a client and a server.
func join(cx, sx *cssl.Context, config cssl.ConnConfig) (c, s *cssl.Conn) {
	return must(cx.NewEngineConn(config)), must(sx.NewEngineConn(cssl.ConnConfig{}))
}

// carry moves what there is to move.
func carry(c, s *cssl.Conn) (moved int) {
	buf := make([]byte, 16<<10)
	moved = s.Feed(buf[:c.Take(buf)])
	return moved + c.Feed(buf[:s.Take(buf)])
}

// finish carries the handshake to its end, and returns the errors.
func finish(c, s *cssl.Conn) (errs [2]error) {
	for moved := 1; moved > 0; moved = carry(c, s) {
		errs[0] = cmp.Or(errs[0], c.Handshake().Err)
		errs[1] = cmp.Or(errs[1], s.Handshake().Err)
	}
	return errs
}

// Engine mode is for a transport that is no socket. Here it is a slice with a megabyte of ciphertext. Feed takes as much as there
// is room for, so what feeds and what reads take turns; a transport that ends without close_notify has been cut off.
func ExampleConn_Feed() {
	client, server, errs := pair(cssl.Config{CAFile: testcerts.Path("root.pem")},
		cssl.Config{Certificates: certificate("ecdsa")}, "localhost")
	if err := errors.Join(errs[:]...); err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	defer server.Close()

	var ciphertext []byte
	buf := make([]byte, 32<<10)
	for left, taken := 1<<20, 1; left > 0 || taken > 0; {
		r := client.Write(make([]byte, left))
		if r.Err != nil {
			log.Fatal(r.Err)
		}
		left -= r.N // 0 with WantWrite: Take first
		taken = client.Take(buf)
		ciphertext = append(ciphertext, buf[:taken]...)
	}

	got := 0
	for {
		n := server.Feed(ciphertext)
		if ciphertext = ciphertext[n:]; len(ciphertext) == 0 {
			server.FeedEOF()
		}
		r := server.Read(buf)
		for ; r.Want == tlsio.WantNone && r.Err == nil; r = server.Read(buf) {
			got += r.N
		}
		if r.Err != nil {
			fmt.Println(got, "bytes, then the end came without close_notify:", errors.Is(r.Err, io.ErrUnexpectedEOF))
			return
		}
		// WantRead: feed more
	}
	// Output: 1048576 bytes, then the end came without close_notify: true
}

// An alert is found with errors.Is on both sides; the Error says which side's it was. Here the client does not know
// the CA that signed the server's certificate.
func ExampleError() {
	client, server, errs := pair(cssl.Config{CAFile: testcerts.Path("other-root.pem")},
		cssl.Config{Certificates: certificate("ecdsa")}, "localhost")
	defer client.Close()
	defer server.Close()

	const unknownCA = tlsio.AlertUnknownCA
	for _, err := range errs {
		var e *tlsio.Error
		if !errors.As(err, &e) || !errors.Is(err, unknownCA) {
			fmt.Println("something else:", err)
			continue
		}
		switch e.AlertSide {
		case tlsio.AlertSent:
			fmt.Printf("%v: we refused the peer and said %q: %s\n", e.Op, e.Alert.String(), e.Verify)
		case tlsio.AlertReceived:
			fmt.Printf("%v: the peer refused us and said %q\n", e.Op, e.Alert.String())
		}
	}
	// Output:
	// handshake: we refused the peer and said "unknown CA": unable to get local issuer certificate
	// handshake: the peer refused us and said "unknown CA"
}

// One server, another certificate for each name. A name that is in no map gets the Context's own.
func ExampleConfig_SNI() {
	names := map[string]*cssl.Context{}
	for name, file := range map[string]string{"example.test": "rsa", "*.wild.test": "ed25519"} {
		names[name] = serverContext(cssl.Config{Certificates: certificate(file)})
		defer names[name].Close()
	}
	config := cssl.Config{Certificates: certificate("ecdsa"), SNI: names}

	for _, name := range []string{"localhost", "example.test", "Example.TEST", "a.wild.test", "b.wild.test"} {
		client, server, errs := pair(cssl.Config{CAFile: testcerts.Path("root.pem")}, config, name)
		if err := errors.Join(errs[:]...); err != nil {
			log.Fatal(err)
		}
		chain, err := client.State().PeerCertificates()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%-12s %v\n", server.State().ServerName, chain[0].PublicKeyAlgorithm)
		client.Close()
		server.Close()
	}
	// Output:
	// localhost    ECDSA
	// example.test RSA
	// Example.TEST RSA
	// a.wild.test  Ed25519
	// b.wild.test  Ed25519
}

// A server looks at each client before it chooses a certificate. The decision may come later, from any goroutine: the handshake answers
// WANT_CLIENT_HELLO_CB until then.
func ExampleConfig_clientHello() {
	rsa := serverContext(cssl.Config{Certificates: certificate("rsa")})
	defer rsa.Close()
	config := cssl.Config{Certificates: certificate("ecdsa")}
	config.ClientHello = func(h *cssl.ClientHello) {
		switch {
		case len(h.ALPN) > 0 && h.ALPN[0] == "h2":
			h.Accept(rsa)
		case h.ServerName == "example.test":
			h.Refuse(errors.New("nobody of that name here"))
		default:
			h.Accept(nil)
		}
	}
	for _, c := range []struct {
		name string
		alpn []string
	}{{"localhost", nil}, {"localhost", []string{"h2"}}, {"example.test", nil}} {
		client, server, errs := pair(cssl.Config{CAFile: testcerts.Path("root.pem"), ALPN: c.alpn}, config, c.name)
		if errs[1] != nil {
			fmt.Println(errs[1])
		} else if chain, err := client.State().PeerCertificates(); err == nil {
			fmt.Println(chain[0].PublicKeyAlgorithm)
		}
		client.Close()
		server.Close()
	}
	// Output:
	// ECDSA
	// RSA
	// tls: handshake: nobody of that name here; SSL routines: callback failed; alert sent: handshake failure
}

// Two devices that share a key and have no certificates. A key comes from a source of randomness, and a file.
func ExampleConfig_PSKs() {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	server := cssl.Config{PSKs: []cssl.PSK{
		{Identity: []byte("meter 17"), Key: key(17)},
		{Identity: []byte("meter 18"), Key: key(18)},
	}}
	for _, k := range []cssl.PSK{
		{Identity: []byte("meter 18"), Key: key(18)},
		{Identity: []byte("meter 19"), Key: key(19)}, // which the server does not know
		{Identity: []byte("meter 17"), Key: key(99)},
	} {
		c, s, errs := pair(cssl.Config{PSKs: []cssl.PSK{k}}, server, "")
		fmt.Printf("%s: known as %q, refused: %v %v\n", k.Identity, s.State().PSK, errors.Is(errs[0], tlsio.ErrPSK), errors.Is(errs[1], tlsio.ErrPSK))
		c.Close()
		s.Close()
	}
	// Output:
	// meter 18: known as "meter 18", refused: false false
	// meter 19: known as "", refused: true true
	// meter 17: known as "", refused: true true
}

// A client that comes back sends its request along with its first message. The same ticket a second time is a replay, or a
// client that was told of no newer one: the server takes no early data then, and the client sends it again after the handshake.
func ExampleConn_WriteEarlyData() {
	cx := clientContext(cssl.Config{CAFile: testcerts.Path("root.pem")})
	sx := serverContext(cssl.Config{Certificates: certificate("ecdsa"), MaxEarlyData: 16384})
	defer cx.Close()
	defer sx.Close()

	var ticket *cssl.Session
	for _, visit := range []string{"first", "second", "second again"} {
		c, s := join(cx, sx, cssl.ConnConfig{ServerName: "localhost", Session: ticket})
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
