package sslhttp

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// maxConnectResponse bounds a proxy's response to CONNECT.
const maxConnectResponse = 64 << 10

// connect returns a connection to address through a proxy (RFC 9110, section
// 9.3.6).
func (t *Transport) connect(ctx context.Context, network string, proxy *url.URL, address string) (net.Conn, error) {
	c, err := t.dialProxy(ctx, network, proxy)
	if err != nil {
		return nil, fmt.Errorf("sslhttp: proxy %s: %w", proxy.Redacted(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = t.sendConnect(ctx, c, proxy, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("sslhttp: proxy %s: CONNECT %s: %w", proxy.Redacted(), address, err)
	}
	return c, nil
}

// dialProxy connects to a proxy.
func (t *Transport) dialProxy(ctx context.Context, network string, proxy *url.URL) (net.Conn, error) {
	port := proxy.Port()
	switch {
	case proxy.Scheme == "http" && port == "":
		port = "80"
	case proxy.Scheme == "https" && port == "":
		port = "443"
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fmt.Errorf("the scheme %q is not supported: use http or https, or connect through the proxy in DialContext", proxy.Scheme)
	}
	address := net.JoinHostPort(proxy.Hostname(), port)
	d := t.dialer
	d.Config = cssl.ConnConfig{}
	if proxy.Scheme == "https" {
		return d.DialContext(ctx, network, address)
	}
	if d.NetDialContext != nil {
		return d.NetDialContext(ctx, network, address)
	}
	return d.Net.DialContext(ctx, network, address)
}

// sendConnect sends the request to c and reads the response.
func (t *Transport) sendConnect(ctx context.Context, c net.Conn, proxy *url.URL, address string) error {
	if s, ok := c.(interface{ State() cssl.State }); ok && s.State().ALPN == protoHTTP2 {
		return errors.New("the proxy chose h2 in ALPN, but CONNECT is sent in HTTP/1.1")
	}
	header := t.settings.ProxyConnectHeader
	if f := t.settings.GetProxyConnectHeader; f != nil {
		var err error
		if header, err = f(ctx, proxy, address); err != nil {
			return err
		}
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: header.Clone()}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if u := proxy.User; u != nil && req.Header.Get("Proxy-Authorization") == "" {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return err
	}
	// The server does not speak before the client, so nothing behind the
	// response gets lost in this buffer.
	r := bufio.NewReader(io.LimitReader(c, maxConnectResponse))
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return err
	}
	if f := t.settings.OnProxyConnectResponse; f != nil {
		if err := f(ctx, proxy, req, resp); err != nil {
			return err
		}
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return errors.New(resp.Status)
	case r.Buffered() > 0:
		return errors.New("the proxy has sent data behind its response")
	}
	return nil
}
