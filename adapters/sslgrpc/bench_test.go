package sslgrpc

import (
	"bytes"
	"crypto/tls"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// versus runs a benchmark with these credentials at both ends and with gRPC's
// own at both ends: the same certificate, key exchange group and cipher suite.
// Both ends are in this process: CPU time and allocations are those of both.
func versus(b *testing.B, run func(b *testing.B, addr string, client credentials.TransportCredentials)) {
	for _, name := range []string{"openssl", "grpc-go"} {
		b.Run(name, func(b *testing.B) {
			var server, client credentials.TransportCredentials
			if name == "openssl" {
				x, y := usualServer.config(), usualClient.config()
				x.Groups, x.CipherSuites, y.Groups = "X25519", "TLS_AES_128_GCM_SHA256", "X25519"
				server, client = New(newContext(b, x, true)), New(newContext(b, y, false))
			} else {
				x, y := usualServer.goConfig(b), usualClient.goConfig(b)
				x.CurvePreferences, y.CurvePreferences = []tls.CurveID{tls.X25519}, []tls.CurveID{tls.X25519}
				server, client = credentials.NewTLS(x), credentials.NewTLS(y)
			}
			_, e, addr := serve(b, server)
			callUnary(b, dial(b, addr, client))
			state := (<-e.peers).AuthInfo.(credentials.TLSInfo).State
			if state.CurveID != tls.X25519 || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || state.DidResume {
				b.Fatalf("the handshake has led to %+v", state)
			}
			b.ReportAllocs()
			before := cpuTime(b)
			run(b, addr, client)
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime is what this process has used, in user and in system mode.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	tlstest.Must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUnary makes one call after another on one connection, with 1 KiB
// each way.
func BenchmarkUnary(b *testing.B) {
	versus(b, func(b *testing.B, addr string, creds credentials.TransportCredentials) {
		c, ctx := dial(b, addr, creds), b.Context()
		in, out := wrapperspb.Bytes(tlstest.Bytes(1<<10, 1)), new(wrapperspb.BytesValue)
		b.SetBytes(2 << 10)
		for b.Loop() {
			if err := c.Invoke(ctx, unaryMethod, in, out); err != nil {
				b.Fatal(err)
			}
		}
		if !bytes.Equal(in.Value, out.Value) {
			b.Error("other bytes came back")
		}
	})
}

// BenchmarkStream sends 64 KiB messages on one stream, and receives them back
// at the same time.
func BenchmarkStream(b *testing.B) {
	versus(b, func(b *testing.B, addr string, creds credentials.TransportCredentials) {
		s := tlstest.Value(dial(b, addr, creds).NewStream(b.Context(), &streamDesc, streamMethod))(b)
		in, out := wrapperspb.Bytes(tlstest.Bytes(64<<10, 1)), new(wrapperspb.BytesValue)
		sent := tlstest.Later(func() error {
			for range b.N {
				if err := s.SendMsg(in); err != nil {
					return err
				}
			}
			return s.CloseSend()
		})
		b.SetBytes(128 << 10)
		for range b.N {
			if err := s.RecvMsg(out); err != nil {
				b.Fatal(err)
			}
		}
		tlstest.Must(b, <-sent)
		if !bytes.Equal(in.Value, out.Value) {
			b.Error("other bytes came back")
		}
	})
}

// BenchmarkConnection makes a connection with a full handshake, one call with
// 1 KiB each way, and closes it.
func BenchmarkConnection(b *testing.B) {
	versus(b, func(b *testing.B, addr string, creds credentials.TransportCredentials) {
		ctx := b.Context()
		in, out := wrapperspb.Bytes(tlstest.Bytes(1<<10, 1)), new(wrapperspb.BytesValue)
		for b.Loop() {
			c := tlstest.Value(grpc.NewClient(addr, grpc.WithTransportCredentials(creds)))(b)
			if err := c.Invoke(ctx, unaryMethod, in, out); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
}
