package sslnet

import (
	"bytes"
	"errors"
	"io"
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

// early makes the server accept early data.
func early(n uint32) change { return func(server, _ *cssl.Config) { server.MaxEarlyData = n } }

// earlyPair makes a client with a session, and a server, of the same Contexts as an earlier connection.
func earlyPair(t *testing.T, network network, sx, cx *cssl.Context) (client, server *Conn) {
	t.Helper()
	var session *cssl.Session
	for range 2 {
		a, b := network(t)
		var err error
		client, err = Client(a, cx, cssl.ConnConfig{ServerName: "localhost", Session: session})
		must(t, err)
		server, err = Server(b, sx)
		must(t, err)
		for _, c := range []*Conn{client, server} {
			t.Cleanup(func() { c.SetCloseTimeout(0); c.Close() })
		}
		if session != nil {
			break
		}
		shake(t, client, server)
		read := later(reading(client))
		_, err = server.Write([]byte("x"))
		must(t, err)
		must(t, receive(t, read, "the client's Read"))
		session = client.Session()
	}
	return client, server
}

// readEarly reads early data to its end.
func readEarly(c *Conn) ([]byte, error) {
	var all []byte
	p := make([]byte, 5000)
	for {
		n, err := c.ReadEarlyData(p)
		if all = append(all, p[:n]...); err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// TestEarlyData: a client writes before the handshake, the server answers before it is done, and both go on from there.
func TestEarlyData(t *testing.T) {
	for name, network := range narrow {
		for _, size := range []int{1, 300000} {
			t.Run(name, func(t *testing.T) {
				sx, cx := contexts(t, early(300000))
				client, server := earlyPair(t, network, sx, cx)
				data := make([]byte, size)
				new(sequence).fill(data)
				var got []byte
				served := later(func() error {
					n := 0
					p := make([]byte, 5000)
					for {
						k, err := server.ReadEarlyData(p)
						got = append(got, p[:k]...)
						if n += k; err == io.EOF {
							break
						} else if err != nil {
							return err
						}
						if n == len(data) {
							if _, err := server.WriteEarlyData([]byte("early answer")); err != nil {
								return err
							}
						}
					}
					if err := server.Handshake(); err != nil {
						return err
					}
					return expect(server, 20000)
				})
				n, err := client.WriteEarlyData(data)
				must(t, err)
				if n != size {
					t.Fatalf("%d bytes of %d", n, size)
				}
				p := make([]byte, len("early answer"))
				_, err = io.ReadFull(client, p)
				must(t, err)
				if string(p) != "early answer" {
					t.Fatalf("%q", p)
				}
				must(t, send(client, 20000, 5000))
				must(t, receive(t, served, "the server"))
				if !bytes.Equal(got, data) {
					t.Fatalf("%d bytes came, or others", len(got))
				}
				for _, c := range []*Conn{client, server} {
					if s := c.State(); s.EarlyData != cssl.EarlyDataAccepted || !s.Resumed {
						t.Errorf("%+v", s)
					}
				}
			})
		}
	}
}

// TestEarlyDataRejected: the server does not ask, or has not allowed as much; what is written again arrives once.
func TestEarlyDataRejected(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	data := make([]byte, 1500)
	new(sequence).fill(data)
	n, err := client.WriteEarlyData(data)
	if n != 1000 || !errors.Is(err, tlsio.ErrState) {
		t.Fatalf("%d, %v", n, err)
	}
	shake(t, client, server)
	if s := client.State(); s.EarlyData != cssl.EarlyDataRejected {
		t.Fatalf("%v", s.EarlyData)
	}
	_, err = client.Write(data)
	must(t, err)
	must(t, expect(server, len(data)))
	if _, err := server.ReadEarlyData(make([]byte, 1)); !errors.Is(err, tlsio.ErrState) {
		t.Errorf("after the handshake: %v", err)
	}
	if _, err := client.WriteEarlyData(make([]byte, 1)); !errors.Is(err, tlsio.ErrState) {
		t.Errorf("after the handshake: %v", err)
	}
}

// TestEarlyDataOrder: what is called too early is refused, and the connection is as good as before.
func TestEarlyDataOrder(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	_, err := client.WriteEarlyData([]byte("hello"))
	must(t, err)
	p := make([]byte, 5)
	n, err := server.ReadEarlyData(p)
	must(t, err)
	if n != 5 {
		t.Fatalf("%d bytes", n)
	}
	is(t, reading(server)(), tlsio.ErrState)
	is(t, server.Handshake(), tlsio.ErrState)
	_, err = server.Write([]byte("x"))
	is(t, err, tlsio.ErrState)
	ended := later(client.Handshake)
	rest, err := readEarly(server)
	must(t, err)
	if len(rest) > 0 {
		t.Errorf("%q more", rest)
	}
	must(t, server.Handshake())
	must(t, receive(t, ended, "the client's handshake"))

	// A client without a session, and a server that asks it.
	client, server = pair(t, networks["pipe"], early(1000))
	_, err = client.WriteEarlyData([]byte("hello"))
	is(t, err, tlsio.ErrState)
	ended = later(client.Handshake)
	rest, err = readEarly(server)
	must(t, err)
	must(t, server.Handshake())
	must(t, receive(t, ended, "the client's handshake"))
	if len(rest) > 0 {
		t.Errorf("%q", rest)
	}
}

// TestEarlyDataEnds: deadlines, a peer that goes and a Close in the midst end what waits.
func TestEarlyDataEnds(t *testing.T) {
	sx, cx := contexts(t, early(1000))
	client, server := earlyPair(t, networks["tcp"], sx, cx)
	p := make([]byte, 100)
	must(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := server.ReadEarlyData(p)
	timedOut(t, err)
	must(t, server.SetReadDeadline(time.Time{}))
	_, err = client.WriteEarlyData([]byte("hello"))
	must(t, err)
	n, err := server.ReadEarlyData(p)
	must(t, err)
	if string(p[:n]) != "hello" {
		t.Errorf("%q", p[:n])
	}
	ended := later(func() error { _, err := server.ReadEarlyData(p); return err })
	waiting(t, server, &server.reader, tlsio.WantRead)
	must(t, client.NetConn().(*net.TCPConn).CloseWrite())
	is(t, receive(t, ended, "ReadEarlyData"), io.ErrUnexpectedEOF)
	is(t, server.Handshake(), io.ErrUnexpectedEOF)

	_, server = earlyPair(t, networks["tcp"], sx, cx)
	ended = later(func() error { _, err := server.ReadEarlyData(p); return err })
	waiting(t, server, &server.reader, tlsio.WantRead)
	must(t, server.Close())
	is(t, receive(t, ended, "ReadEarlyData"), net.ErrClosed)
}

// TestPSK: a key is all that both sides have, and State says whose it is.
func TestPSK(t *testing.T) {
	key := cssl.PSK{Identity: []byte("meter 17"), Key: bytes.Repeat([]byte{7}, 32)}
	client, server := connect(t, networks["tcp"], func(s, c *cssl.Config) {
		*s, *c = cssl.Config{PSKs: []cssl.PSK{key}}, cssl.Config{PSKs: []cssl.PSK{key}}
	})
	for _, c := range []*Conn{client, server} {
		s := c.State()
		if chain, _ := s.PeerCertificates(); string(s.PSK) != "meter 17" || s.VerifyError != nil || chain != nil {
			t.Errorf("%+v", s)
		}
	}
}
