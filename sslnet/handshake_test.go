package sslnet

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestHandshakeByAll: Read, Write and Handshake at once, on both ends: the handshake is made once, and all of them
// come to their end.
func TestHandshakeByAll(t *testing.T) {
	for name, network := range narrow {
		for version, v := range versions {
			t.Run(name+" "+version, func(t *testing.T) {
				client, server := pair(t, network, v, big)
				var ends []<-chan error
				for _, c := range []*Conn{client, server} {
					ends = append(ends, later(c.Handshake), later(c.Handshake),
						later(func() error { return c.HandshakeContext(t.Context()) }),
						later(func() error { _, err := c.Read(nil); return err }), later(reading(c)),
						later(func() error { _, err := c.Write([]byte("x")); return err }))
				}
				for _, end := range ends {
					must(t, receive(t, end, "an operation"))
				}
			})
		}
	}
}

// TestHandshakeDuringRead: once the handshake is done, Handshake does not wait for a Read that is blocked.
func TestHandshakeDuringRead(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		read := later(reading(server))
		waiting(t, server, &server.reader, tlsio.WantRead)
		must(t, receive(t, later(server.Handshake), "Handshake"))
		must(t, receive(t, later(func() error { _, err := server.Read(nil); return err }), "an empty Read"))
		_, err := client.Write([]byte("x"))
		must(t, err)
		must(t, receive(t, read, "Read"))
	})
}

// TestHandshakeBesideRead: a Read that is blocked in the handshake ends at its deadline; a Handshake that waited
// for it goes on.
func TestHandshakeBesideRead(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, network)
			read := later(reading(client))
			waiting(t, client, &client.reader, tlsio.WantRead)
			shaken := later(client.Handshake)
			must(t, client.SetReadDeadline(longAgo))
			timedOut(t, receive(t, read, "Read"))
			timedOut(t, receive(t, shaken, "Handshake"))
			must(t, client.SetReadDeadline(noDeadline))
			shake(t, client, server)
		})
	}
}

var errCause = errors.New("the cause")

// TestHandshakeContext: the end of the context closes the connection, and its cause is the answer of everything
// from then on. Before, nothing is done; after the handshake, it has no effect.
func TestHandshakeContext(t *testing.T) {
	for name, network := range networks {
		t.Run(name+" before", func(t *testing.T) {
			client, server := pair(t, network)
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errCause)
			is(t, client.HandshakeContext(ctx), errCause)
			shake(t, client, server)
		})
		t.Run(name+" during", func(t *testing.T) {
			client, server := pair(t, network)
			ctx, cancel := context.WithCancelCause(t.Context())
			shaken := later(func() error { return client.HandshakeContext(ctx) })
			waiting(t, client, &client.reader, tlsio.WantRead)
			alive := live.Conns()
			written := later(func() error { _, err := client.Write([]byte("x")); return err })
			waiting(t, client, &client.writer, tlsio.WantRead)
			cancel(errCause)
			is(t, receive(t, shaken, "Handshake"), errCause)
			if n := alive - live.Conns(); n != 1 {
				t.Errorf("%d connections were freed when HandshakeContext returned, want 1", n)
			}
			is(t, receive(t, written, "Write"), errCause)
			is(t, client.Handshake(), errCause)
			is(t, reading(client)(), errCause)
			is(t, client.SetDeadline(noDeadline), errCause)
			is(t, client.Close(), errCause)
			if err := receive(t, later(server.Handshake), "the server"); err == nil {
				t.Error("the server's handshake succeeded")
			}
		})
		t.Run(name+" beside a Read", func(t *testing.T) {
			client, _ := pair(t, network)
			read := later(reading(client))
			waiting(t, client, &client.reader, tlsio.WantRead)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			is(t, client.HandshakeContext(ctx), context.DeadlineExceeded)
			is(t, receive(t, read, "Read"), context.DeadlineExceeded)
		})
		t.Run(name+" after", func(t *testing.T) {
			client, server := pair(t, network)
			ctx, cancel := context.WithCancel(t.Context())
			ended := later(server.Handshake)
			must(t, client.HandshakeContext(ctx))
			must(t, receive(t, ended, "the server's handshake"))
			cancel()
			must(t, client.HandshakeContext(ctx))
			must(t, client.Handshake())
			sent := later(func() error { return send(client, 100, 100) })
			must(t, expect(server, 100))
			must(t, receive(t, sent, "Write"))
		})
		t.Run(name+" closed", func(t *testing.T) {
			client, _ := pair(t, network)
			ctx, cancel := context.WithCancel(t.Context())
			shaken := later(func() error { return client.HandshakeContext(ctx) })
			waiting(t, client, &client.reader, tlsio.WantRead)
			must(t, client.Close())
			is(t, receive(t, shaken, "Handshake"), net.ErrClosed)
			cancel()
			is(t, client.Handshake(), net.ErrClosed)
		})
	}
}

// otherCA makes the client trust nobody who has signed the server's certificate.
func otherCA(_, client *cssl.Config) { client.CAFile = testcerts.Path("other-root.pem") }

// wantCertificate makes the server ask for the client's.
func wantCertificate(server, _ *cssl.Config) {
	server.CAFile, server.Verify = testcerts.Path("root.pem"), cssl.VerifyRequire
}

// TestHandshakeFails: a failed handshake is a *tlsio.Error with the alert, on both ends, and stays; also if who
// found it closes at once.
func TestHandshakeFails(t *testing.T) {
	for name, network := range networks {
		for version, v := range versions {
			t.Run(name+" "+version, func(t *testing.T) {
				client, server := pair(t, network, v, otherCA)
				ended := later(server.Handshake)
				first := client.Handshake()
				alert(t, first, tlsio.AlertUnknownCA, tlsio.AlertSent)
				for what, op := range map[string]func() error{
					"Handshake": client.Handshake, "Read": reading(client),
					"Write": func() error { _, err := client.Write([]byte("x")); return err },
				} {
					if err := op(); err != first {
						t.Errorf("%s: %v, want the handshake's %v", what, err, first)
					}
				}
				if s := client.State(); s.Version != 0 || client.ConnectionState().HandshakeComplete {
					t.Errorf("state: %+v", s)
				}
				must(t, client.Close())
				err := receive(t, ended, "the server's handshake")
				if version == "TLS 1.3" && err == nil {
					err = reading(server)()
				}
				alert(t, err, tlsio.AlertUnknownCA, tlsio.AlertReceived)
				is(t, reading(client)(), net.ErrClosed)
			})
		}
	}
}

func alert(t *testing.T, err error, want tlsio.Alert, side tlsio.AlertSide) {
	t.Helper()
	var e *tlsio.Error
	if !errors.As(err, &e) || e.Alert != want || e.AlertSide != side {
		t.Fatalf("got %v, want the alert %v", err, want)
	}
}

// TestAlertNotReset: the server refuses a client that has sent data along with the end of its handshake, and
// closes at once. The data that nobody reads does not destroy the alert (P13).
func TestAlertNotReset(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, network, wantCertificate)
			// In TLS 1.3 the client's handshake is done before the server has looked at it.
			written := later(func() error { return send(client, 30_000, 10_000) })
			ended := later(server.Handshake)
			alert(t, receive(t, ended, "the server's handshake"), tlsio.AlertCertificateRequired, tlsio.AlertSent)
			if name != "pipe" { // whose engine takes what comes
				must(t, receive(t, written, "Write"))
			}
			must(t, server.Close())
			alert(t, reading(client)(), tlsio.AlertCertificateRequired, tlsio.AlertReceived)
			client.Close()
			if name == "pipe" {
				receive(t, written, "Write")
			}
		})
	}
}

// TestFailureWakesWriter: reading fails for good, by a record that was forged, while a Write is blocked. The Write
// hears of it, and the alert follows what was accepted before.
func TestFailureWakesWriter(t *testing.T) {
	for name, network := range narrow {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, network)
			n := full(t, server)
			written := later(func() error { _, err := server.Write([]byte("x")); return err })
			waiting(t, server, &server.writer, tlsio.WantWrite)
			forged := append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...)
			_, err := client.NetConn().Write(forged)
			must(t, err)
			alert(t, reading(server)(), tlsio.AlertBadRecordMAC, tlsio.AlertSent)
			alert(t, receive(t, written, "Write"), tlsio.AlertBadRecordMAC, tlsio.AlertSent)
			take(t, server, client, n)
			alert(t, reading(client)(), tlsio.AlertBadRecordMAC, tlsio.AlertReceived)
		})
	}
}

// TestNothingFromPeer: a peer that ends before its first byte.
func TestNothingFromPeer(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			a, b := network(t)
			client, server := pairOver(t, a, b)
			must(t, client.NetConn().Close())
			is(t, server.Handshake(), io.ErrUnexpectedEOF)
			is(t, server.Handshake(), io.ErrUnexpectedEOF)
		})
	}
}
