package sslnet

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// contenders are this package and crypto/tls: each makes both ends of a connection over a and b. They have the
// same certificate, key exchange group and cipher suite.
func contenders(b *testing.B) map[string]func(a, b net.Conn) (client, server tlsConn) {
	sx, cx := contexts(b, func(server, client *cssl.Config) {
		server.Groups, server.CipherSuites = "X25519", "TLS_AES_128_GCM_SHA256"
	})
	gs, gc := goConfigs(b)
	gc.Certificates = nil
	gs.CurvePreferences = []tls.CurveID{tls.X25519}
	gc.CurvePreferences = gs.CurvePreferences
	return map[string]func(a, b net.Conn) (client, server tlsConn){
		"sslnet": func(a, c net.Conn) (client, server tlsConn) {
			return tlstest.Value(Client(a, cx, cssl.ConnConfig{ServerName: "localhost"}))(b), tlstest.Value(Server(c, sx))(b)
		},
		"crypto/tls": func(a, c net.Conn) (client, server tlsConn) { return tls.Client(a, gc), tls.Server(c, gs) },
	}
}

// versus runs a benchmark for each of them.
func versus(b *testing.B, run func(b *testing.B, pair func() (client, server tlsConn))) {
	for _, name := range []string{"sslnet", "crypto/tls"} {
		b.Run(name, func(b *testing.B) {
			over := contenders(b)[name]
			b.ReportAllocs()
			run(b, func() (client, server tlsConn) {
				x, y := networks["tcp"](b)
				client, server = over(x, y)
				return client, server
			})
		})
	}
}

func shaken(b *testing.B, client, server tlsConn) {
	ended := tlstest.Later(server.Handshake)
	tlstest.Must(b, client.Handshake())
	tlstest.Must(b, tlstest.Receive(b, ended, "the server's handshake"))
}

// BenchmarkEcho1K sends 1 KiB there and back.
func BenchmarkEcho1K(b *testing.B) {
	versus(b, func(b *testing.B, pair func() (client, server tlsConn)) {
		client, server := pair()
		shaken(b, client, server)
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
	versus(b, func(b *testing.B, pair func() (client, server tlsConn)) {
		for b.Loop() {
			client, server := pair()
			shaken(b, client, server)
			client.Close()
			server.Close()
		}
	})
}
