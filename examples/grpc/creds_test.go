package sslgrpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// callUnary makes one call and compares the answer.
func callUnary(t *testing.T, c *grpc.ClientConn, opts ...grpc.CallOption) {
	t.Helper()
	in, out := wrapperspb.Bytes([]byte("one")), new(wrapperspb.BytesValue)
	tlstest.Must(t, c.Invoke(limited(t), unaryMethod, in, out, opts...))
	if !bytes.Equal(out.Value, in.Value) {
		t.Errorf("the answer to %q is %q", in.Value, out.Value)
	}
}

// callStream sends n messages of size bytes and reads them back at the same time.
func callStream(t *testing.T, c *grpc.ClientConn, n, size int) {
	t.Helper()
	s := tlstest.Value(c.NewStream(limited(t), &streamDesc, streamMethod))(t)
	message := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	sent := tlstest.Later(func() error {
		for i := range n {
			if err := s.SendMsg(wrapperspb.Bytes(message(i))); err != nil {
				return err
			}
		}
		return s.CloseSend()
	})
	for i := range n {
		m := new(wrapperspb.BytesValue)
		tlstest.Must(t, s.RecvMsg(m))
		if !bytes.Equal(m.Value, message(i)) {
			t.Fatalf("message %d is not what was sent", i)
		}
	}
	tlstest.IsError(t, "after the last message", s.RecvMsg(new(wrapperspb.BytesValue)), io.EOF)
	tlstest.Must(t, <-sent)
}

// TestInterop: unary calls and a stream of 8 MiB each way, with this package and with gRPC's own credentials at
// either end, with and without a client's certificate.
func TestInterop(t *testing.T) {
	mutualServer, mutualClient := side{cert: "rsa", ca: "root.pem", alpn: "h2"}, side{cert: "client", ca: "root.pem", alpn: "h2"}
	for _, test := range []struct {
		name           string
		server, client credentials.TransportCredentials
	}{
		{"both ours", usualServer.ours(t, true), usualClient.ours(t, false)},
		{"our server", usualServer.ours(t, true), usualClient.theirs(t)},
		{"our client", usualServer.theirs(t), usualClient.ours(t, false)},
		{"our server, mutual", mutualServer.ours(t, true), mutualClient.theirs(t)},
		{"our client, mutual", mutualServer.theirs(t), mutualClient.ours(t, false)},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, addr := serve(t, test.server)
			c := dial(t, addr, test.client)
			for range 3 {
				callUnary(t, c)
			}
			callStream(t, c, 128, 64<<10)
		})
	}
}

// TestAuthInfo: with client certificates, handlers and clients see whom they talk to.
func TestAuthInfo(t *testing.T) {
	server, client := usualServer, usualClient
	server.ca, client.cert = "root.pem", "client"
	_, e, addr := serve(t, server.ours(t, true))
	c := dial(t, addr, client.ours(t, false))
	var atClient peer.Peer
	callUnary(t, c, grpc.Peer(&atClient))
	for name, p := range map[string]*peer.Peer{"client": <-e.peers, "go-openssl test ECDSA server": &atClient} {
		info, ok := p.AuthInfo.(AuthInfo)
		if !ok {
			t.Fatalf("%s: AuthInfo is %T", name, p.AuthInfo)
		}
		s := info.State
		sent, err := s.PeerCertificates()
		verified, verr := s.VerifiedChain()
		if err != nil || verr != nil || len(sent) == 0 || sent[0].Subject.CommonName != name || len(verified) < 2 ||
			s.ALPN != "h2" || s.Version != cssl.TLS13 {
			t.Errorf("%s: %v %v, %v %v, %+v", name, sent, err, verified, verr, s)
		}
		if err := credentials.CheckSecurityLevel(info, credentials.PrivacyAndIntegrity); err != nil || info.AuthType() != "tls" {
			t.Errorf("%s: %v, %s", name, err, info.AuthType())
		}
		if tls := info.TLSInfo.State; tls.NegotiatedProtocol != "h2" || len(tls.PeerCertificates) == 0 {
			t.Errorf("%s: as gRPC's own: %+v", name, tls)
		}
	}
	// gRPC asks AuthInfo whether a call may have another authority than its connection.
	callUnary(t, c, grpc.CallAuthority("a.wild.test"))
	err := c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.CallAuthority("other.test"))
	wantError(t, err, codes.Unavailable, "other.test")
}

func wantError(t *testing.T, err error, code codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("error %v, want one with code %v", err, code)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

// TestRefused: who does not fit is refused, and the caller is told why.
func TestRefused(t *testing.T) {
	wrongCA, wrongName, noALPN, asks := usualClient, usualServer, usualServer, usualServer
	wrongCA.ca, wrongName.cert, noALPN.alpn, asks.ca = "other-root.pem", "wrongname", "", "root.pem"
	clientWithout := usualClient
	clientWithout.alpn = ""
	for _, test := range []struct {
		name           string
		server, client side
		says           []string
	}{
		{"wrong CA", usualServer, wrongCA, []string{"handshake", "certificate verify failed", "unable to get local issuer certificate"}},
		{"wrong name", wrongName, usualClient, []string{"handshake", "IP address mismatch"}},
		{"server without ALPN", noALPN, usualClient, []string{"led to nothing", "cssl.Config.ALPN"}},
		{"client without ALPN", usualServer, clientWithout, []string{"led to nothing", "cssl.Config.ALPN"}},
		// The client's handshake is over before the server looks at its certificate, so it may write into a closed
		// connection before it reads the alert.
		{"no client certificate", asks, usualClient, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, addr := serve(t, test.server.ours(t, true))
			c := dial(t, addr, test.client.ours(t, false))
			err := c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
			wantError(t, err, codes.Unavailable, test.says...)
		})
	}
}

// TestGracefulStop: a stream that is under way goes on to its end, new calls are refused, and GracefulStop returns
// then.
func TestGracefulStop(t *testing.T) {
	srv, _, addr := serve(t, usualServer.ours(t, true))
	c := dial(t, addr, usualClient.ours(t, false))
	s := tlstest.Value(c.NewStream(limited(t), &streamDesc, streamMethod))(t)
	exchange := func() {
		t.Helper()
		tlstest.Must(t, s.SendMsg(wrapperspb.Bytes([]byte("on"))))
		tlstest.Must(t, s.RecvMsg(new(wrapperspb.BytesValue)))
	}
	exchange()
	stopped := tlstest.Later(func() bool { srv.GracefulStop(); return true })
	// The listener is closed first. Until then calls may still succeed.
	var err error
	for err == nil {
		err = c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
	}
	wantError(t, err, codes.Unavailable)
	tlstest.Nothing(t, stopped, "GracefulStop before the stream's end")
	exchange()
	tlstest.Must(t, s.CloseSend())
	tlstest.IsError(t, "at the end", s.RecvMsg(new(wrapperspb.BytesValue)), io.EOF)
	<-stopped
}

// pair is a TCP connection, its client first.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	client = tlstest.Value(net.Dial("tcp", l.Addr().String()))(t)
	server = tlstest.Value(l.Accept())(t)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestHandshakeEnds: the end of the context ends a client's handshake with a server that says nothing, and a
// server's is ended by a client that leaves, with the error that gRPC does not log.
func TestHandshakeEnds(t *testing.T) {
	a, b := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := tlstest.Later(func() error {
		_, _, err := usualClient.ours(t, false).ClientHandshake(ctx, "localhost", a)
		return err
	})
	tlstest.Value(b.Read(make([]byte, 1)))(t) // it has begun
	cancel()
	tlstest.IsError(t, "the client", <-ended, context.Canceled)
	tlstest.Must(t, b.SetReadDeadline(time.Now().Add(tlstest.Hang)))
	if _, err := io.Copy(io.Discard, b); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("after a handshake that was given up, the connection below is open")
	}
	a, b = pair(t)
	a.Close()
	if _, _, err := usualServer.ours(t, true).ServerHandshake(b); err != io.EOF {
		t.Errorf("the server's error is %v, want io.EOF", err)
	}
}

// TestWrongSide: a server's Context makes no client.
func TestWrongSide(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, _, err := usualServer.ours(t, true).ClientHandshake(limited(t), "localhost", a); err == nil {
		t.Error("a server's context is taken for a client")
	}
	if _, _, err := usualClient.ours(t, false).ServerHandshake(b); err == nil {
		t.Error("a client's context is taken for a server")
	}
}

// TestNames: the host of an authority, and the name that replaces it.
func TestNames(t *testing.T) {
	for authority, want := range map[string]string{
		"localhost": "localhost", "localhost:443": "localhost", "[::1]:443": "::1", "[::1]": "[::1]", "::1": "::1", "127.0.0.1:1": "127.0.0.1",
	} {
		if got := hostOf(authority); got != want {
			t.Errorf("the host of %q is %q, want %q", authority, got, want)
		}
	}
	_, _, addr := serve(t, side{cert: "wrongname", alpn: "h2"}.ours(t, true))
	creds := usualClient.ours(t, false)
	clone := creds.Clone().(*Credentials)
	tlstest.Must(t, clone.OverrideServerName("other.test"))
	if creds.serverName != "" {
		t.Error("a clone's name has changed the original's")
	}
	callUnary(t, dial(t, addr, clone))
}

// TestLost: a connection that is lost without Close is freed.
func TestLost(t *testing.T) {
	a, b := pair(t)
	before := live.Conns()
	client := tlstest.Later(func() net.Conn {
		c, _, err := usualClient.ours(t, false).ClientHandshake(limited(t), "localhost", a)
		if err != nil {
			t.Error(err)
			return a
		}
		return c
	})
	_, _, err := usualServer.ours(t, true).ServerHandshake(b)
	tlstest.Must(t, err)
	tlstest.Must(t, b.Close()) // all that gRPC does in such a case
	(<-client).Close()
	tlstest.Until(t, "it is freed", func() bool { runtime.GC(); return live.Conns() <= before })
}
