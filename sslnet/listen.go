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

// Listener accepts connections from the embedded net.Listener, and returns each
// as a server's Conn.
type Listener struct {
	net.Listener
	// MaxHandshakes is how many handshakes of accepted connections may be
	// pending at once; 0 means 4096. A handshake is pending until it ends or
	// its Conn is closed. At the limit, Accept evicts a handshake for each new
	// connection. It takes the peer that has sent nothing for longest, at least
	// 250 ms; otherwise the peer that has kept its handshake waiting longest,
	// at least two seconds. If there is no such peer, Accept waits. Operations
	// on an evicted Conn return ErrHandshakeEvicted. Set MaxHandshakes before
	// the first Accept.
	MaxHandshakes int

	context atomic.Pointer[cssl.Context]
	http2   atomic.Bool
	pending pending
	closing sync.Once
}

// Listen listens on a network address (see net.Listen). x must be a server's
// Context; the caller still owns it. Accept does not wait for the handshake:
// the first Read, Write or Handshake of a Conn performs it, on the goroutine
// that calls it.
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

// NewListener returns a Listener that accepts connections from l, and owns l. x
// must be a server's Context; the caller still owns it.
func NewListener(l net.Listener, x *cssl.Context) *Listener {
	t := &Listener{Listener: l}
	t.context.Store(x)
	return t
}

// SetContext sets the Context of connections accepted from now on. Earlier
// connections keep theirs; the caller may close the old Context. Accept returns
// a permanent error if x is nil, a client's, or offers h2 without AllowHTTP2.
func (l *Listener) SetContext(x *cssl.Context) { l.context.Store(x) }

// AllowHTTP2 declares that the code that serves the connections reads
// State.ALPN, and speaks HTTP/2 if that is h2. Package sslhttp calls it.
// Without it, h2 is refused, because http.Server would answer in HTTP/1.1: it
// speaks HTTP/2 over TLS only on connections of crypto/tls. Accept refuses a
// Context that offers h2. If Config.ClientHello selects such a Context, a
// handshake that negotiates h2 fails.
func (l *Listener) AllowHTTP2() { l.http2.Store(true) }

// Close closes the underlying listener. Accept then returns net.ErrClosed, even
// if it waits for a pending handshake to end. Accepted connections stay open.
func (l *Listener) Close() error {
	l.closing.Do(func() { l.pending.close() })
	return l.Listener.Close()
}

// usable returns a permanent error if Accept cannot use x.
func (l *Listener) usable(x *cssl.Context) error {
	if err := ofServer(x); err != nil {
		return err
	}
	if l.MaxHandshakes < 0 {
		return &cssl.ConfigError{Setting: "MaxHandshakes", Value: strconv.Itoa(l.MaxHandshakes),
			Err: fmt.Errorf("must not be negative; 0 means the default, %d", defaultMaxHandshakes)}
	}
	if x.OffersALPN("h2") && !l.http2.Load() {
		return errHTTP2
	}
	return nil
}

var errHTTP2 error = &cssl.ConfigError{Setting: "ALPN", Value: "h2", Err: errors.New("clients would negotiate HTTP/2, which http.Server " +
	"does not speak on these connections: use sslhttp.Serve, or remove h2; call AllowHTTP2 if the server speaks HTTP/2 itself, " +
	"or if sslhttp.Serve gets another listener that wraps this one")}

// ofServer returns an error unless x is a server's Context.
func ofServer(x *cssl.Context) error {
	switch {
	case x == nil:
		return errors.New("sslnet: the Context is nil")
	case !x.IsServer():
		return errors.New("sslnet: a Listener needs a server's Context, not a client's")
	}
	return nil
}

// Accept waits for a connection and returns it as a *Conn. If only this
// connection cannot be served, for example for lack of memory, the error is a
// net.Error whose Temporary is true; servers such as http.Server then wait a
// little and go on. Permanent errors are: the Context is not a server's or
// offers h2 (see AllowHTTP2), MaxHandshakes is negative, or the listener is
// closed.
func (l *Listener) Accept() (net.Conn, error) {
	if err := l.usable(l.context.Load()); err != nil {
		return nil, err
	}
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	x := l.context.Load() // SetContext may have replaced it
	if err := l.usable(x); err != nil {
		nc.Close()
		return nil, err
	}
	c, err := Server(nc, x)
	for err != nil && l.context.Load() != x { // x may be closed by now
		x = l.context.Load()
		if err = l.usable(x); err == nil {
			c, err = Server(nc, x)
		}
	}
	if err != nil {
		nc.Close()
		return nil, l.acceptError(acceptError{err})
	}
	// usable has checked x. A callback may select another Context.
	c.http1 = !l.http2.Load() && c.tls.Asks()
	limit := l.MaxHandshakes
	if limit == 0 {
		limit = defaultMaxHandshakes
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

// acceptError is a failure of one connection, not of the listener.
type acceptError struct{ error }

func (e acceptError) Unwrap() error { return e.error }
func (acceptError) Timeout() bool   { return false }
func (acceptError) Temporary() bool { return true }
