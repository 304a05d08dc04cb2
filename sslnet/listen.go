package sslnet

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/cssl"
)

// Listener makes a server's Conn of each connection that another Listener accepts.
type Listener struct {
	net.Listener
	// MaxHandshakes is how many handshakes of accepted connections may be pending
	// at once; 0 is DefaultMaxHandshakes. A handshake is pending until it ends or
	// its Conn is closed. When there are so many, Accept gives the place of the
	// peer that has been silent longest to the next connection: a peer that has
	// sent nothing for a quarter of a second first, then one that has kept its
	// handshake waiting for two seconds. Their operations return
	// ErrHandshakeEvicted. If no peer has been silent for so long, Accept waits.
	// Set it before the first Accept.
	MaxHandshakes int

	context atomic.Pointer[cssl.Context]
	http2   atomic.Bool
	pending pending
	closing sync.Once
}

// Listen listens on a network address (see net.Listen) and answers TLS there. Accept does not wait for
// the handshake: the first Read, Write or Handshake of a Conn makes it, on the goroutine that serves it.
func Listen(network, address string, x *cssl.Context) (*Listener, error) {
	if err := ofServer(x); err != nil {
		return nil, err
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return NewListener(l, x), nil
}

// NewListener makes a Listener of l, which it owns. x is a server's Context, and stays the caller's.
func NewListener(l net.Listener, x *cssl.Context) *Listener {
	t := &Listener{Listener: l}
	t.context.Store(x)
	return t
}

// SetContext makes connections that are accepted from now on use x. Those that live keep what they have. The caller may close
// the old Context then. A Context that Accept refuses makes its next call fail for
// good, which ends a server: one that is nil, a client's, or offers h2 without
// AllowHTTP2.
func (l *Listener) SetContext(x *cssl.Context) { l.context.Store(x) }

// AllowHTTP2 tells l that its connections are served by code that reads
// State.ALPN and speaks HTTP/2 where that is h2. Package sslhttp calls it. Without
// it, Accept refuses a Context that offers h2, and the handshake of a connection
// fails that agrees on h2 by a Context which Config.ClientHello has chosen: http.Server speaks HTTP/2 over TLS
// on connections of crypto/tls alone, and would answer in HTTP/1.1.
func (l *Listener) AllowHTTP2() { l.http2.Store(true) }

// Close closes the listener below. Accept returns net.ErrClosed then, also where
// it waits for a pending handshake to end. Accepted connections live on.
func (l *Listener) Close() error {
	l.closing.Do(func() { l.pending.close() })
	return l.Listener.Close()
}

// usable says why Accept cannot serve connections with x, which no wait mends.
func (l *Listener) usable(x *cssl.Context) error {
	if err := ofServer(x); err != nil {
		return err
	}
	if l.MaxHandshakes < 0 {
		return &cssl.ConfigError{Setting: "MaxHandshakes", Value: strconv.Itoa(l.MaxHandshakes),
			Err: fmt.Errorf("negative; 0 is the default, %d", DefaultMaxHandshakes)}
	}
	if x.OffersALPN("h2") && !l.http2.Load() {
		return errHTTP2
	}
	return nil
}

var errHTTP2 error = &cssl.ConfigError{Setting: "ALPN", Value: "h2", Err: errors.New("clients would agree on HTTP/2, which http.Server " +
	"does not speak here: serve with sslhttp.Serve, or leave h2 out; if the server speaks it, or sslhttp.Serve has a listener " +
	"around this one, call AllowHTTP2")}

// ofServer says why no server can have x.
func ofServer(x *cssl.Context) error {
	switch {
	case x == nil:
		return errors.New("sslnet: the context is nil")
	case !x.IsServer():
		return errors.New("sslnet: a listener with a client's context")
	}
	return nil
}

// Accept waits for a connection and answers a *Conn. Where one connection cannot be served, for lack of memory say, the error is
// a net.Error whose Temporary is true, so that servers like that of net/http wait a little and go on. An error
// that is not temporary stays: the Context is not a server's or offers h2 (see AllowHTTP2), MaxHandshakes is
// negative, or the listener is closed.
func (l *Listener) Accept() (net.Conn, error) {
	if err := l.usable(l.context.Load()); err != nil {
		return nil, err
	}
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	x := l.context.Load() // which SetContext may have replaced meanwhile
	if err := l.usable(x); err != nil {
		nc.Close()
		return nil, err
	}
	c, err := Server(nc, x)
	for err != nil && l.context.Load() != x { // it may have been closed when it was replaced
		x = l.context.Load()
		if err = l.usable(x); err == nil {
			c, err = Server(nc, x)
		}
	}
	if err != nil {
		nc.Close()
		return nil, l.acceptError(acceptError{err})
	}
	c.http1 = !l.http2.Load() && c.tls.Asks() // usable has seen all other Contexts
	limit := l.MaxHandshakes
	if limit == 0 {
		limit = DefaultMaxHandshakes
	}
	if err := l.pending.enter(c, limit); err != nil {
		c.Close()
		return nil, l.acceptError(err)
	}
	return c, nil
}

func (l *Listener) acceptError(err error) error {
	return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: err}
}

// acceptError is of one connection, not of the listener.
type acceptError struct{ error }

func (e acceptError) Unwrap() error { return e.error }
func (acceptError) Timeout() bool   { return false }
func (acceptError) Temporary() bool { return true }
