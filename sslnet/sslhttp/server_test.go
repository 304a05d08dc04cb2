package sslhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// TestRequestTLS: net/http's own client is served in both protocols, also with a certificate of its own, and Request.TLS says what
// was agreed on.
func TestRequestTLS(t *testing.T) {
	type seen struct {
		state *tls.ConnectionState
		major int
	}
	eachProtocol(t, func(t *testing.T, alpn string, major int) {
		requests := make(chan seen, 2)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests <- seen{r.TLS, r.ProtoMajor}
			fmt.Fprint(w, "hello "+r.URL.Path)
		})}
		s := serve(t, srv, serverContext(t, func(c *cssl.Config) {
			c.Verify = cssl.VerifyOptional
			c.CAFile = testcerts.Path("root.pem")
		}))
		cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("client.pem"), testcerts.Path("client.key")))(t)
		for _, mutual := range []bool{false, true} {
			c := goClient(t, alpn, func(conf *tls.Config) {
				conf.ServerName = "example.test"
				if mutual {
					conf.Certificates = []tls.Certificate{cert}
				}
			})
			resp, got := body(t, c, s.url+"/world")
			if resp.StatusCode != 200 || resp.ProtoMajor != major || got != "hello /world" {
				t.Fatalf("%v %s %q", resp.Status, resp.Proto, got)
			}
			r := <-requests
			if r.major != major || r.state == nil {
				t.Fatalf("the request is %+v", r)
			}
			st := r.state
			if !st.HandshakeComplete || st.Version != tls.VersionTLS13 || tls.CipherSuiteName(st.CipherSuite) != tls.CipherSuiteName(resp.TLS.CipherSuite) ||
				st.NegotiatedProtocol != alpn || st.ServerName != "example.test" {
				t.Errorf("Request.TLS is %+v", st)
			}
			switch {
			case !mutual && len(st.PeerCertificates) > 0:
				t.Error("there is a certificate that nobody sent")
			case mutual && (len(st.PeerCertificates) == 0 || st.PeerCertificates[0].Subject.CommonName != "client"):
				t.Errorf("the client's certificates are %v", st.PeerCertificates)
			}
		}
	})
}

// TestHooks: what the Server had is called as if it served without this package: the default mux, BaseContext with the listener that Serve was
// given, ConnContext and ConnState with a *sslnet.Conn. The wrapping is done once for any number of calls.
func TestHooks(t *testing.T) {
	const path = "/path"
	defer func(m *http.ServeMux) { http.DefaultServeMux = m }(http.DefaultServeMux)
	http.DefaultServeMux = http.NewServeMux()
	type key string
	http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(key("base")), r.Context().Value(key("conn")))
	})
	eachProtocol(t, func(t *testing.T, alpn string, major int) {
		x := serverContext(t)
		var mu sync.Mutex
		bases := map[net.Listener]bool{}
		states := map[net.Conn][]http.ConnState{}
		closed := make(chan net.Conn, 10)
		srv := &http.Server{
			BaseContext: func(l net.Listener) context.Context {
				mu.Lock()
				defer mu.Unlock()
				bases[l] = true
				return context.WithValue(context.Background(), key("base"), "base ")
			},
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				return context.WithValue(ctx, key("conn"), c.(*sslnet.Conn).State().ALPN)
			},
			ConnState: func(c net.Conn, st http.ConnState) {
				mu.Lock()
				states[c.(*sslnet.Conn)] = append(states[c], st)
				mu.Unlock()
				if st == http.StateClosed {
					closed <- c
				}
			},
		}
		var servers []*server
		for range 2 {
			l := listen(t, x)
			s := serveOn(t, srv, l)
			c := goClient(t, alpn)
			tlstest.Equal(t, "the answer", second(body(t, c, s.url+path)), "base "+alpn)
			mu.Lock()
			if !bases[l] {
				t.Error("BaseContext was not called with the listener")
			}
			mu.Unlock()
			c.CloseIdleConnections()
			nc := tlstest.Receive(t, closed, "StateClosed")
			mu.Lock()
			if st := states[nc]; len(st) < 3 || st[0] != http.StateNew || st[1] != http.StateActive {
				t.Errorf("the states of the connection were %v", st)
			}
			mu.Unlock()
			if h := srv.Handler.(*handler); h.next != nil {
				t.Errorf("the handler was wrapped twice: %T", h.next)
			}
			servers = append(servers, s)
		}
		tlstest.Must(t, srv.Shutdown(context.Background()))
		for _, s := range servers {
			s.expectClosed(t)
		}
	})
}

// TestPrepare: which protocols a Server is to speak, and that its own Protocols are not written to.
func TestPrepare(t *testing.T) {
	for name, c := range map[string]struct {
		srv      *http.Server
		one, two bool
	}{
		"default":   {srv: &http.Server{}, one: true, two: true},
		"http1":     {srv: &http.Server{Protocols: speaks(true, false)}, one: true},
		"http2":     {srv: &http.Server{Protocols: speaks(false, true)}, two: true},
		"old no":    {srv: &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}, one: true},
		"old other": {srv: &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": nil}}, one: true, two: true},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.srv.Protocols
			for range 2 {
				tlstest.Equal(t, "it speaks HTTP/2", prepare(c.srv), c.two)
			}
			if p := c.srv.Protocols; p.HTTP1() != c.one || p.HTTP2() != c.two || p.UnencryptedHTTP2() != (c.two && !nativeHTTP2) {
				t.Errorf("the protocols are %v", p)
			}
			if before != nil && before.UnencryptedHTTP2() {
				t.Error("the caller's Protocols were changed")
			}
		})
	}
}

// TestHandshakeTimeout: the bound is net/http's, and there always is one.
func TestHandshakeTimeout(t *testing.T) {
	for _, c := range []struct {
		header, read, write, want time.Duration
	}{
		{want: DefaultHandshakeTimeout},
		{header: time.Minute, want: time.Minute},
		{header: 3, read: 2, write: 5, want: 2},
		{header: -1, write: 7, want: 7},
	} {
		srv := &http.Server{ReadHeaderTimeout: c.header, ReadTimeout: c.read, WriteTimeout: c.write}
		tlstest.Equal(t, fmt.Sprintf("%+v", c), handshakeTimeout(srv), c.want)
	}
}

// TestListenAndServe: the address is srv.Addr, errors of listening come back, and a Server that was shut down serves no more.
func TestListenAndServe(t *testing.T) {
	x := serverContext(t)
	addr := make(chan string, 1)
	srv := &http.Server{Addr: "127.0.0.1:0", Handler: http.NotFoundHandler(), BaseContext: func(l net.Listener) context.Context {
		addr <- l.Addr().String()
		return context.Background()
	}}
	served := tlstest.Later(func() error { return ListenAndServe(srv, x) })
	at := tlstest.Receive(t, addr, "the address")
	tlstest.Equal(t, "the status", first(body(t, goClient(t, protoHTTP2), "https://"+at)).StatusCode, 404)
	if err := ListenAndServe(&http.Server{Addr: at}, x); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second listener: %v", err)
	}
	tlstest.Must(t, srv.Shutdown(context.Background()))
	for range 2 {
		if err := tlstest.Receive(t, served, "the end"); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the end is %v", err)
		}
		served = tlstest.Later(func() error { return ListenAndServe(srv, x) })
	}
	tlstest.Receive(t, served, "the end of the last one")
}

// TestForeignListener: a listener of plain connections is refused, not served.
func TestForeignListener(t *testing.T) {
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	served := tlstest.Later(func() error { return Serve(&http.Server{}, l) })
	c := rawTCP(t, l.Addr().String())
	io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	if err := tlstest.Receive(t, served, "the end"); err == nil || !strings.Contains(err.Error(), "*net.TCPConn") {
		t.Errorf("Serve answered %v", err)
	}
	tlstest.Equal(t, "what the client was told", rest(t, c), "")
}

// failingListener answers errors before it accepts.
type failingListener struct {
	*sslnet.Listener
	errs chan error
}

func (l failingListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

type temporary struct{ error }

func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

// TestAcceptErrors: net/http's rules for errors of Accept hold: a temporary one is logged and another try made, any other ends Serve.
func TestAcceptErrors(t *testing.T) {
	x := serverContext(t)
	lost := errors.New("the listener is lost")
	tcp := listen(t, x)
	l := failingListener{tcp, make(chan error, 2)}
	l.errs <- temporary{errors.New("no descriptors")}
	s := serveOn(t, &http.Server{Handler: http.NotFoundHandler()}, l)
	c := goClient(t, protoHTTP1)
	body(t, c, s.url)
	s.log.expect(t, "no descriptors; retrying")
	l.errs <- lost
	c.CloseIdleConnections()
	// The listener may be in Accept already; the error comes with the next call.
	if c, err := net.Dial("tcp", s.addr); err == nil {
		defer c.Close()
	}
	if err := tlstest.Receive(t, s.served, "Serve to return"); !errors.Is(err, lost) {
		t.Errorf("Serve answered %v", err)
	}
}
