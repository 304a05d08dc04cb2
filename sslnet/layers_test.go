package sslnet

import (
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestStartTLS: a connection on which plain bytes have gone both ways before.
func TestStartTLS(t *testing.T) {
	each(t, networks, func(t *testing.T, network network) {
		a, b := network(t)
		asked := tlstest.Later(func() error { _, err := io.WriteString(a, "STARTTLS\n"); return err })
		p := make([]byte, 9)
		tlstest.Value(io.ReadFull(b, p))(t)
		done(t, asked, "the question")
		answered := tlstest.Later(func() error { _, err := io.WriteString(b, "go ahead\n"); return err })
		tlstest.Value(io.ReadFull(a, p))(t)
		done(t, answered, "the answer")
		client, server := pairOver(t, a, b)
		shake(t, client, server)
		flows(t, client, server, 1000, 1000)
	})
}

// TestTLSInTLS: a Conn is a net.Conn like any other.
func TestTLSInTLS(t *testing.T) {
	outerClient, outerServer := connect(t, networks["tcp"])
	client, server := pairOver(t, net.Conn(outerClient), net.Conn(outerServer), func(s, c *cssl.Config) { s.MaxVersion = cssl.TLS12 })
	shake(t, client, server)
	flows(t, client, server, 100_000, 10_000)
}
