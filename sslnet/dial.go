package sslnet

import (
	"cmp"
	"context"
	"errors"
	"net"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/dialbound"
)

// Dialer connects to TLS servers. Its fields resemble those of tls.Dialer. Any
// number of goroutines may use a Dialer at once.
type Dialer struct {
	// Net resolves the name and connects. It sets the local address,
	// keep-alive, resolver and so on. Its Timeout and Deadline bound the
	// handshake too, as in crypto/tls; so does the context. nil means the zero
	// net.Dialer.
	Net *net.Dialer
	// NetDialContext, if set, connects in place of Net: through a proxy, for
	// example. The timeouts of Net still apply.
	NetDialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Context is a client's Context. It is required.
	Context *cssl.Context
	// Config has the name to verify, and a session to resume. If ServerName is
	// empty, the host of the dialed address is used; an IP address is verified
	// as such. A unix socket has no host: set ServerName or
	// InsecureSkipNameCheck.
	Config cssl.ConnConfig
}

// Dial calls DialContext with context.Background.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to address and performs the handshake, which verifies
// the server's certificate. It returns a *Conn. After that, ctx has no effect
// on the connection.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch {
	case d.Context == nil:
		return nil, errors.New("sslnet: Dialer.Context is nil")
	case d.Context.IsServer():
		return nil, errors.New("sslnet: Dialer.Context must be a client's, not a server's")
	}
	nd := cmp.Or(d.Net, new(net.Dialer))
	ctx, cancel := dialbound.Context(ctx, nd)
	defer cancel()
	dial := d.NetDialContext
	if dial == nil {
		dial = nd.DialContext
	}
	nc, err := dial(ctx, network, address)
	if err == nil && nc == nil {
		err = errors.New("sslnet: NetDialContext returned no connection and no error")
	}
	if err != nil {
		return nil, err
	}
	cfg := d.Config
	if remote := nc.RemoteAddr(); cfg.ServerName == "" && (remote == nil || remote.Network() != "unix") {
		// What has been dialed can be split.
		cfg.ServerName, _, _ = net.SplitHostPort(address)
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
			return nil, err // has the addresses already
		}
		return nil, &net.OpError{Op: "handshake", Net: network, Addr: nc.RemoteAddr(), Err: err}
	}
	return c, nil
}
