package cssl

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

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
		equal(t, testing.AllocsPerRun(200, f), 0, "%s allocations", name)
	}
}

// BenchmarkConn is what calls cost: one into C that finds nothing to do, a Read that finds nothing, a record that is written
// and thrown away, one that is carried and read, and 1 KiB there and back.
func BenchmarkConn(b *testing.B) {
	p := established(b)
	buf := make([]byte, 16384)
	write := func(msg []byte) {
		demand(b, p.client.Write(msg).N == len(msg), "short write")
		p.client.Take(p.buf)
	}
	pass := func(msg []byte) { p.pass(p.client, p.server, msg, buf) }
	for _, bb := range []struct {
		name string
		size int
		f    func(msg []byte)
	}{
		{"pass", 1024, pass}, {"pass", 16384, pass},
		{"echo", 1024, func(msg []byte) {
			pass(msg)
			p.pass(p.server, p.client, msg, buf)
		}},
		{"crossing", 0, func([]byte) { p.client.Flush() }}, {"want", 0, func([]byte) { p.client.Read(buf) }},
		{"write", 1024, write}, {"write", 16384, write}, // last: the peer misses them
	} {
		b.Run(fmt.Sprintf("%s/%d", bb.name, bb.size), func(b *testing.B) {
			msg := make([]byte, bb.size)
			b.ReportAllocs()
			b.SetBytes(int64(bb.size))
			for b.Loop() {
				bb.f(msg)
			}
		})
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
				demand(b, c.State().Resumed == (name == "resumed"), "not the handshake that was meant")
				c.Close()
				s.Close()
			}
		})
	}
}

// BenchmarkGroups is what the key exchange makes of a full handshake of TLS 1.3 with ECDSA P-256: CPU time of each side in
// µs and bytes on the wire, sent by both. All groups take turns in one run, so that they can be compared. "default" is
// both sides without Groups; the others are both sides with that one group, and so with one key share. An operation is a handshake
// with each.
func BenchmarkGroups(b *testing.B) {
	names := []string{"X25519", "P-256", "default"}
	if has35() {
		names = append(names, "X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "MLKEM768")
	}
	type exchange struct {
		client, server       *Context
		clientCPU, serverCPU time.Duration
		bytes                int
	}
	all := make([]*exchange, len(names))
	for i, name := range names {
		c, s := clientConfig(), serverConfig("ecdsa")
		if name != "default" {
			c.Groups, s.Groups = name, name
		}
		all[i] = &exchange{client: mustClient(b, c), server: mustServer(b, s)}
	}
	runtime.LockOSThread() // whose CPU time is read
	defer runtime.UnlockOSThread()
	buf := make([]byte, 1<<16)
	for b.Loop() {
		for _, x := range all {
			c := tlstest.Value(x.client.NewEngineConn(ConnConfig{ServerName: "localhost"}))(b)
			s := tlstest.Value(x.server.NewEngineConn(ConnConfig{}))(b)
			p := &pair{t: b, client: c, server: s, buf: buf}
			for range 2 {
				x.clientCPU += threadCPU(b, func() { c.Handshake() })
				x.bytes += p.move(c, s)
				x.serverCPU += threadCPU(b, func() { s.Handshake() })
				x.bytes += p.move(s, c)
			}
			r := s.Handshake()
			demand(b, r.Want == tlsio.WantNone && r.Err == nil && c.State().Version == TLS13, "the handshake is not done: %+v", r)
			c.Close()
			s.Close()
		}
	}
	for i, x := range all {
		b.ReportMetric(float64(x.serverCPU.Nanoseconds())/1e3/float64(b.N), names[i]+"-server-µs")
		b.ReportMetric(float64(x.clientCPU.Nanoseconds())/1e3/float64(b.N), names[i]+"-client-µs")
		b.ReportMetric(float64(x.bytes)/float64(b.N), names[i]+"-bytes")
	}
}

// threadCPU is the CPU time, user and system, that f takes on this thread.
func threadCPU(b *testing.B, f func()) time.Duration {
	var from, to unix.Timespec
	tlstest.Must(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from))
	f()
	tlstest.Must(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to))
	return time.Duration(to.Nano() - from.Nano())
}
