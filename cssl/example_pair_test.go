package cssl_test

import (
	"cmp"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// certificate is one of those in testdata/certs.
func certificate(name string) []cssl.Certificate {
	return []cssl.Certificate{{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}}
}

// pair makes a client, which asks for a server name, and a server in engine mode, and carries their handshake to and fro
// until nothing is left to carry. The errors are the client's and the server's.
func pair(client, server cssl.Config, name string) (c, s *cssl.Conn, errs [2]error) {
	cx, err := cssl.NewClientContext(client)
	if err != nil {
		log.Fatal(err)
	}
	defer cx.Close() // what is made from it lives on
	sx, err := cssl.NewServerContext(server)
	if err != nil {
		log.Fatal(err)
	}
	defer sx.Close()
	if c, err = cx.NewEngineConn(cssl.ConnConfig{ServerName: name}); err != nil {
		log.Fatal(err)
	}
	if s, err = sx.NewEngineConn(cssl.ConnConfig{}); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 16<<10)
	carry := func(from, to *cssl.Conn) int { return to.Feed(buf[:from.Take(buf)]) }
	for moved := 1; moved > 0; {
		errs[0] = cmp.Or(errs[0], c.Handshake().Err)
		errs[1] = cmp.Or(errs[1], s.Handshake().Err)
		moved = carry(c, s) + carry(s, c)
	}
	return c, s, errs
}
