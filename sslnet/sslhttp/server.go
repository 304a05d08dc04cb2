package sslhttp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
)

// The names of the protocols in ALPN.
const (
	protoHTTP2 = "h2"
	protoHTTP1 = "http/1.1"
)

// ALPN is what cssl.Config.ALPN is to be for HTTP/2 and HTTP/1.1, of a server as of a client.
var ALPN = []string{protoHTTP2, protoHTTP1}

// ListenAndServe listens on the TCP address srv.Addr, ":https" if it is empty, and calls [Serve] with x. The
// Context stays the caller's. Like srv.ListenAndServeTLS it always answers an error, after Shutdown or Close http.ErrServerClosed.
func ListenAndServe(srv *http.Server, x *cssl.Context) error {
	addr := srv.Addr
	if addr == "" {
		addr = ":https"
	}
	l, err := sslnet.Listen("tcp", addr, x)
	if err != nil {
		return err
	}
	return Serve(srv, l)
}

// Serve serves HTTP over the connections of l until srv is shut down or closed, or l fails. l is a [*sslnet.Listener], or
// another whose Accept answers a [*sslnet.Conn]; Serve closes it. Where that hides a *sslnet.Listener, call its
// AllowHTTP2 before. It always answers an error, after Shutdown or Close
// http.ErrServerClosed; then all handshakes have ended.
//
// HTTP/2 is spoken if srv.Protocols has HTTP2, which is the default, and ALPN led to it. srv.TLSConfig has no part in it.
// Handshakes that fail are reported to srv.ErrorLog, by a goroutine that no
// connection waits for; when 1024 lines wait, further ones are dropped.
//
// Serve changes srv, so the first call comes before srv serves anything: Protocols gets UnencryptedHTTP2 if it
// has HTTP2, and Handler, ConnContext, BaseContext and ConnState are wrapped. The functions are given what they would be given without that: a
// *sslnet.Conn, and l. If srv serves plain HTTP too, that listener also answers clients that begin with HTTP/2; take
// a Server of its own where that is not wanted.
func Serve(srv *http.Server, l net.Listener) error {
	if h, ok := l.(interface{ AllowHTTP2() }); ok {
		h.AllowHTTP2()
	}
	t := newListener(srv, l, prepare(srv))
	err := srv.Serve(t)
	t.work.Wait()
	return err
}

// preparing is held while a Server is changed.
var preparing sync.Mutex

// prepare makes srv ready for connections of ours, once. It answers whether it is to speak HTTP/2.
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
		// A map without h2 is net/http's older way to say no to HTTP/2.
		_, has := srv.TLSNextProto[protoHTTP2]
		p.SetHTTP1(true)
		p.SetHTTP2(srv.TLSNextProto == nil || has)
	}
	if p.HTTP2() {
		p.SetUnencryptedHTTP2(true)
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
	if f := srv.ConnState; f != nil {
		srv.ConnState = func(c net.Conn, s http.ConnState) { f(bare(c), s) }
	}
	return p.HTTP2()
}

// stateKey is the context's key for the *tls.ConnectionState of an HTTP/2 connection.
type stateKey struct{}

// connContext makes a ConnContext of the caller's, which may be nil.
func connContext(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if h, ok := c.(*http2Conn); ok {
			state := h.Conn.(*sslnet.Conn).ConnectionState()
			ctx = context.WithValue(ctx, stateKey{}, &state)
		}
		if next != nil {
			return next(ctx, bare(c))
		}
		return ctx
	}
}

// handler sets Request.TLS where net/http cannot, and calls next; nil is http.DefaultServeMux.
type handler struct {
	next  http.Handler
	http2 bool
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if state, ok := r.Context().Value(stateKey{}).(*tls.ConnectionState); ok {
		r.TLS = state
	}
	// The beginning of HTTP/2 looks like a request of HTTP/1, and net/http hands it to handlers, some of which go on with
	// HTTP/2 from there. Over TLS it is a client that does not keep to what it agreed on.
	if r.TLS != nil && r.Method == "PRI" {
		w.Header().Set("Connection", "close")
		http.Error(w, "HTTP/2 was not agreed on for this connection", http.StatusHTTPVersionNotSupported)
		return
	}
	next := h.next
	if next == nil {
		next = http.DefaultServeMux
	}
	next.ServeHTTP(w, r)
}
