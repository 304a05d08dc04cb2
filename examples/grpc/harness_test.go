package sslgrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) { testmain.Run(m, testmain.Freed) }

// echo is the service: it answers what it is sent. It tells each call's peer on peers.
type echo struct{ peers chan *peer.Peer }

// echoes is what grpc wants to know the type of a service by.
type echoes interface{ tell(context.Context) }

func (e *echo) tell(ctx context.Context) {
	if p, ok := peer.FromContext(ctx); ok {
		select {
		case e.peers <- p:
		default:
		}
	}
}

const (
	unaryMethod  = "/test.Echo/Unary"
	streamMethod = "/test.Echo/Stream"
)

var streamDesc = grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: echoStream}

var echoDesc = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*echoes)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: echoUnary}},
	Streams: []grpc.StreamDesc{streamDesc},
}

func echoUnary(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.BytesValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	srv.(echoes).tell(ctx)
	return in, nil
}

func echoStream(srv any, s grpc.ServerStream) error {
	srv.(echoes).tell(s.Context())
	for {
		m := new(wrapperspb.BytesValue)
		if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(m); err != nil {
			return err
		}
	}
}

// serve starts a server, which ends with the test.
func serve(t *testing.T, creds credentials.TransportCredentials) (*grpc.Server, *echo, string) {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	s := grpc.NewServer(grpc.Creds(creds))
	e := &echo{peers: make(chan *peer.Peer, 1)}
	s.RegisterService(&echoDesc, e)
	served := tlstest.Later(func() error { return s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		tlstest.IsError(t, "Serve", <-served, nil)
	})
	return s, e, l.Addr().String()
}

// dial makes a client, which ends with the test.
func dial(t *testing.T, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	c := tlstest.Value(grpc.NewClient(addr, grpc.WithTransportCredentials(creds)))(t)
	t.Cleanup(func() { c.Close() })
	return c
}

// limited is a context for what must not hang.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	t.Cleanup(cancel)
	return ctx
}

// side is what one of the two has.
type side struct {
	cert string // its certificate, "" for none
	ca   string // what it checks the other one's with, "" for not at all
	alpn string
}

// The usual ones: a server with a certificate, and a client that checks it.
var usualServer, usualClient = side{cert: "ecdsa", alpn: "h2"}, side{ca: "root.pem", alpn: "h2"}

// ours makes credentials of this package.
func (s side) ours(t *testing.T, server bool) *Credentials {
	t.Helper()
	var cfg cssl.Config
	if s.alpn != "" {
		cfg.ALPN = []string{s.alpn}
	}
	if s.cert != "" {
		cfg.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path(s.cert + ".pem"), KeyFile: testcerts.Path(s.cert + ".key")}}
	}
	if s.ca != "" {
		cfg.CAFile, cfg.Verify = testcerts.Path(s.ca), cssl.VerifyRequire
	}
	build := cssl.NewClientContext
	if server {
		build = cssl.NewServerContext
	}
	x := tlstest.Value(build(cfg))(t)
	t.Cleanup(x.Close)
	return New(x)
}

// theirs makes the credentials that come with gRPC, over crypto/tls.
func (s side) theirs(t *testing.T) credentials.TransportCredentials {
	t.Helper()
	cfg := new(tls.Config)
	if s.cert != "" {
		pair := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path(s.cert+".pem"), testcerts.Path(s.cert+".key")))(t)
		cfg.Certificates = []tls.Certificate{pair}
	}
	if s.ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(testcerts.Read(t, s.ca))
		cfg.RootCAs, cfg.ClientCAs, cfg.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	}
	return credentials.NewTLS(cfg)
}
