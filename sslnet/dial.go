package sslnet

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// Dialer makes client connections. Its fields are like those of crypto/tls's Dialer. Dial does not change them, so that it
// may be called from many goroutines at once.
type Dialer struct {
	// Net resolves the name and connects: local address, keep-alive, resolver and so on. Its Timeout and Deadline bound the
	// handshake too, as in crypto/tls. nil is its zero value.
	Net *net.Dialer
	// Context is a client's: CAs, versions, ciphers; required.
	Context *cssl.Context
	// Config has the name to check, and a session to resume. Where ServerName is empty, it is the host of the
	// address that is dialled; an IP address is checked as such. A unix socket has no host:
	// set ServerName, or InsecureSkipNameCheck.
	Config cssl.ConnConfig
	// Timeout bounds all of it together: resolving, connecting, the handshake. 0 is no bound but the context's.
	Timeout time.Duration
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to address and makes the handshake, with the check of the server's certificate. The
// connection is a *Conn. Once it is there, the end of ctx has no effect on it.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch {
	case d.Context == nil:
		return nil, errors.New("sslnet: Dialer.Context is nil")
	case d.Context.IsServer():
		return nil, errors.New("sslnet: Dialer with a server's context")
	}
	nd := d.Net
	if nd == nil {
		nd = new(net.Dialer)
	}
	for _, timeout := range []time.Duration{d.Timeout, nd.Timeout} {
		if timeout != 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
	}
	if !nd.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, nd.Deadline)
		defer cancel()
	}
	nc, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg := d.Config
	if cfg.ServerName == "" && nc.RemoteAddr().Network() != "unix" {
		cfg.ServerName, _, _ = net.SplitHostPort(address) // which net.Dialer has understood
	}
	c, err := Client(nc, d.Context, cfg)
	if err != nil {
		nc.Close()
		return nil, err
	}
	if err := c.HandshakeContext(ctx); err != nil {
		c.Close()
		var o *net.OpError
		if errors.As(err, &o) {
			return nil, err // it says where already
		}
		return nil, &net.OpError{Op: "handshake", Net: network, Addr: nc.RemoteAddr(), Err: err}
	}
	return c, nil
}
