package sslgrpc_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/spacemonad/go-openssl/cssl"
	sslgrpc "github.com/spacemonad/go-openssl/examples/grpc"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"google.golang.org/grpc"
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
	state := p.AuthInfo.(sslgrpc.AuthInfo).State
	chain, err := state.PeerCertificates()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status, state.Version, state.ALPN, chain[0].Subject.CommonName)
	// Output: SERVING TLSv1.3 h2 go-openssl test ECDSA server
}
