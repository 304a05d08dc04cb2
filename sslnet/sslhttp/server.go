package sslhttp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
)

// The names of the protocols in ALPN.
const (
	protoHTTP2 = "h2"
	protoHTTP1 = "http/1.1"
)

// ALPN is the value of cssl.Config.ALPN for HTTP/2 and HTTP/1.1, for a server
// and for a client.
var ALPN = []string{protoHTTP2, protoHTTP1}

// Server serves HTTP with an http.Server. [Serve] and [ListenAndServe] use one
// with the defaults.
type Server struct {
	HTTP *http.Server
	// ParkAfter is how long an HTTP/1.1 connection may be quiet between two
	// requests until it is parked: until its next request it then needs no
	// goroutine and no buffers. 0 is [DefaultParkAfter]; with a negative value
	// no connection is parked. The package comment says what an application may
	// notice.
	ParkAfter time.Duration
}

// ListenAndServe is [Server.ListenAndServe] with the defaults.
func ListenAndServe(srv *http.Server, x *cssl.Context) error {
	return (&Server{HTTP: srv}).ListenAndServe(x)
}

// Serve is [Server.Serve] with the defaults.
func Serve(srv *http.Server, l net.Listener) error { return (&Server{HTTP: srv}).Serve(l) }

// ListenAndServe listens on the TCP address HTTP.Addr, or ":https" if it is
// empty, and calls Serve. The caller still owns x. Like ListenAndServeTLS of
// http.Server it always returns an error, which is http.ErrServerClosed after
// Shutdown or Close.
func (s *Server) ListenAndServe(x *cssl.Context) error {
	addr := s.HTTP.Addr
	if addr == "" {
		addr = ":https"
	}
	l, err := sslnet.Listen("tcp", addr, x)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// Serve serves HTTP on the connections of l until s.HTTP is shut down or
// closed, or l fails. l is a [*sslnet.Listener], or another listener whose
// Accept returns a [*sslnet.Conn]. If that listener wraps a *sslnet.Listener,
// call the latter's AllowHTTP2 first. Serve closes l. It always returns an
// error, which is http.ErrServerClosed after Shutdown or Close. No handshake is
// in progress when it returns.
//
// HTTP/2 is spoken if HTTP.Protocols has HTTP2, as by default, and ALPN has
// selected it. HTTP.TLSConfig is not used. Failed handshakes are logged to
// HTTP.ErrorLog, from another goroutine: a log that blocks delays no
// connection. Up to 1024 lines wait for it; any more are dropped.
//
// Serve changes s.HTTP, so call it before that serves anything else. It wraps
// Handler, ConnContext, BaseContext and ConnState. These still receive a
// *sslnet.Conn, and l. Before Go 1.27 it also adds UnencryptedHTTP2 to
// Protocols if they have HTTP2. If s.HTTP then serves plain HTTP too, it accepts
// clients that begin with HTTP/2 there; to prevent that, use another
// http.Server for plain HTTP.
func (s *Server) Serve(l net.Listener) error {
	if h, ok := l.(interface{ AllowHTTP2() }); ok {
		h.AllowHTTP2()
	}
	after := s.ParkAfter
	if after == 0 {
		after = DefaultParkAfter
	}
	t := newListener(s.HTTP, l, prepare(s.HTTP), after)
	err := s.HTTP.Serve(t)
	t.work.Wait()
	return err
}

// preparing is held while a Server is changed.
var preparing sync.Mutex

// prepare changes srv once, as [Serve] says. It reports whether srv speaks
// HTTP/2.
func prepare(srv *http.Server) bool {
	preparing.Lock()
	defer preparing.Unlock()
	if h, ok := srv.Handler.(*handler); ok {
		return h.http2
	}
	p := new(http.Protocols)
	if srv.Protocols != nil {
		*p = *srv.Protocols
	} else {
		// A TLSNextProto without h2 is net/http's older way to disable HTTP/2.
		_, has := srv.TLSNextProto[protoHTTP2]
		p.SetHTTP1(true)
		p.SetHTTP2(srv.TLSNextProto == nil || has)
	}
	if p.HTTP2() && !nativeHTTP2 {
		p.SetUnencryptedHTTP2(true)
	}
	if c := srv.TLSConfig; nativeHTTP2 && p.HTTP2() && c != nil && !slices.Contains(c.NextProtos, protoHTTP2) {
		// Otherwise net/http does not prepare for HTTP/2.
		srv.TLSConfig = c.Clone()
		srv.TLSConfig.NextProtos = append(slices.Clone(c.NextProtos), protoHTTP2)
	}
	srv.Protocols = p
	srv.Handler = &handler{srv.Handler, p.HTTP2()}
	srv.ConnContext = connContext(srv.ConnContext)
	if f := srv.BaseContext; f != nil {
		srv.BaseContext = func(l net.Listener) context.Context {
			if t, ok := l.(*listener); ok {
				l = t.Listener
			}
			return f(l)
		}
	}
	next := srv.ConnState
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		if h, ok := c.(*http1Conn); ok && !h.observe(s) {
			return
		}
		// welcome has told of StateNew, before the handshake.
		if s == http.StateNew && bare(c) != c {
			return
		}
		if next != nil {
			next(bare(c), s)
		}
	}
	return p.HTTP2()
}

// stateKey is the context key of the *tls.ConnectionState of an HTTP/2
// connection.
type stateKey struct{}

// connContext wraps a ConnContext of the caller, which may be nil.
func connContext(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		h1, _ := c.(*http1Conn)
		if h1 != nil && h1.again {
			return h1.ctx
		}
		if h, ok := c.(*http2Conn); ok {
			state := h.Conn.(*sslnet.Conn).ConnectionState()
			ctx = context.WithValue(ctx, stateKey{}, &state)
		}
		if next != nil {
			ctx = next(ctx, bare(c))
		}
		if h1 != nil {
			h1.ctx = ctx
		}
		return ctx
	}
}

// handler sets Request.TLS where net/http cannot, and calls next. A nil next
// means http.DefaultServeMux.
type handler struct {
	next  http.Handler
	http2 bool
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if state, ok := r.Context().Value(stateKey{}).(*tls.ConnectionState); ok {
		r.TLS = state
	}
	// net/http parses the HTTP/2 client preface as an HTTP/1 request, and some
	// handlers then switch to HTTP/2. Here the client did not negotiate that.
	if r.TLS != nil && r.Method == "PRI" {
		w.Header().Set("Connection", "close")
		http.Error(w, "HTTP/2 was not negotiated for this connection", http.StatusHTTPVersionNotSupported)
		return
	}
	next := h.next
	if next == nil {
		next = http.DefaultServeMux
	}
	next.ServeHTTP(w, r)
}
