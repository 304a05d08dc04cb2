package sslhttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// connectProxy is an HTTP proxy that demands user:secret, and records what it is asked for.
type connectProxy struct {
	mu    sync.Mutex
	asked []string
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if u, pw, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); u != "user" || pw != "secret" {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("X-Connect"))
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		io.WriteString(w, "plain")
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		to.Close()
		return
	}
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	var work sync.WaitGroup
	work.Go(func() { io.Copy(to, c); to.(*net.TCPConn).CloseWrite() })
	work.Go(func() { io.Copy(c, to); c.Close() })
	work.Wait()
	to.Close()
}

func (p *connectProxy) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.asked
	p.asked = nil
	slices.Sort(got)
	return got
}

// proxied is a client whose requests go through the proxy at raw.
func proxied(t testing.TB, alpn []string, raw string, change func(*http.Transport)) *http.Client {
	t.Helper()
	u := tlstest.Value(url.Parse(raw))(t)
	settings := &http.Transport{Proxy: http.ProxyURL(u), ProxyConnectHeader: http.Header{"X-Connect": {"set"}}}
	if change != nil {
		change(settings)
	}
	tr := NewTransport(&sslnet.Dialer{Context: clientContext(t, func(c *cssl.Config) { c.ALPN = alpn })}, settings)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: tlstest.Hang}
}

// TestProxy: requests of both protocols reach a server through an HTTP proxy, which may be encrypted too.
func TestProxy(t *testing.T) {
	s := serve(t, &http.Server{Handler: echoPath}, serverContext(t))
	p := new(connectProxy)
	plain := httptest.NewServer(p)
	t.Cleanup(plain.Close)
	encrypted := goServer(t, protoHTTP1, p)
	for _, at := range []string{plain.URL, encrypted.URL} {
		at = strings.Replace(at, "://", "://user:secret@", 1)
		for _, alpn := range [][]string{{protoHTTP1}, {protoHTTP2, protoHTTP1}} {
			c := proxied(t, alpn, at, nil)
			for range 2 {
				resp, text := body(t, c, s.url+"/through")
				tlstest.Equal(t, "response", resp.TLS.NegotiatedProtocol+" "+text, alpn[0]+" /through")
			}
			tlstest.Equal(t, "what the proxy was asked", fmt.Sprint(p.take()), "[CONNECT "+s.addr+" set]")
		}
	}
	for _, at := range []string{plain.URL, encrypted.URL} {
		c := proxied(t, []string{protoHTTP1}, strings.Replace(at, "://", "://user:secret@", 1), nil)
		_, text := body(t, c, "http://example.test/")
		tlstest.Equal(t, "response", text, "plain")
		tlstest.Equal(t, "what the proxy was asked", fmt.Sprint(p.take()), "[GET example.test ]")
	}
}

// TestProxyRefuses: each failure names the proxy, without its password, and nothing else is tried.
func TestProxyRefuses(t *testing.T) {
	says := func(response string) string {
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, response)
				c.Close()
			}
		}()
		return "http://user:secret@" + l.Addr().String()
	}
	proxy := httptest.NewServer(new(connectProxy))
	t.Cleanup(proxy.Close)
	refused := errors.New("not today")
	for name, test := range map[string]struct {
		proxy  string
		change func(*http.Transport)
		want   string
	}{
		"no password":    {proxy: proxy.URL, want: "407 Proxy Authentication Required"},
		"wrong password": {proxy: strings.Replace(proxy.URL, "://", "://user:secret2@", 1), want: "407 Proxy Authentication Required"},
		"no host":        {proxy: strings.Replace(proxy.URL, "://", "://user:secret@", 1), want: "502 Bad Gateway"},
		"socks":          {proxy: "socks5://user:secret@127.0.0.1:1", want: `scheme "socks5" is not supported`},
		"nothing":        {proxy: says(""), want: "unexpected EOF"},
		"garbage":        {proxy: says("220 smtp.example.test\r\n"), want: "malformed HTTP"},
		"data behind":    {proxy: says("HTTP/1.1 200 OK\r\n\r\nHello"), want: "data behind its response"},
		"endless header": {proxy: says("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 1<<20)), want: "unexpected EOF"},
		"GetProxyConnect": {proxy: says(""), want: "not today", change: func(s *http.Transport) {
			s.GetProxyConnectHeader = func(context.Context, *url.URL, string) (http.Header, error) { return nil, refused }
		}},
		"OnProxyConnect": {proxy: says("HTTP/1.1 200 OK\r\n\r\n"), want: "not today", change: func(s *http.Transport) {
			s.OnProxyConnectResponse = func(context.Context, *url.URL, *http.Request, *http.Response) error { return refused }
		}},
		"Proxy fails": {want: "not today", change: func(s *http.Transport) { s.Proxy = func(*http.Request) (*url.URL, error) { return nil, refused } }},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := proxied(t, ALPN, test.proxy, test.change).Get("https://127.0.0.1:1/")
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestProxyCanceled: the end of its context ends a request that waits for the response to CONNECT.
func TestProxyCanceled(t *testing.T) {
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := ask(proxied(t, ALPN, "http://"+l.Addr().String(), nil), tlstest.Value(http.NewRequestWithContext(ctx, "GET", "https://127.0.0.1:1/", nil))(t))
	c := tlstest.Value(l.Accept())(t)
	defer c.Close()
	tlstest.Value(c.Read(make([]byte, 1)))(t)
	cancel()
	tlstest.IsError(t, "the request", tlstest.Receive(t, ended, "the answer").err, context.Canceled)
}

// TestDialContext: the caller's function makes all connections.
func TestDialContext(t *testing.T) {
	s := serve(t, &http.Server{Handler: echoPath}, serverContext(t))
	var dialed []string
	settings := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed = append(dialed, address)
		return new(net.Dialer).DialContext(ctx, network, s.addr)
	}}
	tr := NewTransport(&sslnet.Dialer{Context: clientContext(t)}, settings)
	t.Cleanup(tr.CloseIdleConnections)
	_, text := body(t, &http.Client{Transport: tr, Timeout: tlstest.Hang}, "https://localhost:1/elsewhere")
	tlstest.Equal(t, "response", text, "/elsewhere")
	tlstest.Equal(t, "dialed", fmt.Sprint(dialed), "[localhost:1]")
}
