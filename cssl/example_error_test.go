package cssl_test

import (
	"errors"
	"fmt"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

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
