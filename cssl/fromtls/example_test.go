package fromtls_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/cssl/fromtls"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/sslnet"
)

// A server and a client that have been configured for crypto/tls.
func Example() {
	cert, err := tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key"))
	if err != nil {
		log.Fatal(err)
	}
	root, err := os.ReadFile(testcerts.Path("root.pem"))
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	server := &tls.Config{
		GetCertificate: func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
			fmt.Println("a certificate for", info.ServerName)
			return &cert, nil
		},
		NextProtos: []string{"echo"},
	}
	client := &tls.Config{RootCAs: roots, NextProtos: []string{"echo"}}

	cfg, err := fromtls.Server(server)
	if err != nil {
		log.Fatal(err)
	}
	sx, err := cssl.NewServerContext(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer sx.Close()
	l, err := sslnet.Listen("tcp", "127.0.0.1:0", sx)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintln(c, "hello")
	}()

	cfg, one, err := fromtls.Client(client)
	if err != nil {
		log.Fatal(err)
	}
	cx, err := cssl.NewClientContext(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer cx.Close()
	one.ServerName = "localhost" // an address was listened on
	c, err := (&sslnet.Dialer{Context: cx, Config: one}).Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var word string
	fmt.Fscan(c, &word)
	state := c.(*sslnet.Conn).ConnectionState()
	fmt.Println(word, state.NegotiatedProtocol, len(state.VerifiedChains[0]), "certificates")
	// Output:
	// a certificate for localhost
	// hello echo 3 certificates
}
