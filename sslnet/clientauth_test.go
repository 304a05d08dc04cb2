package sslnet

import (
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// authLater makes the server ask after the handshake, and the client answer with a certificate.
func authLater(server, client *cssl.Config) {
	server.PostHandshakeAuth, client.PostHandshakeAuth = true, true
	server.Verify, server.CAFile = cssl.VerifyRequire, testcerts.Path("root.pem")
	client.Certificates = certificate("client")
}

// TestRequestCertificate: a server asks in the midst of a conversation, and State has the answer.
func TestRequestCertificate(t *testing.T) {
	connected(t, networks, func(t *testing.T, client, server *Conn) {
		tlstest.Must(t, server.AwaitCertificate()) // nothing was asked
		if chain, _ := server.State().PeerCertificates(); chain != nil {
			t.Fatalf("%d certificates before", len(chain))
		}
		for range 2 {
			read := tlstest.Later(reading(client)) // the client answers when it reads
			tlstest.Must(t, server.RequestCertificate())
			tlstest.Must(t, server.AwaitCertificate())
			s := server.State()
			if chain, err := s.VerifiedChain(); len(chain) == 0 || err != nil || s.VerifyError != nil {
				t.Fatalf("%+v", s)
			}
			say(t, server, "x")
			done(t, read, "the client's Read")
		}
		// Data comes first: it has to be read.
		tlstest.Must(t, server.RequestCertificate())
		say(t, client, "1")
		read := tlstest.Later(reading(client))
		is(t, server.AwaitCertificate(), ErrUnread)
		is(t, server.AwaitCertificate(), ErrUnread)
		tlstest.Must(t, reading(server)())
		tlstest.Must(t, server.AwaitCertificate())
		say(t, server, "x")
		done(t, read, "the client's Read")
	}, authLater)
}

// TestRequestCertificateNever: a client that does not answer is the deadline's; the connection goes on.
func TestRequestCertificateNever(t *testing.T) {
	client, server := connect(t, networks["tcp"], authLater)
	tlstest.Must(t, server.RequestCertificate())
	is(t, server.RequestCertificate(), tlsio.ErrState)
	tlstest.Must(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	timedOut(t, server.AwaitCertificate())
	tlstest.Must(t, server.SetReadDeadline(noDeadline))
	say(t, client, "x")
	tlstest.Must(t, reading(server)())
	ended := tlstest.Later(server.AwaitCertificate)
	waiting(t, server, &server.reader, tlsio.WantRead)
	tlstest.Must(t, server.Close())
	fails(t, ended, "AwaitCertificate", net.ErrClosed)
}

// TestRequestCertificateRefused: an answer that does not pass is an error of the Read that meets it, on both sides, and so is a
// request that cannot be made of the call.
func TestRequestCertificateRefused(t *testing.T) {
	client, server := connect(t, networks["tcp"], authLater, func(_, c *cssl.Config) { c.Certificates = nil })
	tlstest.Must(t, server.RequestCertificate())
	read := tlstest.Later(reading(client))
	is(t, server.AwaitCertificate(), tlsio.AlertCertificateRequired)
	fails(t, read, "the client's Read", tlsio.AlertCertificateRequired)

	client, server = connect(t, networks["tcp"], authLater, func(_, c *cssl.Config) { c.PostHandshakeAuth = false })
	is(t, server.RequestCertificate(), tlsio.ErrState)
	is(t, client.RequestCertificate(), tlsio.ErrState)
}
