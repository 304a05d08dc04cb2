package sslnet

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/cssl"
)

// Listener makes a server's Conn of each connection that another Listener accepts.
type Listener struct {
	net.Listener
	context atomic.Pointer[cssl.Context]
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
// the old Context then.
func (l *Listener) SetContext(x *cssl.Context) { l.context.Store(x) }

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
// a net.Error whose Temporary is true, so that servers like that of net/http wait a little and go on.
func (l *Listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	x := l.context.Load()
	if err := ofServer(x); err != nil {
		nc.Close()
		return nil, err // which no wait mends
	}
	c, err := Server(nc, x)
	for err != nil && l.context.Load() != x { // it may have been closed when it was replaced
		x = l.context.Load()
		c, err = Server(nc, x)
	}
	if err != nil {
		nc.Close()
		return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: acceptError{err}}
	}
	return c, nil
}

// acceptError is of one connection, not of the listener.
type acceptError struct{ error }

func (e acceptError) Unwrap() error { return e.error }
func (acceptError) Timeout() bool   { return false }
func (acceptError) Temporary() bool { return true }
