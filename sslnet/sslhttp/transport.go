package sslhttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
)

// DefaultDialTimeout bounds connecting and the handshake together if the Dialer
// has none in its Net.Timeout.
const DefaultDialTimeout = 30 * time.Second

// maxHosts is how many hosts a Transport remembers.
const maxHosts = 1024

// Transport is an http.RoundTripper that uses connections of package sslnet for
// https. Any number of goroutines may use it at once. Reuse it: it holds idle
// connections, and sessions to resume.
type Transport struct {
	dialer   sslnet.Dialer
	settings *http.Transport
	plain    *http.Transport // for http URLs

	mu       sync.Mutex
	routes   map[string]*route    // by the proxy's URL, or "direct"
	only1    hosts[struct{}]      // by URL.Host: hosts that chose HTTP/1.1
	sessions hosts[*cssl.Session] // by address
	spares   map[place][]*clientConn
}

// A route is the way to hosts: direct, or through one proxy.
type route struct {
	proxy        *url.URL // nil: direct
	plain        bool     // for http URLs: what is encrypted is the way to a proxy
	http1, http2 *http.Transport
}

// place is the address of connections, the way to it, and the protocol spoken.
type place struct {
	route             *route
	address, protocol string
}

// NewTransport returns a Transport that connects with a copy of d. d.Context is
// required. If its ALPN is [ALPN], it offers HTTP/2 and HTTP/1.1, otherwise
// only HTTP/1.1. Leave d.Config.ServerName empty unless all hosts have that
// name.
//
// What does not concern TLS is copied from settings: keep-alive, compression,
// limits, request timeouts, sizes, HTTP2, Proxy with its connect headers, and
// DialContext, which makes all connections if it is set. A proxy is an HTTP
// proxy: https requests go through it with CONNECT. If its URL begins with
// https, the connection to it is encrypted with d.Context too. The protocol and
// TLS fields are ignored. If settings is nil, the Transport keeps 100 idle
// connections for 90 seconds, waits one second for "100 Continue", and uses no
// proxy.
//
// A connection that is to be upgraded, such as to WebSocket, must speak
// HTTP/1.1, but the server selects the protocol in the handshake. So a request
// with an Upgrade header fails if the server selects HTTP/2. For such requests,
// use a Transport whose Context has only "http/1.1" as ALPN.
//
// The hooks of package httptrace for the TLS handshake are not called.
func NewTransport(d *sslnet.Dialer, settings *http.Transport) *Transport {
	if settings == nil {
		settings = &http.Transport{MaxIdleConns: 100, IdleConnTimeout: 90 * time.Second, ExpectContinueTimeout: time.Second}
	}
	t := &Transport{
		dialer: *d, settings: copySettings(settings),
		routes: map[string]*route{}, only1: hosts[struct{}]{}, sessions: hosts[*cssl.Session]{}, spares: map[place][]*clientConn{},
	}
	var nd net.Dialer
	if d.Net != nil {
		nd = *d.Net
	}
	if nd.Timeout == 0 {
		nd.Timeout = DefaultDialTimeout
	}
	t.dialer.Net = &nd
	if t.dialer.NetDialContext == nil {
		t.dialer.NetDialContext = settings.DialContext
	}
	t.plain = t.over(&route{plain: true}, protoHTTP1)
	t.plain.Proxy = settings.Proxy
	return t
}

// copySettings copies what NewTransport says.
func copySettings(s *http.Transport) *http.Transport {
	return &http.Transport{
		DialContext: s.DialContext,
		Proxy:       s.Proxy, ProxyConnectHeader: s.ProxyConnectHeader,
		GetProxyConnectHeader: s.GetProxyConnectHeader, OnProxyConnectResponse: s.OnProxyConnectResponse,
		DisableKeepAlives: s.DisableKeepAlives, DisableCompression: s.DisableCompression,
		MaxIdleConns: s.MaxIdleConns, MaxIdleConnsPerHost: s.MaxIdleConnsPerHost, MaxConnsPerHost: s.MaxConnsPerHost,
		IdleConnTimeout: s.IdleConnTimeout, ResponseHeaderTimeout: s.ResponseHeaderTimeout, ExpectContinueTimeout: s.ExpectContinueTimeout,
		MaxResponseHeaderBytes: s.MaxResponseHeaderBytes, WriteBufferSize: s.WriteBufferSize, ReadBufferSize: s.ReadBufferSize,
		HTTP2: s.HTTP2,
	}
}

// over returns an http.Transport for connections of one protocol.
func (t *Transport) over(r *route, protocol string) *http.Transport {
	h := copySettings(t.settings)
	h.Proxy = nil // connect does that
	h.DialContext = t.dialer.NetDialContext
	if h.DialContext == nil {
		h.DialContext = t.dialer.Net.DialContext
	}
	h.Protocols = new(http.Protocols)
	h.DialTLSContext = func(ctx context.Context, n, a string) (net.Conn, error) { return t.dial(ctx, n, place{r, a, protocol}) }
	h.Protocols.SetHTTP1(protocol == protoHTTP1)
	h.Protocols.SetUnencryptedHTTP2(protocol == protoHTTP2) // as far as net/http can see
	return h
}

// route returns the way that req takes.
func (t *Transport) route(req *http.Request) (*route, error) {
	var proxy *url.URL
	key := "direct"
	if f := t.settings.Proxy; f != nil {
		var err error
		if proxy, err = f(req); err != nil {
			return nil, err
		}
	}
	if proxy != nil {
		key = proxy.String()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.routes[key]
	if r == nil {
		r = &route{proxy: proxy}
		r.http1, r.http2 = t.over(r, protoHTTP1), t.over(r, protoHTTP2)
		if len(t.routes) == maxHosts {
			for old, way := range t.routes {
				delete(t.routes, old)
				defer way.closeIdle()
				break
			}
		}
		t.routes[key] = r
	}
	return r, nil
}

func (r *route) closeIdle() {
	r.http1.CloseIdleConnections()
	r.http2.CloseIdleConnections()
}

// CloseIdleConnections closes connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.plain.CloseIdleConnections()
	t.mu.Lock()
	for _, r := range t.routes {
		defer r.closeIdle()
	}
	spares := t.spares
	t.spares = map[place][]*clientConn{}
	t.mu.Unlock()
	for _, conns := range spares {
		for _, c := range conns {
			c.Close()
		}
	}
}

// errUpgrade is the error of a request that HTTP/2 cannot carry.
var errUpgrade = errors.New("the request has an Upgrade header, which HTTP/2 does not support: " +
	"use a Transport whose Context has only http/1.1 as ALPN")

// RoundTrip implements http.RoundTripper. It tries HTTP/2 first with an unknown
// host. If the server selects HTTP/1.1, the same connection carries the request
// in HTTP/1.1. No part of the request was sent before.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil || req.URL.Scheme != "https" {
		return t.plain.RoundTrip(req)
	}
	way, err := t.route(req)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	upgrade := req.Header.Get("Upgrade") != ""
	r, body := holdBody(req)
	defer body.release()
	for attempt := 0; ; attempt++ {
		t.mu.Lock()
		_, only1 := t.only1[req.URL.Host]
		t.mu.Unlock()
		resp, err := way.roundTrip(r, only1 || upgrade)
		if resp != nil {
			resp.Request = req
		}
		var other *otherProtocol
		if !errors.As(err, &other) {
			return resp, err
		}
		t.mu.Lock()
		if other.got == protoHTTP1 {
			t.only1.put(req.URL.Host, struct{}{})
		} else {
			delete(t.only1, req.URL.Host)
		}
		t.mu.Unlock()
		switch {
		case upgrade:
			return nil, fmt.Errorf("%w: %w", err, errUpgrade)
		case attempt == 3 || !body.again():
			return nil, err
		}
	}
}

// roundTrip sends r in one protocol.
func (t *route) roundTrip(r *http.Request, http1 bool) (*http.Response, error) {
	if !http1 {
		return t.http2.RoundTrip(r) // it sets Response.TLS
	}
	var conn *clientConn
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn, _ = i.Conn.(*clientConn) }}
	resp, err := t.http1.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if resp != nil && conn != nil {
		state := conn.ConnectionState()
		resp.TLS = &state
	}
	return resp, err
}

// otherProtocol is returned by dial if the server has selected a protocol other
// than the requested one.
type otherProtocol struct{ address, got string }

// Error returns the address and the protocol.
func (e *otherProtocol) Error() string {
	return fmt.Sprintf("sslhttp: the server at %s chose %s in ALPN", e.address, e.got)
}

// dial returns a connection for p: a spare one, or a new one.
func (t *Transport) dial(ctx context.Context, network string, p place) (net.Conn, error) {
	if c := t.spare(p); c != nil {
		return c, nil
	}
	d := t.dialer
	if p.route.plain {
		d.Config = cssl.ConnConfig{}
	}
	if proxy := p.route.proxy; proxy != nil {
		d.NetDialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return t.connect(ctx, network, proxy, address)
		}
	}
	t.mu.Lock()
	if s := t.sessions[p.address]; s != nil {
		d.Config.Session = s
		delete(t.sessions, p.address) // single use (RFC 8446, appendix C.4)
	}
	t.mu.Unlock()
	nc, err := d.DialContext(ctx, network, p.address)
	if err != nil {
		return nil, err
	}
	c := &clientConn{Conn: nc.(*sslnet.Conn), transport: t, address: p.address}
	got := c.State().ALPN
	switch got {
	case p.protocol:
		return c, nil
	case "":
		got = protoHTTP1
	case protoHTTP1, protoHTTP2:
	default:
		c.Close()
		return nil, fmt.Errorf("sslhttp: the server at %s chose %q in ALPN, which is not an HTTP protocol", p.address, got)
	}
	if got == p.protocol {
		return c, nil
	}
	t.keep(place{p.route, p.address, got}, c)
	return nil, &otherProtocol{p.address, got}
}

// clientConn is a connection that passes its session to the Transport.
type clientConn struct {
	*sslnet.Conn
	transport *Transport
	address   string
	given     atomic.Bool
}

// Read implements net.Conn. The tickets of TLS 1.3 arrive with the first data.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.given.CompareAndSwap(false, true) {
		if s := c.Session(); s != nil {
			c.transport.mu.Lock()
			c.transport.sessions.put(c.address, s)
			c.transport.mu.Unlock()
		}
	}
	return n, err
}
