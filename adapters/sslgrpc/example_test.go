package sslgrpc_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"

	"github.com/spacemonad/go-openssl/adapters/sslgrpc"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/sslnet"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

// A server with gRPC's health service, and a client that asks it.
func Example() {
	serverTLS, err := cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
		ALPN:         []string{"h2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer serverTLS.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(sslgrpc.New(serverTLS)))
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	go srv.Serve(l)
	defer srv.Stop()

	clientTLS, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), ALPN: []string{"h2"}})
	if err != nil {
		log.Fatal(err)
	}
	defer clientTLS.Close()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(sslgrpc.New(clientTLS)))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	var p peer.Peer
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&p))
	if err != nil {
		log.Fatal(err)
	}
	state := p.AuthInfo.(credentials.TLSInfo).State
	fmt.Println(answer.Status, tls.VersionName(state.Version), state.NegotiatedProtocol, state.PeerCertificates[0].Subject.CommonName)
	// Output: SERVING TLS 1.3 h2 go-openssl test ECDSA server
}

// authInfo is a peer.Peer.AuthInfo with the State of package cssl.
type authInfo struct {
	credentials.TLSInfo
	State cssl.State
}

// Handlers get more of the connection than credentials.TLSInfo holds.
func ExampleCredentials_authInfo() {
	var tlsContext *cssl.Context // a server's
	creds := sslgrpc.New(tlsContext)
	creds.AuthInfo = func(conn *sslnet.Conn, info credentials.TLSInfo) (credentials.AuthInfo, error) {
		return authInfo{info, conn.State()}, nil
	}
	srv := grpc.NewServer(grpc.Creds(creds))
	defer srv.Stop()
}

// A server renews its certificate. Earlier connections keep theirs.
func ExampleCredentials_SetContext() {
	var oldContext *cssl.Context
	creds := sslgrpc.New(oldContext)
	renew := func(cfg cssl.Config) error {
		newContext, err := cssl.NewServerContext(cfg)
		if err != nil {
			return err // the old one stays in use
		}
		creds.SetContext(newContext)
		oldContext.Close()
		oldContext = newContext
		return nil
	}
	_ = renew // call it when the files have changed
}
