package sslnet

import (
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
)

// TestStartTLS: a connection on which plain bytes have gone both ways before.
func TestStartTLS(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			a, b := network(t)
			asked := later(func() error { _, err := io.WriteString(a, "STARTTLS\n"); return err })
			p := make([]byte, 9)
			_, err := io.ReadFull(b, p)
			must(t, err)
			must(t, receive(t, asked, "the question"))
			answered := later(func() error { _, err := io.WriteString(b, "go ahead\n"); return err })
			_, err = io.ReadFull(a, p)
			must(t, err)
			must(t, receive(t, answered, "the answer"))
			client, server := pairOver(t, a, b)
			shake(t, client, server)
			echoed := later(func() error { return send(client, 1000, 1000) })
			must(t, expect(server, 1000))
			must(t, receive(t, echoed, "the echo"))
		})
	}
}

// TestTLSInTLS: a Conn is a net.Conn like any other.
func TestTLSInTLS(t *testing.T) {
	outerClient, outerServer := connect(t, networks["tcp"])
	client, server := pairOver(t, net.Conn(outerClient), net.Conn(outerServer), func(s, c *cssl.Config) { s.MaxVersion = cssl.TLS12 })
	shake(t, client, server)
	sent := later(func() error { return send(client, 100_000, 10_000) })
	must(t, expect(server, 100_000))
	must(t, receive(t, sent, "the data"))
}
