package cssl

import (
	"fmt"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// established is a pair that is ready for data.
func established(t testing.TB) *pair {
	t.Helper()
	p := plainPair(t).opened()
	return p
}

// pass writes msg on one side and reads it on the other.
func (p *pair) pass(from, to *Conn, msg, buf []byte) {
	for left := msg; len(left) > 0; {
		r := from.Write(left)
		if r.N == 0 {
			p.t.Fatal(r)
		}
		left = left[r.N:]
	}
	p.move(from, to)
	for n := 0; n < len(msg); {
		r := to.Read(buf)
		if r.N == 0 {
			p.t.Fatal(r)
		}
		n += r.N
	}
}

// TestNoAllocations: reading, writing and echoing 1 KiB allocate nothing on the Go side.
func TestNoAllocations(t *testing.T) {
	p := established(t)
	msg, buf := make([]byte, 1024), make([]byte, 16384)
	for name, f := range map[string]func(){
		"one way":     func() { p.pass(p.client, p.server, msg, buf) },
		"echo":        func() { p.pass(p.client, p.server, msg, buf); p.pass(p.server, p.client, msg, buf) },
		"read a want": func() { p.client.Read(buf) },
		"flush":       func() { p.client.Flush() },
	} {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkCrossing is a call into C that finds nothing to do.
func BenchmarkCrossing(b *testing.B) {
	p := established(b)
	b.ReportAllocs()
	for b.Loop() {
		p.client.Flush()
	}
}

// BenchmarkReadWant is a Read that finds nothing.
func BenchmarkReadWant(b *testing.B) {
	p := established(b)
	buf := make([]byte, 16384)
	b.ReportAllocs()
	for b.Loop() {
		p.client.Read(buf)
	}
}

// BenchmarkWrite writes records; the output is thrown away.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{1024, 16384} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := established(b)
			msg := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if p.client.Write(msg).N != size {
					b.Fatal("short write")
				}
				p.client.Take(p.buf)
			}
		})
	}
}

// BenchmarkWriteRead is one record written, carried and read.
func BenchmarkWriteRead(b *testing.B) {
	for _, size := range []int{1024, 16384} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := established(b)
			msg, buf := make([]byte, size), make([]byte, 16384)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				p.pass(p.client, p.server, msg, buf)
			}
		})
	}
}

// BenchmarkEcho is 1 KiB there and back.
func BenchmarkEcho(b *testing.B) {
	p := established(b)
	msg, buf := make([]byte, 1024), make([]byte, 16384)
	b.ReportAllocs()
	b.SetBytes(1024)
	for b.Loop() {
		p.pass(p.client, p.server, msg, buf)
		p.pass(p.server, p.client, msg, buf)
	}
}

// BenchmarkHandshake is a handshake of both sides in TLS 1.3.
func BenchmarkHandshake(b *testing.B) {
	for _, name := range []string{"ecdsa", "rsa", "resumed"} {
		b.Run(name, func(b *testing.B) {
			cert := name
			if name == "resumed" {
				cert = "ecdsa"
			}
			cx, sx := mustClient(b, clientConfig()), mustServer(b, serverConfig(cert))
			cfg := ConnConfig{ServerName: "localhost"}
			if name == "resumed" {
				p := newPair(b, cx, sx).opened()
				cfg.Session = p.client.Session()
			}
			buf := make([]byte, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				c := tlstest.Value(cx.NewEngineConn(cfg))(b)
				s := tlstest.Value(sx.NewEngineConn(ConnConfig{}))(b)
				p := &pair{t: b, client: c, server: s, buf: buf}
				p.handshake()
				if c.State().Resumed != (name == "resumed") {
					b.Fatal("not the handshake that was meant")
				}
				c.Close()
				s.Close()
			}
		})
	}
}
