// Package sslhttptest provides servers for tests of HTTP over TLS, as package
// net/http/httptest does:
//
//	s := sslhttptest.NewServer(handler)
//	defer s.Close()
//	resp, err := s.Client().Get(s.URL)
package sslhttptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
)

// Server is a server of HTTP/2 and HTTP/1.1 on a port of the loopback
// interface.
type Server struct {
	// URL is https://127.0.0.1:PORT.
	URL string
	// HTTP, ParkAfter and TLS may be changed before Start. TLS has a
	// certificate for 127.0.0.1, ::1, localhost and example.com, which is its
	// own CA.
	sslhttp.Server
	TLS cssl.Config

	certificate *x509.Certificate
	pem         []byte
	context     *cssl.Context
	served      chan struct{}
	closing     sync.Once

	mu      sync.Mutex
	clients []func()
}

// NewServer starts a Server.
func NewServer(h http.Handler) *Server {
	s := NewUnstartedServer(h)
	s.Start()
	return s
}

// NewUnstartedServer returns a Server that can be configured before Start.
func NewUnstartedServer(h http.Handler) *Server {
	s := &Server{served: make(chan struct{})}
	s.HTTP = &http.Server{Handler: h}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Test"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	s.certificate = must(x509.ParseCertificate(der))
	s.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.TLS = cssl.Config{ALPN: sslhttp.ALPN, Certificates: []cssl.Certificate{{
		ChainPEM: s.pem,
		KeyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}),
	}}}
	return s
}

// Start starts a Server of NewUnstartedServer. It panics if it cannot.
func (s *Server) Start() {
	if s.context != nil {
		panic("sslhttptest: Start was called before")
	}
	s.context = must(cssl.NewServerContext(s.TLS))
	l := must(sslnet.Listen("tcp", "127.0.0.1:0", s.context))
	s.URL = "https://" + l.Addr().String()
	go func() {
		defer close(s.served)
		_ = s.Serve(l) // http.ErrServerClosed
	}()
}

// Certificate returns the Server's certificate, which is also the CA that a
// client must trust.
func (s *Server) Certificate() *x509.Certificate { return s.certificate }

// Client returns a client that trusts the Server. Close ends its connections.
func (s *Server) Client() *http.Client {
	x := must(cssl.NewClientContext(cssl.Config{CAPEM: s.pem, ALPN: sslhttp.ALPN}))
	t := sslhttp.NewTransport(&sslnet.Dialer{Context: x}, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, func() {
		t.CloseIdleConnections()
		x.Close()
	})
	return &http.Client{Transport: t}
}

// Close waits until the requests in progress have been answered, and frees what
// the Server has.
func (s *Server) Close() {
	s.closing.Do(func() {
		s.mu.Lock()
		clients := s.clients
		s.clients = nil
		s.mu.Unlock()
		for _, end := range clients {
			end()
		}
		if s.context == nil {
			return // not started
		}
		_ = s.HTTP.Shutdown(context.Background())
		<-s.served
		s.context.Close()
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("sslhttptest: %v", err))
	}
	return v
}
