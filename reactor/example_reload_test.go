package reactor_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// A new certificate, as a server would load on SIGHUP, without a restart. What cannot be loaded changes nothing;
// connections that live keep what they have, although their Context has been closed.
func ExampleServer_SetContext() {
	server, addr, stop := serve(echo{})
	defer stop()
	current := server.Context
	defer func() { current.Close() }()
	reload := func(name string) error {
		next, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{
			{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")},
		}})
		if err != nil {
			return err
		}
		server.SetContext(next)
		current.Close()
		current = next
		return nil
	}

	var clients []*tls.Conn
	for _, name := range []string{"", "missing", "rsa"} {
		if name != "" {
			if err := reload(name); errors.Is(err, fs.ErrNotExist) {
				fmt.Println("no such file")
			} else if err != nil {
				log.Fatal(err)
			}
		}
		client, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
	}
	for _, client := range clients {
		fmt.Fprint(client, "hello")
		answer := make([]byte, 5)
		io.ReadFull(client, answer)
		fmt.Println(client.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm, string(answer))
	}
	// Output:
	// no such file
	// ECDSA hello
	// ECDSA hello
	// RSA hello
}
