package sslgrpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) { testmain.Run(m, testmain.Freed) }

// echo is the service: it returns what it gets. It reports a call's peer and
// :authority, unless that of an earlier call was not received.
type echo struct {
	peers       chan *peer.Peer
	authorities chan string
}

// echoes is the HandlerType of the service.
type echoes interface{ tell(context.Context) }

func (e *echo) tell(ctx context.Context) {
	if p, ok := peer.FromContext(ctx); ok {
		select {
		case e.peers <- p:
		default:
		}
	}
	for _, name := range metadata.ValueFromIncomingContext(ctx, ":authority") {
		select {
		case e.authorities <- name:
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
func serve(t testing.TB, creds credentials.TransportCredentials) (*grpc.Server, *echo, string) {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	s := grpc.NewServer(grpc.Creds(creds))
	e := &echo{peers: make(chan *peer.Peer, 1), authorities: make(chan string, 1)}
	s.RegisterService(&echoDesc, e)
	served := tlstest.Later(func() error { return s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		tlstest.IsError(t, "Serve", <-served, nil)
	})
	return s, e, l.Addr().String()
}

// dial makes a client, which ends with the test.
func dial(t testing.TB, addr string, creds credentials.TransportCredentials, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	c := tlstest.Value(grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(creds))...))(t)
	t.Cleanup(func() { c.Close() })
	return c
}

// limited is a context for what must not hang.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	t.Cleanup(cancel)
	return ctx
}

// side is the configuration of a client or a server.
type side struct {
	cert string // its certificate, "" for none
	ca   string // what it checks the other one's with, "" for not at all
	alpn string

	own   *certificate // instead of cert
	trust []byte       // instead of ca
	tls12 string       // the ciphers of TLS 1.2, "" for TLS 1.3 (ours only)
}

// certificate is one that a test has made, in PEM.
type certificate struct{ chain, key []byte }

// issue makes a CA and a certificate of it with the URIs given, for clients and
// for servers named localhost.
func issue(t testing.TB, uris ...string) (ca []byte, cert *certificate) {
	t.Helper()
	caKey := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, u := range uris {
		leaf.URIs = append(leaf.URIs, tlstest.Value(url.Parse(u))(t))
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", tlstest.Value(x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey))(t)), &certificate{
		chain: encode("CERTIFICATE", tlstest.Value(x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), caKey))(t)),
		key:   encode("PRIVATE KEY", tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(t)),
	}
}

// The usual ones: a server with a certificate, and a client that checks it.
var usualServer, usualClient = side{cert: "ecdsa", alpn: "h2"}, side{ca: "root.pem", alpn: "h2"}

// ours makes credentials of this package.
func (s side) ours(t testing.TB, server bool) *Credentials {
	t.Helper()
	return New(s.context(t, server))
}

// context makes a Context, which is closed when the test ends.
func (s side) context(t testing.TB, server bool) *cssl.Context {
	t.Helper()
	return newContext(t, s.config(), server)
}

func newContext(t testing.TB, cfg cssl.Config, server bool) *cssl.Context {
	t.Helper()
	build := cssl.NewClientContext
	if server {
		build = cssl.NewServerContext
	}
	x := tlstest.Value(build(cfg))(t)
	t.Cleanup(x.Close)
	return x
}

func (s side) config() (cfg cssl.Config) {
	if s.alpn != "" {
		cfg.ALPN = strings.Split(s.alpn, ",")
	}
	if s.cert != "" {
		cfg.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path(s.cert + ".pem"), KeyFile: testcerts.Path(s.cert + ".key")}}
	}
	if s.own != nil {
		cfg.Certificates = []cssl.Certificate{{ChainPEM: s.own.chain, KeyPEM: s.own.key}}
	}
	if s.tls12 != "" {
		cfg.CipherList, cfg.MaxVersion = s.tls12, cssl.TLS12
	}
	if s.trust != nil {
		cfg.CAPEM, cfg.Verify = s.trust, cssl.VerifyRequire
	}
	if s.ca != "" {
		cfg.CAFile, cfg.Verify = testcerts.Path(s.ca), cssl.VerifyRequire
	}
	return cfg
}

// theirs makes the credentials that come with gRPC, over crypto/tls.
func (s side) theirs(t testing.TB) credentials.TransportCredentials {
	t.Helper()
	return credentials.NewTLS(s.goConfig(t))
}

func (s side) goConfig(t testing.TB) *tls.Config {
	t.Helper()
	cfg := new(tls.Config)
	if s.cert != "" {
		pair := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path(s.cert+".pem"), testcerts.Path(s.cert+".key")))(t)
		cfg.Certificates = []tls.Certificate{pair}
	}
	if s.own != nil {
		cfg.Certificates = []tls.Certificate{tlstest.Value(tls.X509KeyPair(s.own.chain, s.own.key))(t)}
	}
	trust := s.trust
	if s.ca != "" {
		trust = testcerts.Read(t, s.ca)
	}
	if trust != nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(trust)
		cfg.RootCAs, cfg.ClientCAs, cfg.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	}
	return cfg
}
