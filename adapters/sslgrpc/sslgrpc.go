// Package sslgrpc provides gRPC transport credentials for TLS over OpenSSL.
//
// A server:
//
//	tlsContext, err := cssl.NewServerContext(cssl.Config{
//		Certificates: []cssl.Certificate{{ChainFile: "server.pem", KeyFile: "server.key"}},
//		ALPN:         []string{"h2"},
//	})
//	server := grpc.NewServer(grpc.Creds(sslgrpc.New(tlsContext)))
//
// A client:
//
//	tlsContext, err := cssl.NewClientContext(cssl.Config{CAFile: "ca.pem", ALPN: []string{"h2"}})
//	conn, err := grpc.NewClient("example.org:443", grpc.WithTransportCredentials(sslgrpc.New(tlsContext)))
//
// The peer may use this package or any other implementation of gRPC.
//
// # Mutual TLS
//
// A server with cssl.Config.CAFile and Verify: cssl.VerifyRequire requires a
// client certificate. The client sets cssl.Config.Certificates.
//
// # Who the peer is
//
// The AuthInfo of a peer.Peer is a [credentials.TLSInfo], as with gRPC's own
// credentials, so that code for these works unchanged, for example package
// authz. [Credentials.AuthInfo] can replace it.
//
//   - State is [sslnet.Conn.ConnectionState]. Do not call its method
//     ExportKeyingMaterial. After a resumption, PeerCertificates and
//     VerifiedChains hold only the leaf.
//   - SPIFFEID is the URI in the peer's leaf, if it is a SPIFFE ID. As with
//     gRPC's own credentials, the leaf may be unverified where
//     cssl.Config.Verify accepts that: see VerifiedChains.
//   - SecurityLevel is PrivacyAndIntegrity, or IntegrityOnly with a cipher
//     suite that does not encrypt.
//
// # ALPN
//
// HTTP/2 over TLS requires the ALPN protocol "h2" (RFC 9113, section 3.3). A
// handshake without it fails, on either side.
//
// # Server names
//
// A client verifies the server's certificate for the authority of the
// connection, without its port. gRPC takes the authority from
// grpc.WithAuthority, OverrideServerName, the resolver or the target. It is
// also the server name that the client sends (SNI), unless it is an IP address.
package sslgrpc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/grpclog"
)

var logger = grpclog.Component("sslgrpc")

// handshakeTimeout limits a server's handshakes. gRPC also sets a deadline on
// the socket (grpc.ConnectionTimeout, by default as long), but a handshake that
// waited for writability has replaced it with its own.
const handshakeTimeout = 120 * time.Second

// Credentials implements credentials.TransportCredentials. Any goroutine may
// call its methods, except OverrideServerName.
type Credentials struct {
	// AuthInfo, if not nil, returns the peer.Peer.AuthInfo of a connection
	// after its handshake. Use it for what info lacks: conn.State() and
	// conn.ExportKeyingMaterial. It must not read, write or close conn, nor
	// block. The result should embed info. If AuthInfo returns an error, the
	// handshake fails with it. Several goroutines may call it at once. Set it
	// before gRPC has the Credentials.
	AuthInfo func(conn *sslnet.Conn, info credentials.TLSInfo) (credentials.AuthInfo, error)

	context    *atomic.Pointer[cssl.Context] // shared with clones
	serverName string
}

// New returns transport credentials that use x: a server's Context for
// grpc.Creds, a client's for grpc.WithTransportCredentials. The caller still
// owns x, and keeps it open while connections are made. Its ALPN must contain
// "h2".
func New(x *cssl.Context) *Credentials {
	c := &Credentials{context: new(atomic.Pointer[cssl.Context])}
	c.context.Store(x)
	return c
}

// SetContext sets the Context of handshakes from now on, also in all clones:
// servers renew their certificates with it. Earlier connections keep theirs.
// The caller may close the old Context when SetContext returns. While x is nil,
// closed or for the other side, all handshakes fail.
func (c *Credentials) SetContext(x *cssl.Context) { c.context.Store(x) }

// newConn returns what open returns for the current Context, with that Context.
// If SetContext has replaced it meanwhile, it may be closed: newConn tries
// again. After an error it closes raw.
func (c *Credentials) newConn(raw net.Conn, open func(*cssl.Context) (*sslnet.Conn, error)) (*sslnet.Conn, *cssl.Context, error) {
	for {
		x := c.context.Load()
		tc, err := open(x)
		if err == nil {
			return tc, x, nil
		}
		if c.context.Load() == x {
			raw.Close()
			return nil, nil, err
		}
	}
}

// ClientHandshake performs a client's handshake over raw, and verifies the
// server's certificate for the host of authority. The returned Conn owns raw.
// After an error raw is closed. When ctx ends during the handshake, the error
// is context.Cause(ctx). gRPC calls ClientHandshake.
func (c *Credentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	tc, x, err := c.newConn(raw, func(x *cssl.Context) (*sslnet.Conn, error) {
		if x != nil && !x.IsServer() && !x.OffersALPN("h2") {
			return nil, errNoALPN
		}
		return sslnet.Client(raw, x, cssl.ConnConfig{ServerName: hostOf(authority)})
	})
	if err != nil {
		return nil, nil, err
	}
	return c.handshake(ctx, tc, x)
}

// ServerHandshake performs a server's handshake over raw, for at most 120
// seconds. The returned Conn owns raw. After an error raw is closed. If the
// client closes the connection during the handshake, the error is io.EOF, which
// gRPC does not log: load balancers do that to see whether the port is open.
// gRPC calls ServerHandshake.
func (c *Credentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	tc, x, err := c.newConn(raw, func(x *cssl.Context) (*sslnet.Conn, error) { return sslnet.Server(raw, x) })
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	conn, info, err := c.handshake(ctx, tc, x)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return conn, info, err
}

// handshake performs the handshake of tc, which uses x. If it fails, it closes
// tc.
func (c *Credentials) handshake(ctx context.Context, tc *sslnet.Conn, x *cssl.Context) (net.Conn, credentials.AuthInfo, error) {
	info, err := c.authenticate(ctx, tc, x)
	if err != nil {
		tc.Close()
		return nil, nil, err
	}
	return closedWhenLost(tc), info, nil
}

func (c *Credentials) authenticate(ctx context.Context, tc *sslnet.Conn, x *cssl.Context) (credentials.AuthInfo, error) {
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	info := credentials.TLSInfo{State: tc.ConnectionState()}
	if protocol := info.State.NegotiatedProtocol; protocol != "h2" {
		return nil, alpnError(x, tc.RemoteAddr(), protocol)
	}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	if !encrypts(tc.State().Cipher) {
		info.SecurityLevel = credentials.IntegrityOnly
	}
	if len(info.State.PeerCertificates) > 0 {
		var err error
		if info.SPIFFEID, err = spiffeID(info.State.PeerCertificates[0]); err != nil {
			logger.Warningf("the certificate of %v has an invalid SPIFFE ID: %v", tc.RemoteAddr(), err)
		}
	}
	if c.AuthInfo == nil {
		return info, nil
	}
	own, err := c.AuthInfo(tc, info)
	if err == nil && own == nil {
		err = errors.New("sslgrpc: Credentials.AuthInfo has returned nil: return the TLSInfo that it gets, or a struct that embeds it")
	}
	return own, err
}

var errNoALPN = errors.New(`sslgrpc: gRPC needs ALPN "h2", which this side does not offer: set cssl.Config.ALPN to "h2"`)

// alpnError returns why protocol is not h2.
func alpnError(x *cssl.Context, addr net.Addr, protocol string) error {
	switch {
	case !x.OffersALPN("h2"):
		return errNoALPN
	case protocol != "":
		return fmt.Errorf(`sslgrpc: gRPC needs ALPN "h2", but the handshake with %v has selected %q: offer "h2" on both sides, `+
			`and on the server before all others`, addr, protocol)
	case x.IsServer():
		return fmt.Errorf(`sslgrpc: gRPC needs ALPN "h2", but the client %v has offered no protocol: enable ALPN "h2" there`, addr)
	}
	return fmt.Errorf(`sslgrpc: gRPC needs ALPN "h2", but the server %v has selected no protocol: enable ALPN "h2" there`, addr)
}

// encrypts reports whether a cipher suite of OpenSSL's encrypts: the suites of
// eNULL and of RFC 9150 do not.
func encrypts(suite string) bool {
	return !strings.Contains(suite, "NULL") && !strings.HasPrefix(suite, "TLS_SHA")
}

// spiffeID returns the SPIFFE ID in a certificate by the rules of gRPC's own
// credentials, or nil if there is none. The limits are those of the SPIFFE ID
// standard, section 2.3, and of the X.509-SVID standard, section 2.
func spiffeID(leaf *x509.Certificate) (*url.URL, error) {
	for _, u := range leaf.URIs {
		if u.Scheme != "spiffe" || u.User.Username() != "" {
			continue // another kind of URI
		}
		switch {
		case len(u.String()) > 2048:
			return nil, errors.New("it is longer than 2048 bytes")
		case u.Host == "":
			return nil, errors.New("it has no trust domain")
		case len(u.Host) > 255:
			return nil, errors.New("its trust domain is longer than 255 bytes")
		case u.Path == "":
			return nil, errors.New("it has no path")
		case len(leaf.URIs) > 1:
			return nil, errors.New("the certificate has more than one URI")
		}
		return u, nil
	}
	return nil, nil
}

// hostOf returns the host of an authority, which may have a port.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority // without a port; package cssl trims brackets
}

// Info returns the security protocol "tls", and the name that
// OverrideServerName has set.
func (c *Credentials) Info() credentials.ProtocolInfo {
	//lint:ignore SA1019 gRPC reads here what OverrideServerName has set
	return credentials.ProtocolInfo{SecurityProtocol: "tls", ServerName: c.serverName}
}

// Clone returns a copy. SetContext of either sets the Context of both.
func (c *Credentials) Clone() credentials.TransportCredentials {
	d := *c
	return &d
}

// OverrideServerName sets the authority, and so the name that the server's
// certificate must have. Call it before gRPC has the Credentials.
//
// Deprecated: use grpc.WithAuthority.
func (c *Credentials) OverrideServerName(name string) error {
	c.serverName = name
	return nil
}

// conn is a Conn that is closed when it is garbage collected: after some
// errors, gRPC (with write buffers of size 0) closes only the connection below.
type conn struct{ *sslnet.Conn }

func closedWhenLost(c *sslnet.Conn) net.Conn {
	w := &conn{c}
	runtime.AddCleanup(w, func(c *sslnet.Conn) {
		c.SetCloseTimeout(0)
		c.Close()
	}, c)
	return w
}

// SyscallConn returns the socket, whose options channelz reads.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.NetConn().(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, fmt.Errorf("sslgrpc: a connection over a %T has no socket", c.NetConn())
}
