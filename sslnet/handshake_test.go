package sslnet

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestHandshakeByAll: Read, Write and Handshake at once, on both ends: the handshake is made once, and all of them
// come to their end.
func TestHandshakeByAll(t *testing.T) {
	inBoth(t, pairs, narrow, func(t *testing.T, client, server *Conn) {
		var ends []<-chan error
		for _, c := range []*Conn{client, server} {
			ends = append(ends, tlstest.Later(c.Handshake), tlstest.Later(c.Handshake),
				tlstest.Later(func() error { return c.HandshakeContext(t.Context()) }),
				tlstest.Later(func() error { _, err := c.Read(nil); return err }), tlstest.Later(reading(c)),
				tlstest.Later(writing(c)))
		}
		for _, end := range ends {
			done(t, end, "an operation")
		}
	}, big)
}

// TestHandshakeDuringRead: once the handshake is done, Handshake does not wait for a Read that is blocked.
func TestHandshakeDuringRead(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		read := tlstest.Later(reading(server))
		waiting(t, server, &server.reader, tlsio.WantRead)
		done(t, tlstest.Later(server.Handshake), "Handshake")
		done(t, tlstest.Later(func() error { _, err := server.Read(nil); return err }), "an empty Read")
		say(t, client, "x")
		done(t, read, "Read")
	})
}

// TestHandshakeBesideRead: a Read that is blocked in the handshake ends at its deadline; a Handshake that waited
// for it goes on.
func TestHandshakeBesideRead(t *testing.T) {
	pairs(t, networks, func(t *testing.T, client, server *Conn) {
		read := tlstest.Later(reading(client))
		waiting(t, client, &client.reader, tlsio.WantRead)
		shaken := tlstest.Later(client.Handshake)
		tlstest.Must(t, client.SetReadDeadline(longAgo))
		timedOut(t, tlstest.Receive(t, read, "Read"))
		timedOut(t, tlstest.Receive(t, shaken, "Handshake"))
		tlstest.Must(t, client.SetReadDeadline(noDeadline))
		shake(t, client, server)
	})
}

var errCause = errors.New("the cause")

// TestHandshakeContext: the end of the context closes the connection, and its cause is the answer of everything
// from then on. Before, nothing is done; after the handshake, it has no effect.
func TestHandshakeContext(t *testing.T) {
	for name, test := range map[string]pairTest{
		"before": func(t *testing.T, client, server *Conn) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errCause)
			is(t, client.HandshakeContext(ctx), errCause)
			shake(t, client, server)
		},
		"during": func(t *testing.T, client, server *Conn) {
			ctx, cancel := context.WithCancelCause(t.Context())
			shaken := tlstest.Later(func() error { return client.HandshakeContext(ctx) })
			waiting(t, client, &client.reader, tlsio.WantRead)
			alive := live.Conns()
			written := tlstest.Later(writing(client))
			waiting(t, client, &client.writer, tlsio.WantRead)
			cancel(errCause)
			fails(t, shaken, "Handshake", errCause)
			tlstest.Equal(t, "SSLs freed when HandshakeContext has returned", alive-live.Conns(), 1)
			fails(t, written, "Write", errCause)
			is(t, client.Handshake(), errCause)
			is(t, reading(client)(), errCause)
			is(t, client.SetDeadline(noDeadline), errCause)
			is(t, client.Close(), errCause)
			if err := tlstest.Receive(t, tlstest.Later(server.Handshake), "the server"); err == nil {
				t.Error("the server's handshake succeeded")
			}
		},
		"beside a Read": func(t *testing.T, client, _ *Conn) {
			read := tlstest.Later(reading(client))
			waiting(t, client, &client.reader, tlsio.WantRead)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			is(t, client.HandshakeContext(ctx), context.DeadlineExceeded)
			fails(t, read, "Read", context.DeadlineExceeded)
		},
		"after": func(t *testing.T, client, server *Conn) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := tlstest.Later(server.Handshake)
			tlstest.Must(t, client.HandshakeContext(ctx))
			done(t, ended, "the server's handshake")
			cancel()
			tlstest.Must(t, client.HandshakeContext(ctx))
			tlstest.Must(t, client.Handshake())
			flows(t, client, server, 100, 100)
		},
		"closed": func(t *testing.T, client, _ *Conn) {
			ctx, cancel := context.WithCancel(t.Context())
			shaken := tlstest.Later(func() error { return client.HandshakeContext(ctx) })
			waiting(t, client, &client.reader, tlsio.WantRead)
			tlstest.Must(t, client.Close())
			fails(t, shaken, "Handshake", net.ErrClosed)
			cancel()
			is(t, client.Handshake(), net.ErrClosed)
		},
	} {
		t.Run(name, func(t *testing.T) { pairs(t, networks, test) })
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
	inBoth(t, pairs, networks, func(t *testing.T, client, server *Conn) {
		ended := tlstest.Later(server.Handshake)
		first := client.Handshake()
		alert(t, first, tlsio.AlertUnknownCA, tlsio.AlertSent)
		for what, op := range map[string]func() error{"Handshake": client.Handshake, "Read": reading(client), "Write": writing(client)} {
			if err := op(); err != first {
				t.Errorf("%s: %v, want the handshake's %v", what, err, first)
			}
		}
		if s := client.State(); s.Version != 0 || client.ConnectionState().HandshakeComplete {
			t.Errorf("state: %+v", s)
		}
		tlstest.Must(t, client.Close())
		err := tlstest.Receive(t, ended, "the server's handshake")
		if err == nil && server.State().Version == cssl.TLS13 { // it was over before the client has looked at the certificate
			err = reading(server)()
		}
		alert(t, err, tlsio.AlertUnknownCA, tlsio.AlertReceived)
		is(t, reading(client)(), net.ErrClosed)
	}, otherCA)
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
			written := tlstest.Later(func() error { return send(client, 30_000, 10_000) })
			ended := tlstest.Later(server.Handshake)
			alert(t, tlstest.Receive(t, ended, "the server's handshake"), tlsio.AlertCertificateRequired, tlsio.AlertSent)
			if name != "pipe" { // whose engine takes what comes
				done(t, written, "Write")
			}
			tlstest.Must(t, server.Close())
			alert(t, reading(client)(), tlsio.AlertCertificateRequired, tlsio.AlertReceived)
			client.Close()
			if name == "pipe" {
				tlstest.Receive(t, written, "Write")
			}
		})
	}
}

// TestFailureWakesWriter: reading fails for good, by a record that was forged, while a Write is blocked. The Write
// hears of it, and the alert follows what was accepted before.
func TestFailureWakesWriter(t *testing.T) {
	connected(t, narrow, func(t *testing.T, client, server *Conn) {
		n := full(t, server)
		written := tlstest.Later(writing(server))
		waiting(t, server, &server.writer, tlsio.WantWrite)
		forged := append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...)
		tlstest.Value(client.NetConn().Write(forged))(t)
		alert(t, reading(server)(), tlsio.AlertBadRecordMAC, tlsio.AlertSent)
		alert(t, tlstest.Receive(t, written, "Write"), tlsio.AlertBadRecordMAC, tlsio.AlertSent)
		take(t, server, client, n)
		alert(t, reading(client)(), tlsio.AlertBadRecordMAC, tlsio.AlertReceived)
	})
}
