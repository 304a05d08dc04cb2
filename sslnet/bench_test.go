package sslnet

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"runtime/debug"
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

// BenchmarkStream sends 64 KiB at a time in one direction.
func BenchmarkStream(b *testing.B) {
	versus(b, func(b *testing.B, pair func() (client, server tlsConn)) {
		client, server := pair()
		shaken(b, client, server)
		got := tlstest.Later(func() error {
			p := make([]byte, 64<<10)
			for {
				if _, err := server.Read(p); err != nil {
					return err
				}
			}
		})
		p := make([]byte, 64<<10)
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			tlstest.Value(client.Write(p))(b)
		}
		tlstest.Must(b, client.CloseWrite())
		is(b, tlstest.Receive(b, got, "the end"), io.EOF)
		client.Close()
		server.Close()
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

// BenchmarkIdle reports what a connection costs that has echoed once and on which a Read waits: bytes of Go's
// heap, of stacks, and of resident memory, for each end. Run each contender in a process of its own, with
// -benchtime=1x: what one has freed, the next takes.
func BenchmarkIdle(b *testing.B) {
	const pairs = 400
	versus(b, func(b *testing.B, pair func() (client, server tlsConn)) {
		var all []tlsConn
		before := memoryNow(b)
		for range pairs {
			client, server := pair()
			shaken(b, client, server)
			all = append(all, client, server)
			go echoOver(server)
			roundTrip(b, client, make([]byte, 1024), make([]byte, 1024))
			go client.Read(make([]byte, 1))
		}
		after := memoryNow(b)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(after.heap-before.heap)/(2*pairs), "heap-B/conn")
		b.ReportMetric(float64(after.stacks-before.stacks)/(2*pairs), "stack-B/conn")
		b.ReportMetric(float64(after.resident-before.resident)/(2*pairs), "RSS-B/conn")
		for _, c := range all {
			c.Close()
		}
	})
}

type memory struct{ heap, stacks, resident int64 }

func memoryNow(b *testing.B) memory {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{int64(m.HeapAlloc), int64(m.StackInuse), tlstest.RSS(b)}
}
