package sslnet

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// tlsConn is what Conn and *tls.Conn have in common.
type tlsConn interface {
	net.Conn
	Handshake() error
}

// versus runs a benchmark for this package and for crypto/tls, with the same certificate, key exchange group and cipher
// suite. connect makes both ends of a connection, and their handshake.
func versus(b *testing.B, run func(b *testing.B, connect func() (client, server tlsConn))) {
	sx, cx := contexts(b, func(server, _ *cssl.Config) {
		server.Groups, server.CipherSuites = "X25519", "TLS_AES_128_GCM_SHA256"
	})
	gs, gc := goConfigs(b)
	gc.Certificates = nil
	gs.CurvePreferences = []tls.CurveID{tls.X25519}
	gc.CurvePreferences = gs.CurvePreferences
	for _, name := range []string{"sslnet", "crypto/tls"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			run(b, func() (client, server tlsConn) {
				x, y := networks["tcp"](b)
				if name == "sslnet" {
					client = tlstest.Value(Client(x, cx, cssl.ConnConfig{ServerName: "localhost"}))(b)
					server = tlstest.Value(Server(y, sx))(b)
				} else {
					client, server = tls.Client(x, gc), tls.Server(y, gs)
				}
				ended := tlstest.Later(server.Handshake)
				tlstest.Must(b, client.Handshake())
				done(b, ended, "the server's handshake")
				return client, server
			})
		})
	}
}

// BenchmarkEcho1K sends 1 KiB there and back.
func BenchmarkEcho1K(b *testing.B) {
	versus(b, func(b *testing.B, connect func() (client, server tlsConn)) {
		client, server := connect()
		go func() {
			echoOver(server)
			server.Close()
		}()
		p, back := make([]byte, 1024), make([]byte, 1024)
		b.SetBytes(1024)
		for b.Loop() {
			roundTrip(b, client, p, back)
		}
		client.Close()
	})
}

// BenchmarkHandshake makes a connection, with a full handshake, and closes it.
func BenchmarkHandshake(b *testing.B) {
	versus(b, func(b *testing.B, connect func() (client, server tlsConn)) {
		for b.Loop() {
			client, server := connect()
			client.Close()
			server.Close()
		}
	})
}
