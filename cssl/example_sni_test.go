package cssl_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// One server, another certificate for each name. A name that is in no map gets the Context's own.
func ExampleConfig_SNI() {
	names := map[string]*cssl.Context{}
	for name, file := range map[string]string{"example.test": "rsa", "*.wild.test": "ed25519"} {
		x, err := cssl.NewServerContext(cssl.Config{Certificates: certificate(file)})
		if err != nil {
			log.Fatal(err)
		}
		defer x.Close()
		names[name] = x
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
