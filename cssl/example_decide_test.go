package cssl_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// A server looks at each client before it chooses a certificate. The decision may come later, from any goroutine: the handshake answers
// WANT_CLIENT_HELLO_CB until then.
func ExampleConfig_clientHello() {
	rsa, err := cssl.NewServerContext(cssl.Config{Certificates: certificate("rsa")})
	if err != nil {
		log.Fatal(err)
	}
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
