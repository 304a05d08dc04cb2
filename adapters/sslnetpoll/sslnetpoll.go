// Package sslnetpoll is TLS over OpenSSL for github.com/cloudwego/netpoll.
//
// A server gives its OnRequest to a [Server] instead of netpoll.NewEventLoop:
//
//	server := &sslnetpoll.Server{TLS: tlsContext, OnRequest: echo}
//	loop, err := server.EventLoop(netpoll.WithReadTimeout(time.Minute))
//	err = loop.Serve(listener)
//
// A client uses a [Dialer], also where a framework asks for a netpoll.Dialer:
//
//	dialer := &sslnetpoll.Dialer{TLS: tlsContext}
//	conn, err := dialer.DialConnection("tcp", "example.org:443", time.Second)
//
// The connection that OnRequest gets and that a Dialer returns is a [Conn]: a
// netpoll.Connection whose Reader and Writer are plaintext. netpoll polls the
// socket and calls OnRequest on its pool of goroutines, as without TLS: an idle
// connection has no goroutine, also while its handshake waits for the peer.
//
// With Hertz, write a network.Transporter whose ListenAndServe makes a Server
// and whose OnRequest calls Hertz's OnData; transporter in
// internal/loops/clients_test.go is one.
//
// # Why engine mode
//
// netpoll reads each socket on its own poller, and has no hook before that. So a
// Conn takes ciphertext from netpoll's buffers and gives it to cssl's engine
// mode. The alternative, package sslnet over the socket, would need a goroutine
// for each connection, and sockets that netpoll does not know. Cryptography runs
// on the goroutines of OnRequest, Flush and the blocking reads; none has to wake
// another.
//
// # Differences from netpoll without TLS
//
//   - OnConnect is called when the handshake is done.
//   - After the peer's close_notify you can still write. When OnRequest has read
//     everything, the Conn closes itself. Without close_notify the error of a
//     read wraps io.ErrUnexpectedEOF: the data may have been cut short.
//   - Close sends close_notify and a FIN, and waits in the background until the
//     peer has closed too, so that no reset destroys what it has not read yet.
//   - A Flush that times out ends the connection. One that has begun goes on
//     after Close, within CloseTimeout.
//   - netpoll.WithReadTimeout applies to each wait for ciphertext, SetReadTimeout
//     to the whole read.
//   - A Conn of a Dialer without OnRequest takes note of close_notify when it is
//     read; IsActive returns true until then, or until the FIN.
//   - There is no plain-text phase (STARTTLS): TLS begins with the first byte.
//     For an event loop of your own, session.Session.Upgrade has it.
//   - cssl.Config.Records works here too (cssl.RecordsDirect).
//
// netpoll reads from the socket whether or not OnRequest reads, and sets no
// limit; so what a peer can make a slow OnRequest hold is bounded by the
// protocol alone, with TLS and without. What is written is bounded: Flush
// encrypts all of it, and returns when the kernel has accepted everything.
package sslnetpoll

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/spacemonad/go-openssl/cssl"
)

// Server makes event loops of netpoll whose connections speak TLS. Its fields
// must not change once EventLoop has been called.
type Server struct {
	// TLS is a server's Context. The caller closes it, after the event loop has
	// shut down.
	TLS *cssl.Context

	// OnRequest is called while there is plaintext to read, OnConnect after the
	// handshake, OnPrepare before it and OnDisconnect when the peer has closed
	// the connection; see netpoll. The Connection is a *Conn. OnRequest must not
	// be nil; the others may be.
	OnRequest    netpoll.OnRequest
	OnConnect    netpoll.OnConnect
	OnPrepare    netpoll.OnPrepare
	OnDisconnect netpoll.OnDisconnect

	// OnError, if not nil, is called when a connection ends with an error, in
	// the handshake or later, and Close was not called. It must not block.
	OnError func(remote net.Addr, err error)

	// HandshakeTimeout limits the handshake, and CloseTimeout how long a closed
	// Conn waits for the peer to close too. 0 is 10 and 5 seconds.
	HandshakeTimeout, CloseTimeout time.Duration

	renewed atomic.Pointer[cssl.Context]
	conns   sync.Map // of each *Conn that is not freed
}

var errNotServer = errors.New("sslnetpoll: the Context must be one of cssl.NewServerContext")

// SetContext makes new connections use x, such as one with a renewed
// certificate. Those that are open keep theirs. It may be called on any
// goroutine. The error says that x is not a server's.
func (s *Server) SetContext(x *cssl.Context) error {
	if x == nil || !x.IsServer() {
		return errNotServer
	}
	s.renewed.Store(x)
	return nil
}

func (s *Server) failed(raw netpoll.Connection, err error) {
	if s.OnError != nil {
		s.OnError(raw.RemoteAddr(), err)
	}
}

// EventLoop is netpoll.NewEventLoop. Options that set what a field of s sets
// have no effect. Shutdown sends close_notify on connections that are idle: as
// without TLS, OnRequest does not run, and no Flush has begun.
func (s *Server) EventLoop(opts ...netpoll.Option) (netpoll.EventLoop, error) {
	if s.OnRequest == nil {
		return nil, errors.New("sslnetpoll: Server.OnRequest is nil")
	}
	if err := s.SetContext(s.TLS); err != nil {
		return nil, err
	}
	loop, err := netpoll.NewEventLoop(onRequest, append(opts, netpoll.WithOnPrepare(s.prepare), netpoll.WithOnConnect(nil),
		netpoll.WithOnDisconnect(onDisconnect))...)
	if err != nil {
		return nil, err
	}
	return eventLoop{loop, s}, nil
}

// eventLoop is netpoll's. But netpoll closes connections that have nothing to
// send yet, because a Flush still encrypts it: Shutdown waits for that first.
type eventLoop struct {
	netpoll.EventLoop
	server *Server
}

func (l eventLoop) Shutdown(ctx context.Context) error {
	l.server.conns.Range(func(c, _ any) bool {
		for c.(*Conn).encrypting() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		return true
	})
	return l.EventLoop.Shutdown(ctx)
}

// contextKey is the key of a Conn in netpoll's context of its connection.
type contextKey struct{}

// prepare begins TLS on a new connection.
func (s *Server) prepare(raw netpoll.Connection) context.Context {
	c, err := newConn(raw, s.renewed.Load(), cssl.ConnConfig{}, s)
	if err != nil {
		s.failed(raw, err)
		raw.Close()
		return context.Background()
	}
	s.conns.Store(c, nil)
	c.session.ExpectPeer()
	c.preparing = true
	var ctx context.Context
	if s.OnPrepare != nil {
		ctx = s.OnPrepare(c)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.preparing = cmp.Or(ctx, c.ctx), false
	if c.closed.Load() { // only now, since netpoll registers raw next, unless it is closed
		c.end(nil)
	} else {
		c.timer.Reset(cmp.Or(s.HandshakeTimeout, 10*time.Second))
	}
	return context.WithValue(context.Background(), contextKey{}, c)
}

// onRequest is called when ciphertext has come.
func onRequest(ctx context.Context, _ netpoll.Connection) error {
	ctx.Value(contextKey{}).(*Conn).run(true)
	return nil
}

func onDisconnect(ctx context.Context, _ netpoll.Connection) {
	ctx.Value(contextKey{}).(*Conn).onLost()
}

// Dialer is a netpoll.Dialer whose connections speak TLS.
type Dialer struct {
	// TLS is a client's Context. The caller closes it.
	TLS *cssl.Context
	// Conn has the settings of each connection. If ServerName is empty, it is
	// the host of the address.
	Conn cssl.ConnConfig
	// CloseTimeout is as in Server.
	CloseTimeout time.Duration
}

var errNotClient = errors.New("sslnetpoll: the Context must be one of cssl.NewClientContext")

// DialConnection connects to address and performs the handshake, both within
// timeout, unless that is 0. The Connection is a *Conn.
func (d *Dialer) DialConnection(network, address string, timeout time.Duration) (netpoll.Connection, error) {
	if d.TLS == nil || d.TLS.IsServer() {
		return nil, errNotClient
	}
	begin, cfg := time.Now(), d.Conn
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address) // netpoll reports what is wrong with address
	}
	raw, err := netpoll.DialConnection(network, address, timeout)
	if err != nil {
		return nil, err
	}
	left := time.Duration(math.MaxInt64)
	if timeout > 0 {
		left = timeout - time.Since(begin)
	}
	c, err := newConn(raw, d.TLS, cfg, &Server{CloseTimeout: d.CloseTimeout})
	if err != nil {
		raw.Close()
		return nil, err
	}
	c.timer.Reset(left)
	if err = c.handshake(); errors.Is(err, os.ErrDeadlineExceeded) {
		err = netpoll.Exception(netpoll.ErrDialTimeout, "in the handshake with "+address)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// DialTimeout is DialConnection.
func (d *Dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	return d.DialConnection(network, address, timeout)
}
