package sslnet

import (
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// authLater makes the server ask after the handshake, and the client answer with a certificate.
func authLater(server, client *cssl.Config) {
	server.PostHandshakeAuth, client.PostHandshakeAuth = true, true
	server.Verify, server.CAFile = cssl.VerifyRequire, testcerts.Path("root.pem")
	client.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}}
}

// TestRequestCertificate: a server asks in the midst of a conversation, and State has the answer.
func TestRequestCertificate(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network, authLater)
			must(t, server.AwaitCertificate()) // nothing was asked
			if chain, _ := server.State().PeerCertificates(); chain != nil {
				t.Fatalf("%d certificates before", len(chain))
			}
			for range 2 {
				read := later(reading(client)) // the client answers when it reads
				must(t, server.RequestCertificate())
				must(t, server.AwaitCertificate())
				s := server.State()
				if chain, err := s.VerifiedChain(); len(chain) == 0 || err != nil || s.VerifyError != nil {
					t.Fatalf("%+v", s)
				}
				_, err := server.Write([]byte("x"))
				must(t, err)
				must(t, receive(t, read, "the client's Read"))
			}
			// Data comes first: it has to be read.
			must(t, server.RequestCertificate())
			_, err := client.Write([]byte("1"))
			must(t, err)
			read := later(reading(client))
			is(t, server.AwaitCertificate(), ErrUnread)
			is(t, server.AwaitCertificate(), ErrUnread)
			must(t, reading(server)())
			must(t, server.AwaitCertificate())
			_, err = server.Write([]byte("x"))
			must(t, err)
			must(t, receive(t, read, "the client's Read"))
		})
	}
}

// TestRequestCertificateNever: a client that does not answer is the deadline's; the connection goes on.
func TestRequestCertificateNever(t *testing.T) {
	client, server := connect(t, networks["tcp"], authLater)
	must(t, server.RequestCertificate())
	is(t, server.RequestCertificate(), tlsio.ErrState)
	must(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	timedOut(t, server.AwaitCertificate())
	must(t, server.SetReadDeadline(time.Time{}))
	_, err := client.Write([]byte("x"))
	must(t, err)
	must(t, reading(server)())
	ended := later(server.AwaitCertificate)
	waiting(t, server, &server.reader, tlsio.WantRead)
	must(t, server.Close())
	is(t, receive(t, ended, "AwaitCertificate"), net.ErrClosed)
}

// TestRequestCertificateRefused: an answer that does not pass is an error of the Read that meets it, on both sides, and so is a
// request that cannot be made of the call.
func TestRequestCertificateRefused(t *testing.T) {
	client, server := connect(t, networks["tcp"], authLater, func(_, c *cssl.Config) { c.Certificates = nil })
	must(t, server.RequestCertificate())
	read := later(reading(client))
	is(t, server.AwaitCertificate(), tlsio.AlertCertificateRequired)
	is(t, receive(t, read, "the client's Read"), tlsio.AlertCertificateRequired)

	client, server = connect(t, networks["tcp"], authLater, func(_, c *cssl.Config) { c.PostHandshakeAuth = false })
	is(t, server.RequestCertificate(), tlsio.ErrState)
	is(t, client.RequestCertificate(), tlsio.ErrState)
}
