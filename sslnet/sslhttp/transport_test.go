package sslhttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/tlsio"
)

// only makes a Context offer one protocol.
func only(alpn string) func(*cssl.Config) {
	return func(c *cssl.Config) { c.ALPN = []string{alpn} }
}

// show answers the protocol and the path.
var show = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Proto, r.URL.Path) })

// TestTransport: a client that offers both protocols speaks what the server chose, from the first request on and over one connection, with
// net/http's server as with ours; the response says what was agreed on.
func TestTransport(t *testing.T) {
	x := clientContext(t)
	eachProtocol(t, func(t *testing.T, alpn string, major int) {
		l := listen(t, serverContext(t, only(alpn)))
		ours := announcing{l, make(chan struct{}, 10)}
		for name, url := range map[string]string{
			"ours": serveOn(t, &http.Server{Handler: show}, ours).url,
			"go":   goServer(t, alpn, show).URL,
		} {
			_, tr := ourClient(t, x)
			for i := range 5 {
				reused := false
				ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
				})
				req := tlstest.Value(http.NewRequestWithContext(ctx, "GET", url+"/path", nil))(t)
				resp := tlstest.Value(tr.RoundTrip(req))(t)
				if got, want := readBody(t, resp), resp.Proto+" /path"; got != want || resp.ProtoMajor != major {
					t.Errorf("%s: the answer is %q", name, got)
				}
				tlstest.Equal(t, name+": the request of the response", resp.Request, req)
				st := resp.TLS
				if st == nil || st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != alpn || len(st.PeerCertificates) == 0 ||
					len(st.VerifiedChains) == 0 {
					t.Fatalf("%s: Response.TLS is %+v", name, st)
				}
				tlstest.Equal(t, fmt.Sprintf("%s: request %d was on a connection that was used before", name, i), reused, i > 0)
			}
		}
		tlstest.Equal(t, "how many connections were made", len(ours.accepted), 1)
	})
}

// TestTransportNoALPN: a Context without ALPN, of either side, means HTTP/1.1.
func TestTransportNoALPN(t *testing.T) {
	none := func(c *cssl.Config) { c.ALPN = nil }
	for name, c := range map[string]struct{ server, client func(*cssl.Config) }{
		"server": {server: none, client: func(*cssl.Config) {}},
		"client": {server: func(*cssl.Config) {}, client: none},
	} {
		s := serve(t, &http.Server{Handler: show}, serverContext(t, c.server))
		client, _ := ourClient(t, clientContext(t, c.client))
		tlstest.Equal(t, name+": the answer", second(body(t, client, s.url+"/")), "HTTP/1.1 /")
	}
}

// readOnce is a body that can be read once, and knows whether it was closed.
type readOnce struct {
	io.Reader
	closed atomic.Int32
}

func (r *readOnce) Close() error {
	r.closed.Add(1)
	return nil
}

// TestTransportChange: a host may change its mind, either way, between two connections. The request that finds out goes through, with a body that
// could not be sent twice, and its connection is the one that found out.
func TestTransportChange(t *testing.T) {
	contexts := map[string]*cssl.Context{}
	for alpn := range protocols {
		contexts[alpn] = serverContext(t, only(alpn))
	}
	l := listen(t, contexts[protoHTTP1])
	n := announcing{l, make(chan struct{}, 100)}
	s := serveOn(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ")
		io.Copy(w, r.Body)
	})}, n)
	c, tr := ourClient(t, clientContext(t))
	for i, alpn := range []string{protoHTTP1, protoHTTP2, protoHTTP2, protoHTTP1, protoHTTP2} {
		l.SetContext(contexts[alpn])
		tr.CloseIdleConnections()
		b := &readOnce{Reader: strings.NewReader("content")}
		resp := tlstest.Value(c.Post(s.url, "text/plain", b))(t)
		want := map[string]string{protoHTTP1: "HTTP/1.1 content", protoHTTP2: "HTTP/2.0 content"}[alpn]
		tlstest.Equal(t, "the answer", readBody(t, resp), want)
		if b.closed.Load() == 0 {
			t.Error("the body was not closed")
		}
		// With a connection for HTTP/2 that was closed a moment ago, an http.Transport may begin a dial more than it needs.
		if got := len(n.accepted); i < 2 && got != i+1 {
			t.Errorf("%d connections for %d changes", got, i+1)
		}
	}
}

// TestTransportMany: requests at once to a host that nothing is known of; all are answered.
func TestTransportMany(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		s := serve(t, &http.Server{Handler: show}, serverContext(t, only(alpn)))
		c, tr := ourClient(t, clientContext(t))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				resp, err := c.Get(fmt.Sprintf("%s/%d", s.url, i))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				if want := fmt.Sprintf("%s /%d", resp.Proto, i); string(b) != want || err != nil {
					t.Errorf("%q, want %q: %v", b, want, err)
				}
			})
		}
		wg.Wait()
		tr.CloseIdleConnections()
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tlstest.Equal(t, "how many connections are still kept", len(tr.spares), 0)
	})
}

// TestTransportResumes: a second connection resumes the session of the first, and a third that of the second, in both versions of TLS.
func TestTransportResumes(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		for _, v := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
			s := serve(t, &http.Server{Handler: show}, serverContext(t, func(c *cssl.Config) { c.MaxVersion = v }))
			tr := NewTransport(&sslnet.Dialer{Context: clientContext(t, only(alpn))}, &http.Transport{DisableKeepAlives: true})
			for i := range 3 {
				resp, _ := body(t, &http.Client{Transport: tr, Timeout: tlstest.Hang}, s.url)
				tlstest.Equal(t, fmt.Sprintf("%v: connection %d was resumed", v, i), resp.TLS.DidResume, i > 0)
			}
		}
	})
}

// TestTransportVerifies: a certificate of another CA, or for another name, fails the request with OpenSSL's reason.
func TestTransportVerifies(t *testing.T) {
	s := serve(t, &http.Server{Handler: never(t)}, serverContext(t))
	_, port, err := net.SplitHostPort(s.addr)
	tlstest.Must(t, err)
	x := clientContext(t)
	for _, name := range []string{"other.test", "127.0.0.2"} {
		tr := NewTransport(&sslnet.Dialer{Context: x, Config: cssl.ConnConfig{ServerName: name}}, nil)
		b := &readOnce{Reader: strings.NewReader("content")}
		_, err := (&http.Client{Transport: tr}).Post("https://localhost:"+port, "text/plain", b)
		var e *tlsio.Error
		if !errors.As(err, &e) || e.Verify == "" {
			t.Errorf("%s: %v", name, err)
		}
		if b.closed.Load() == 0 {
			t.Error("the body was not closed")
		}
	}
}

// TestTransportUpgrade: a request with an Upgrade header fails if the server chose HTTP/2, and says why; with HTTP/1.1 it is sent.
func TestTransportUpgrade(t *testing.T) {
	s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Upgrade"))
	})}, serverContext(t))
	req := tlstest.Value(http.NewRequest("GET", s.url, nil))(t)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "something")
	both, _ := ourClient(t, clientContext(t))
	if resp, err := both.Do(req); !errors.Is(err, errUpgrade) {
		t.Errorf("%v %v", resp, err)
	}
	one, _ := ourClient(t, clientContext(t, only(protoHTTP1)))
	resp := tlstest.Value(one.Do(req))(t)
	tlstest.Equal(t, "the answer", readBody(t, resp), "something")
}

// TestTransportForeignALPN: a protocol that is not HTTP is not spoken.
func TestTransportForeignALPN(t *testing.T) {
	s := serve(t, &http.Server{Handler: never(t)}, serverContext(t, only("smtp")))
	c, _ := ourClient(t, clientContext(t, only("smtp")))
	if resp, err := c.Get(s.url); err == nil || !strings.Contains(err.Error(), `"smtp"`) {
		t.Errorf("%v %v", resp, err)
	}
}

// TestTransportPlain: http URLs go as http.Transport sends them, redirects between the two kinds too.
func TestTransportPlain(t *testing.T) {
	s := serve(t, &http.Server{Handler: show}, serverContext(t))
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	plain := &http.Server{Handler: http.RedirectHandler(s.url+"/there", http.StatusFound)}
	served := tlstest.Later(func() error { return plain.Serve(l) })
	c, _ := ourClient(t, clientContext(t))
	if resp, got := body(t, c, "http://"+l.Addr().String()); got != "HTTP/2.0 /there" || resp.Request.Response.TLS != nil {
		t.Errorf("the answer is %q", got)
	}
	tlstest.Must(t, plain.Close())
	tlstest.Receive(t, served, "the end")
	if _, err := c.Get("gopher://localhost/"); err == nil {
		t.Error("an unknown scheme was accepted")
	}
}

// TestTransportRefused: what cannot be dialled is the error that package net knows, and the context's end ends the dial.
func TestTransportRefused(t *testing.T) {
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	c, _ := ourClient(t, clientContext(t))
	ctx, cancel := context.WithCancel(context.Background())
	req := tlstest.Value(http.NewRequestWithContext(ctx, "GET", "https://"+l.Addr().String(), nil))(t)
	asked := ask(c, req)
	nc := tlstest.Value(l.Accept())(t) // the handshake gets no answer
	cancel()
	if err := tlstest.Receive(t, asked, "the request").err; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	nc.Close()
	l.Close()
	var oe *net.OpError
	if _, err := c.Get("https://" + l.Addr().String()); !errors.As(err, &oe) || oe.Op != "dial" {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestSpare: a connection that no request has taken is closed, by the timer or CloseIdleConnections, and one that is taken is not.
func TestSpare(t *testing.T) {
	s := serve(t, &http.Server{Handler: show}, serverContext(t))
	_, tr := ourClient(t, clientContext(t))
	open := func() *clientConn {
		nc := tlstest.Value(tr.dial(context.Background(), "tcp", place{&route{}, s.addr, protoHTTP2}))(t)
		return nc.(*clientConn)
	}
	p := place{&route{}, s.addr, protoHTTP2}
	a, b, c := open(), open(), open()
	tr.keep(p, a)
	tr.keep(p, b)
	tlstest.Equal(t, "the connection that came back", tr.spare(p), b)
	tr.keep(p, b)
	tr.CloseIdleConnections()
	for _, conn := range []*clientConn{a, b} {
		if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it was not closed: %v", err)
		}
	}
	tr.keep(p, c)
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read ended with %v", err)
	}
	if tr.spare(p) != nil {
		t.Error("a connection that was closed is still kept")
	}
}

// TestHosts: what is remembered of hosts stays bounded.
func TestHosts(t *testing.T) {
	h := hosts[int]{}
	for i := range 2 * maxHosts {
		h.put(fmt.Sprint(i), i)
	}
	tlstest.Equal(t, "how many hosts", len(h), maxHosts)
	last := fmt.Sprint(2*maxHosts - 1)
	h.put(last, -1)
	if h[last] != -1 || len(h) != maxHosts {
		t.Errorf("%d hosts, the last is %d", len(h), h[last])
	}
}

// TestHeldBody: which calls of Close reach the body, and when it can be sent again.
func TestHeldBody(t *testing.T) {
	for _, c := range []struct {
		calls  string // (r)ead, (c)lose, (a)gain, (f)ree
		closed int32
		again  bool
	}{
		{calls: "cf", closed: 1, again: true},
		{calls: "caf", closed: 0, again: true},
		{calls: "cacf", closed: 1, again: true},
		{calls: "rc", closed: 1},
		{calls: "rcf", closed: 1},
		{calls: "fc", closed: 1, again: true},
		{calls: "f", closed: 0, again: true},
	} {
		inner := &readOnce{Reader: bytes.NewReader(make([]byte, 10))}
		req := tlstest.Value(http.NewRequest("POST", "https://localhost", inner))(t)
		r, b := holdBody(req)
		for _, call := range c.calls {
			switch call {
			case 'r':
				r.Body.Read(make([]byte, 1))
			case 'c':
				r.Body.Close()
			case 'a':
				b.again()
			case 'f':
				b.release()
			}
		}
		tlstest.Equal(t, c.calls+": calls of Close", inner.closed.Load(), c.closed)
		tlstest.Equal(t, c.calls+": it can be sent again", b.again(), c.again)
	}
}
