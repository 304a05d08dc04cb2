// Package sslgrpc gives gRPC the TLS of OpenSSL: transport credentials over package sslnet.
//
//	x, err := cssl.NewServerContext(cssl.Config{Certificates: …, ALPN: []string{"h2"}})
//	s := grpc.NewServer(grpc.Creds(sslgrpc.New(x)))
//
//	x, err := cssl.NewClientContext(cssl.Config{CAFile: "ca.pem", ALPN: []string{"h2"}})
//	c, err := grpc.NewClient("example.org:443", grpc.WithTransportCredentials(sslgrpc.New(x)))
//
// The other side may be one of ours, or have the credentials that come with gRPC.
//
// It is a module of its own, so that who needs no gRPC does not get it with go-openssl.
package sslgrpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
	"google.golang.org/grpc/credentials"
)

// handshakeTimeout bounds a server's handshakes. gRPC bounds them too (grpc.ConnectionTimeout, by default as long)
// with a deadline of the socket, which a handshake that had to wait for the socket to take bytes has replaced with
// its own.
const handshakeTimeout = 120 * time.Second

// Credentials are the transport credentials of a server or of a client. They may be used from any goroutine, but for
// OverrideServerName.
type Credentials struct {
	context    *cssl.Context
	serverName string
}

// New makes credentials of x, which stays the caller's and must be open for as long as connections are made. Its
// cssl.Config.ALPN must have h2.
func New(x *cssl.Context) *Credentials { return &Credentials{context: x} }

// ClientHandshake makes a client's handshake over raw, with the check of the server's certificate for the host of
// authority. gRPC calls it.
func (c *Credentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	tc, err := sslnet.Client(raw, c.context, cssl.ConnConfig{ServerName: hostOf(authority)})
	if err != nil {
		return nil, nil, err
	}
	return handshake(ctx, tc)
}

// ServerHandshake makes a server's handshake over raw. gRPC calls it. Of a client that leaves meanwhile, such as a
// load balancer that only looks whether somebody listens, the error is io.EOF, which gRPC does not log.
func (c *Credentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	tc, err := sslnet.Server(raw, c.context)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	conn, info, err := handshake(ctx, tc)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return conn, info, err
}

// handshake makes the handshake of either side. It closes the connection if that fails.
func handshake(ctx context.Context, c *sslnet.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, nil, err
	}
	state := c.State()
	if state.ALPN != "h2" {
		c.Close()
		return nil, nil, fmt.Errorf("sslgrpc: gRPC needs h2, but ALPN with %v has led to %s: both sides must have h2, ours in cssl.Config.ALPN",
			c.RemoteAddr(), cmp.Or(state.ALPN, "nothing"))
	}
	info := AuthInfo{State: state}
	info.TLSInfo.State = c.ConnectionState()
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return newConn(c), info, nil
}

// hostOf is the name in an authority, which may have a port.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority // without a port; package cssl knows brackets
}

// Info tells gRPC that this is TLS, and the name that OverrideServerName has set.
func (c *Credentials) Info() credentials.ProtocolInfo {
	//lint:ignore SA1019 it is how OverrideServerName, which the interface asks for, comes to have an effect
	return credentials.ProtocolInfo{SecurityProtocol: "tls", ServerName: c.serverName}
}

// Clone makes a copy with the same Context.
func (c *Credentials) Clone() credentials.TransportCredentials {
	d := *c
	return &d
}

// OverrideServerName sets the name that gRPC takes as the authority, and so for the check of the certificate,
// instead of the target's. Call it before gRPC has the credentials. grpc.WithAuthority does the same for one
// client.
func (c *Credentials) OverrideServerName(name string) error {
	c.serverName = name
	return nil
}

// AuthInfo is what the handshake of a connection led to. A handler finds it with peer.FromContext, in
// Peer.AuthInfo. The embedded TLSInfo is the same in the form of gRPC's own credentials, for code that was written
// for these; its SPIFFEID is not set.
type AuthInfo struct {
	credentials.TLSInfo
	State cssl.State
}

// conn is a connection that is closed also if it is lost: after some errors (with write buffers of size 0) gRPC
// closes only the one below.
type conn struct{ *sslnet.Conn }

func newConn(c *sslnet.Conn) *conn {
	w := &conn{c}
	runtime.AddCleanup(w, func(c *sslnet.Conn) {
		c.SetCloseTimeout(0)
		c.Close()
	}, c)
	return w
}
