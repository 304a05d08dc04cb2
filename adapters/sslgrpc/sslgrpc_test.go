package sslgrpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// callUnary makes one call and compares the reply.
func callUnary(t testing.TB, c *grpc.ClientConn, opts ...grpc.CallOption) {
	t.Helper()
	in, out := wrapperspb.Bytes([]byte("one")), new(wrapperspb.BytesValue)
	tlstest.Must(t, c.Invoke(limited(t), unaryMethod, in, out, opts...))
	if !bytes.Equal(out.Value, in.Value) {
		t.Errorf("the answer to %q is %q", in.Value, out.Value)
	}
}

// callStream sends n messages of size bytes, and receives them back at the same
// time.
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

// TestInterop: unary calls and a stream of 8 MiB each way, with this package
// and with gRPC's own credentials at either end, with and without a client's
// certificate.
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

// TestAuthInfo: with client certificates, handlers and clients see the same of
// their peer as with gRPC's own credentials.
func TestAuthInfo(t *testing.T) {
	server, client := usualServer, usualClient
	server.ca, client.cert = "root.pem", "client"
	for name, creds := range map[string][2]credentials.TransportCredentials{
		"ours": {server.ours(t, true), client.ours(t, false)}, "gRPC's own": {server.theirs(t), client.theirs(t)},
	} {
		t.Run(name, func(t *testing.T) {
			_, e, addr := serve(t, creds[0])
			c := dial(t, addr, creds[1], grpc.WithAuthority("localhost"))
			var atClient peer.Peer
			callUnary(t, c, grpc.Peer(&atClient))
			for name, p := range map[string]*peer.Peer{"client": <-e.peers, "go-openssl test ECDSA server": &atClient} {
				info, ok := p.AuthInfo.(credentials.TLSInfo)
				if !ok {
					t.Fatalf("%s: AuthInfo is %T", name, p.AuthInfo)
				}
				s := info.State
				if len(s.PeerCertificates) != 2 || s.PeerCertificates[0].Subject.CommonName != name {
					t.Errorf("%s: PeerCertificates are %v", name, s.PeerCertificates)
				}
				if len(s.VerifiedChains) != 1 || len(s.VerifiedChains[0]) != 3 || s.VerifiedChains[0][0].Subject.CommonName != name {
					t.Errorf("%s: VerifiedChains are %v", name, s.VerifiedChains)
				}
				if s.NegotiatedProtocol != "h2" || s.Version != tls.VersionTLS13 || !s.HandshakeComplete || s.CipherSuite == 0 ||
					s.ServerName != "localhost" {
					t.Errorf("%s: State is %+v", name, s)
				}
				if info.SecurityLevel != credentials.PrivacyAndIntegrity || info.AuthType() != "tls" || info.SPIFFEID != nil {
					t.Errorf("%s: %v, %s, %v", name, info.SecurityLevel, info.AuthType(), info.SPIFFEID)
				}
				value := info.GetSecurityValue().(*credentials.TLSChannelzSecurityValue)
				if !strings.HasPrefix(value.StandardName, "TLS_") || !bytes.Equal(value.RemoteCertificate, s.PeerCertificates[0].Raw) {
					t.Errorf("%s: channelz shows %+v", name, value)
				}
			}
			// gRPC asks AuthInfo whether a call may have another authority.
			callUnary(t, c, grpc.CallAuthority("a.wild.test"))
			err := c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.CallAuthority("else.test"))
			wantError(t, err, codes.Unavailable, "else.test")
		})
	}
}

// more is an AuthInfo with what TLSInfo lacks.
type more struct {
	credentials.TLSInfo
	state cssl.State
	key   string
}

func withMore(conn *sslnet.Conn, info credentials.TLSInfo) (credentials.AuthInfo, error) {
	key, err := conn.ExportKeyingMaterial("EXPORTER-test", nil, 32)
	return more{info, conn.State(), string(key)}, err
}

// TestOwnAuthInfo: Credentials.AuthInfo replaces the TLSInfo on either side, or
// refuses the peer.
func TestOwnAuthInfo(t *testing.T) {
	server, client := usualServer.ours(t, true), usualClient.ours(t, false)
	server.AuthInfo, client.AuthInfo = withMore, withMore
	_, e, addr := serve(t, server)
	var atClient peer.Peer
	callUnary(t, dial(t, addr, client.Clone()), grpc.Peer(&atClient))
	here, ok := atClient.AuthInfo.(more)
	there, ok2 := (<-e.peers).AuthInfo.(more)
	if !ok || !ok2 || here.key != there.key || len(here.key) != 32 || here.state.ALPN != "h2" || there.state.Version != cssl.TLS13 {
		t.Errorf("the client has %+v, the server %+v", here, there)
	}
	for says, f := range map[string]func(*sslnet.Conn, credentials.TLSInfo) (credentials.AuthInfo, error){
		"no guests today": func(*sslnet.Conn, credentials.TLSInfo) (credentials.AuthInfo, error) {
			return nil, errors.New("no guests today")
		},
		"Credentials.AuthInfo has returned nil": func(*sslnet.Conn, credentials.TLSInfo) (credentials.AuthInfo, error) { return nil, nil },
	} {
		client := usualClient.ours(t, false)
		client.AuthInfo = f
		c := dial(t, addr, client)
		wantError(t, c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)), codes.Unavailable, says)
	}
}

// TestSPIFFEID: the SPIFFE ID of either side is the one that gRPC's own
// credentials find.
func TestSPIFFEID(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, test := range []struct {
		uris []string
		want string
	}{
		{[]string{"spiffe://example.test/web"}, "spiffe://example.test/web"},
		{nil, ""},
		{[]string{"https://example.test/web"}, ""},
		{[]string{"spiffe:example.test"}, ""},
		{[]string{"spiffe://user@example.test/web"}, ""},
		{[]string{"spiffe://example.test"}, ""},
		{[]string{"spiffe:///web"}, ""},
		{[]string{"spiffe://" + long + "/web"}, ""},
		{[]string{"spiffe://example.test/" + strings.Repeat(long, 7)}, ""},
		{[]string{"spiffe://example.test/web", "spiffe://example.test/db"}, ""},
		{[]string{"https://example.test/web", "spiffe://example.test/db"}, ""},
	} {
		ca, cert := issue(t, test.uris...)
		s := side{own: cert, trust: ca, alpn: "h2"}
		for name, creds := range map[string][2]credentials.TransportCredentials{
			"ours": {s.ours(t, true), s.ours(t, false)}, "gRPC's own": {s.theirs(t), s.theirs(t)},
		} {
			_, e, addr := serve(t, creds[0])
			var atClient peer.Peer
			callUnary(t, dial(t, addr, creds[1]), grpc.Peer(&atClient))
			for _, p := range []*peer.Peer{&atClient, <-e.peers} {
				got := ""
				if id := p.AuthInfo.(credentials.TLSInfo).SPIFFEID; id != nil {
					got = id.String()
				}
				if got != test.want {
					t.Errorf("%s: the SPIFFE ID of %.80q is %q, want %q", name, test.uris, got, test.want)
				}
			}
		}
	}
}

// TestSecurityLevel: a suite without encryption gives integrity only.
func TestSecurityLevel(t *testing.T) {
	server, client := usualServer, usualClient
	server.tls12, client.tls12 = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"
	_, e, addr := serve(t, server.ours(t, true))
	var atClient peer.Peer
	callUnary(t, dial(t, addr, client.ours(t, false)), grpc.Peer(&atClient))
	for _, p := range []*peer.Peer{&atClient, <-e.peers} {
		if err := credentials.CheckSecurityLevel(p.AuthInfo, credentials.IntegrityOnly); err != nil {
			t.Error(err)
		}
		if credentials.CheckSecurityLevel(p.AuthInfo, credentials.PrivacyAndIntegrity) == nil {
			t.Error("a suite without encryption passes for privacy")
		}
	}
	for suite, want := range map[string]bool{
		"TLS_AES_128_GCM_SHA256": true, "ECDHE-RSA-AES128-GCM-SHA256": true, "TLS_SHA256_SHA256": false, "TLS_SHA384_SHA384": false,
		"NULL-SHA256": false,
	} {
		tlstest.Equal(t, suite, encrypts(suite), want)
	}
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

// TestRefused: a peer that cannot be verified is refused, and the caller gets
// the reason.
func TestRefused(t *testing.T) {
	wrongCA, wrongName, asks := usualClient, usualServer, usualServer
	wrongCA.ca, wrongName.cert, asks.ca = "other-root.pem", "wrongname", "root.pem"
	for _, test := range []struct {
		name           string
		server, client side
		says           []string
	}{
		{"wrong CA", usualServer, wrongCA, []string{"handshake", "certificate verify failed", "unable to get local issuer certificate"}},
		{"wrong name", wrongName, usualClient, []string{"handshake", "IP address mismatch"}},
		// The client's handshake is done before the server looks for its
		// certificate. It may write into a closed connection before it reads the
		// alert.
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

// TestGracefulStop: a stream that has begun goes on to its end, new calls are
// refused, and GracefulStop returns after the stream.
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

// TestHandshakeEnds: the end of the context ends a client's handshake with a
// silent server. A client that leaves ends a server's handshake, with the error
// that gRPC does not log.
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

// handshakes performs both halves of a handshake, closes what they return, and
// returns their errors.
func handshakes(t *testing.T, client, server credentials.TransportCredentials) (clientErr, serverErr error) {
	t.Helper()
	a, b := pair(t)
	ended := tlstest.Later(func() error {
		c, _, err := server.ServerHandshake(b)
		if err == nil {
			c.Close()
		}
		return err
	})
	c, _, err := client.ClientHandshake(limited(t), "localhost", a)
	if err == nil {
		c.Close()
	}
	return err, tlstest.Receive(t, ended, "the server's handshake")
}

// TestALPN: each side refuses a peer that has not agreed to h2, and says what
// to do.
func TestALPN(t *testing.T) {
	noServer, otherServer, noClient, otherClient := usualServer, usualServer, usualClient, usualClient
	noServer.alpn, otherServer.alpn, noClient.alpn, otherClient.alpn = "", "http/1.1", "", "http/1.1"
	both := usualServer
	both.alpn = "http/1.1,h2"
	bothClient := usualClient
	bothClient.alpn = both.alpn
	// plain are credentials that look at no ALPN.
	plain := func(s side, server bool) credentials.TransportCredentials { return unchecked{s.context(t, server)} }
	missing := []string{`gRPC needs ALPN "h2"`, "this side does not offer", "cssl.Config.ALPN"}
	for _, test := range []struct {
		name           string
		client, server credentials.TransportCredentials
		clientSays     []string
		serverSays     []string
	}{
		{"client without", noClient.ours(t, false), usualServer.ours(t, true), missing, nil},
		{"client with another", otherClient.ours(t, false), usualServer.ours(t, true), missing, nil},
		{"server without", plain(usualClient, false), noServer.ours(t, true), nil, missing},
		{"server with another", plain(bothClient, false), otherServer.ours(t, true), nil, missing},
		{"peer of the server without", plain(noClient, false), usualServer.ours(t, true), nil,
			[]string{`gRPC needs ALPN "h2"`, "the client 127.0.0.1:", "has offered no protocol"}},
		{"peer of the server prefers another", plain(bothClient, false), both.ours(t, true), nil,
			[]string{`gRPC needs ALPN "h2"`, `has selected "http/1.1"`, "before all others"}},
		{"peer of the client without", usualClient.ours(t, false), plain(noServer, true),
			[]string{`gRPC needs ALPN "h2"`, "the server 127.0.0.1:", "has selected no protocol"}, nil},
		{"peer of the client prefers another", bothClient.ours(t, false), plain(both, true),
			[]string{`gRPC needs ALPN "h2"`, `has selected "http/1.1"`}, nil},
		{"peer of the client has another", usualClient.ours(t, false), plain(otherServer, true), []string{"no application protocol"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			clientErr, serverErr := handshakes(t, test.client, test.server)
			for _, got := range []struct {
				side string
				err  error
				says []string
			}{{"client", clientErr, test.clientSays}, {"server", serverErr, test.serverSays}} {
				for _, part := range got.says {
					if got.err == nil || !strings.Contains(got.err.Error(), part) {
						t.Errorf("the error of the %s is %v, want it to say %q", got.side, got.err, part)
					}
				}
			}
		})
	}
}

// unchecked are credentials that accept any ALPN.
type unchecked struct{ x *cssl.Context }

func (u unchecked) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := sslnet.Client(raw, u.x, cssl.ConnConfig{ServerName: "localhost"})
	return u.handshake(ctx, c, err)
}

func (u unchecked) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := sslnet.Server(raw, u.x)
	return u.handshake(context.Background(), c, err)
}

func (unchecked) handshake(ctx context.Context, c *sslnet.Conn, err error) (net.Conn, credentials.AuthInfo, error) {
	if err == nil {
		err = c.HandshakeContext(ctx)
		if err != nil {
			c.Close()
		}
	}
	return c, nil, err
}

func (unchecked) Info() credentials.ProtocolInfo            { return credentials.ProtocolInfo{} }
func (u unchecked) Clone() credentials.TransportCredentials { return u }
func (unchecked) OverrideServerName(string) error           { return nil }

// TestWrongContext: a Context that is nil, closed or the other side's fails
// each handshake, and the connection below is closed.
func TestWrongContext(t *testing.T) {
	closed := map[bool]*Credentials{true: usualServer.ours(t, true), false: usualClient.ours(t, false)}
	closed[true].context.Load().Close()
	closed[false].context.Load().Close()
	for _, test := range []struct {
		says           string
		server, client *Credentials
	}{
		{"Context is nil", New(nil), New(nil)},
		{"closed", closed[true], closed[false]},
		{"needs a", usualClient.ours(t, false), usualServer.ours(t, true)},
	} {
		a, b := pair(t)
		_, _, clientErr := test.client.ClientHandshake(limited(t), "localhost", a)
		_, _, serverErr := test.server.ServerHandshake(b)
		for _, err := range []error{clientErr, serverErr} {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v, want it to say %q", err, test.says)
			}
		}
		for _, c := range []net.Conn{a, b} {
			tlstest.IsError(t, "the connection below", c.SetDeadline(time.Time{}), net.ErrClosed)
		}
	}
}

// TestHostOf: the host of an authority.
func TestHostOf(t *testing.T) {
	for authority, want := range map[string]string{
		"localhost": "localhost", "localhost:443": "localhost", "[::1]:443": "::1", "[::1]": "[::1]", "::1": "::1", "127.0.0.1:1": "127.0.0.1",
	} {
		tlstest.Equal(t, "the host of "+authority, hostOf(authority), want)
	}
}

// TestServerName: the name that the certificate must have, the one in SNI and
// the one in :authority, are those of gRPC's own credentials.
func TestServerName(t *testing.T) {
	for name, creds := range map[string]func(side, bool) credentials.TransportCredentials{
		"ours":       func(s side, server bool) credentials.TransportCredentials { return s.ours(t, server) },
		"gRPC's own": func(s side, _ bool) credentials.TransportCredentials { return s.theirs(t) },
	} {
		t.Run(name, func(t *testing.T) {
			_, e, addr := serve(t, creds(side{cert: "wrongname", alpn: "h2"}, true))
			for _, test := range []struct {
				override, authority string
				sni, header, fails  string
			}{
				{fails: "127.0.0.1"}, // the target's
				{authority: "other.test", sni: "other.test", header: "other.test"},
				{authority: "other.test:443", sni: "other.test", header: "other.test:443"},
				{authority: "else.test", fails: "else.test"},
				{override: "other.test", sni: "other.test", header: "other.test"},
				{override: "other.test", authority: "other.test", sni: "other.test", header: "other.test"},
				{override: "else.test", fails: "else.test"},
			} {
				original := creds(usualClient, false)
				clone := original.Clone()
				var opts []grpc.DialOption
				if test.override != "" {
					//lint:ignore SA1019 it has to work all the same
					tlstest.Must(t, clone.OverrideServerName(test.override))
				}
				//lint:ignore SA1019 it has to work all the same
				if got := original.Info().ServerName; got != "" {
					t.Errorf("the original of a clone has the name %q", got)
				}
				if test.authority != "" {
					opts = append(opts, grpc.WithAuthority(test.authority))
				}
				c := dial(t, addr, clone, opts...)
				if test.fails != "" {
					err := c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
					wantError(t, err, codes.Unavailable, "handshake failed", "certificate")
					continue
				}
				callUnary(t, c)
				tlstest.Equal(t, "SNI", (<-e.peers).AuthInfo.(credentials.TLSInfo).State.ServerName, test.sni)
				tlstest.Equal(t, ":authority", <-e.authorities, test.header)
			}
			both := creds(usualClient, false)
			//lint:ignore SA1019 it has to work all the same
			tlstest.Must(t, both.OverrideServerName("other.test"))
			if _, err := grpc.NewClient(addr, grpc.WithTransportCredentials(both), grpc.WithAuthority("else.test")); err == nil {
				t.Error("two names that differ are accepted")
			}
		})
	}
}

// TestSetContext: new connections use the new Context, also those of a clone.
// Earlier ones go on, though the old Context is closed.
func TestSetContext(t *testing.T) {
	creds := usualServer.ours(t, true)
	_, _, addr := serve(t, creds.Clone())
	name := func(c *grpc.ClientConn) string {
		var p peer.Peer
		callUnary(t, c, grpc.Peer(&p))
		return p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].Subject.CommonName
	}
	before := dial(t, addr, usualClient.ours(t, false))
	tlstest.Equal(t, "the server's name", name(before), "go-openssl test ECDSA server")
	renewed := usualServer
	renewed.cert = "rsa"
	old := creds.context.Load()
	creds.SetContext(renewed.context(t, true))
	old.Close()
	tlstest.Equal(t, "the server's name on a new connection", name(dial(t, addr, usualClient.ours(t, false))), "go-openssl test RSA server")
	tlstest.Equal(t, "the server's name on the old connection", name(before), "go-openssl test ECDSA server")

	// A client that trusts the server only after a change connects then.
	wrong := usualClient
	wrong.ca = "other-root.pem"
	client := wrong.ours(t, false)
	c := dial(t, addr, client)
	wantError(t, c.Invoke(limited(t), unaryMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)), codes.Unavailable)
	client.SetContext(usualClient.context(t, false))
	c.ResetConnectBackoff()
	callUnary(t, c, grpc.WaitForReady(true))
}

// TestSetContextMeanwhile: a handshake that has taken the old Context, which
// was closed before it began, uses the new one.
func TestSetContextMeanwhile(t *testing.T) {
	creds := usualClient.ours(t, false)
	a, _ := pair(t)
	renewed := usualClient.context(t, false)
	tries := 0
	c, x, err := creds.newConn(a, func(x *cssl.Context) (*sslnet.Conn, error) {
		if tries++; tries == 1 {
			creds.SetContext(renewed)
			x.Close()
		}
		return sslnet.Client(a, x, cssl.ConnConfig{ServerName: "localhost"})
	})
	tlstest.Must(t, err)
	defer c.Close()
	if tries != 2 || x != renewed {
		t.Errorf("%d tries, the new Context: %t", tries, x == renewed)
	}
}

// TestSetContextConcurrently: no handshake fails while another goroutine
// changes the Context.
func TestSetContextConcurrently(t *testing.T) {
	server, client := usualServer.ours(t, true), usualClient.ours(t, false)
	stop := make(chan struct{})
	ended := tlstest.Later(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			x, err := cssl.NewServerContext(usualServer.config())
			if err != nil {
				return err
			}
			old := server.context.Load()
			server.SetContext(x)
			old.Close()
		}
	})
	for range 20 {
		clientErr, serverErr := handshakes(t, client, server)
		if clientErr != nil || serverErr != nil {
			t.Errorf("the client's error is %v, the server's %v", clientErr, serverErr)
		}
	}
	close(stop)
	tlstest.Must(t, tlstest.Receive(t, ended, "the last change"))
	server.context.Load().Close()
}

// TestSocket: channelz finds the socket, if there is one.
func TestSocket(t *testing.T) {
	a, b := pair(t)
	ours := tlstest.Later(func() error {
		c, _, err := usualServer.ours(t, true).ServerHandshake(b)
		if err == nil {
			c.Close()
		}
		return err
	})
	c, _, err := usualClient.ours(t, false).ClientHandshake(limited(t), "localhost", a)
	tlstest.Must(t, err)
	defer c.Close()
	tlstest.Must(t, tlstest.Receive(t, ours, "the server's handshake"))
	raw := tlstest.Value(c.(syscall.Conn).SyscallConn())(t)
	kind := 0
	tlstest.Must(t, raw.Control(func(fd uintptr) {
		kind, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
	}))
	if err != nil || kind != syscall.SOCK_STREAM {
		t.Errorf("the socket's type is %d, %v", kind, err)
	}
	x, y := net.Pipe()
	defer y.Close()
	tc := tlstest.Value(sslnet.Client(x, usualClient.context(t, false), cssl.ConnConfig{ServerName: "localhost"}))(t)
	defer tc.Close()
	if _, err := (&conn{tc}).SyscallConn(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("over a pipe, the error is %v", err)
	}
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
