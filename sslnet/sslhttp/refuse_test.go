package sslhttp

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// never is a handler that must not be called.
func never(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the handler was called: %s %s %s", r.Method, r.URL, r.Proto)
	})
}

// alive checks that a server still serves.
func alive(t *testing.T, s *server) {
	t.Helper()
	c := rawTLS(t, s.addr, protoHTTP1)
	io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") // net/http answers this one itself
	if got := rest(t, c); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("another client was answered %q", got)
	}
}

// refusing serves with srv, whose handler must not be called.
func refusing(t *testing.T, srv *http.Server, change ...func(*cssl.Config)) *server {
	t.Helper()
	srv.Handler = never(t)
	return serve(t, srv, serverContext(t, change...))
}

// TestSilence: a client that stops where HTTP/2 begins is cut off by the Server's
// timeout, and nothing is logged, as by net/http. TestBehaviours has the rest.
func TestSilence(t *testing.T) {
	if nativeHTTP2 {
		t.Skip("net/http itself waits for the begin, up to ten seconds")
	}
	// A busy machine may need more time to come as far as HTTP/2.
	for timeout := 200 * time.Millisecond; ; timeout *= 4 {
		s := refusing(t, &http.Server{ReadHeaderTimeout: timeout})
		c := tls.Client(rawTCP(t, s.addr), &tls.Config{RootCAs: roots(t), ServerName: "localhost", NextProtos: []string{protoHTTP2}})
		_, err := io.WriteString(c, clientPreface[:10])
		got := rest(t, c)
		s.shutdown(t)
		if logged := s.log.String(); err == nil && logged == "" {
			tlstest.Equal(t, "what the client was told", got, "")
			return
		} else if timeout > tlstest.Hang {
			t.Fatalf("%v; logged: %s", err, logged)
		}
	}
}

// TestSilentPeers: peers that say nothing take all places, and as many more wait. An honest client behind them is served
// long before the Server's timeouts cut them off. The log does not grow with their number.
func TestSilentPeers(t *testing.T) {
	const places, silent = 4, 12
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		l := listen(t, serverContext(t))
		l.MaxHandshakes = places
		s := serveOn(t, &http.Server{Handler: show, ReadHeaderTimeout: 10 * tlstest.Hang}, l)
		for range silent {
			rawTCP(t, s.addr)
		}
		tlstest.Equal(t, "the status", first(body(t, goClient(t, alpn), s.url)).StatusCode, 200)
		s.log.expect(t, "evicted")
	})
}

// TestPlainServe: an http.Server alone does not serve a listener where clients would agree on HTTP/2, which it does not
// speak there. Without h2 in ALPN it does; so does this package's Serve, also through another listener.
func TestPlainServe(t *testing.T) {
	l := listen(t, serverContext(t))
	srv := &http.Server{Handler: never(t)}
	served := tlstest.Later(func() error { return srv.Serve(l) })
	var e *cssl.ConfigError
	if err := tlstest.Receive(t, served, "Serve to return"); !errors.As(err, &e) || e.Setting != "ALPN" || !strings.Contains(err.Error(), "sslhttp.Serve") {
		t.Errorf("Serve returned %v", err)
	}

	l = listen(t, serverContext(t, only(protoHTTP1)))
	srv = &http.Server{Handler: show}
	served = tlstest.Later(func() error { return srv.Serve(l) })
	for _, protocols := range [][]string{{protoHTTP1}, ALPN} {
		c := goClient(t, protoHTTP1, func(conf *tls.Config) { conf.NextProtos = protocols })
		tlstest.Equal(t, "the version of HTTP", first(body(t, c, "https://"+l.Addr().String())).ProtoMajor, 1)
	}
	tlstest.Must(t, srv.Close())
	if err := tlstest.Receive(t, served, "Serve to return"); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}

	for name, wrap := range map[string]func(*sslnet.Listener) net.Listener{
		"hidden":   func(l *sslnet.Listener) net.Listener { l.AllowHTTP2(); return struct{ net.Listener }{l} },
		"embedded": func(l *sslnet.Listener) net.Listener { return struct{ *sslnet.Listener }{l} },
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, serverContext(t))
			s := serveOn(t, &http.Server{Handler: show}, wrap(l))
			tlstest.Equal(t, "the version of HTTP", first(body(t, goClient(t, protoHTTP2), s.url)).ProtoMajor, 2)
		})
	}
}

// TestOtherProtocol: whoever speaks another protocol than the one agreed on gets an error, and no handler sees it. That is also so if
// HTTP/2 was installed in the Server in a way that net/http does not use for such connections.
func TestOtherProtocol(t *testing.T) {
	foreign := map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": func(*http.Server, *tls.Conn, http.Handler) {}}
	preface := clientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		alpn, send, want string
		srv              *http.Server
	}{
		"h2 on http1": {alpn: protoHTTP1, send: preface, want: "505"},
		"h2 on none":  {send: preface, want: "505"},
		"foreign h2":  {alpn: protoHTTP2, send: preface, want: "505", srv: &http.Server{TLSNextProto: foreign}},
	} {
		t.Run(name, func(t *testing.T) {
			s := refusing(t, cmp.Or(c.srv, new(http.Server)))
			conn := rawTLS(t, s.addr, c.alpn)
			tlstest.Value(io.WriteString(conn, c.send))(t)
			resp := response(t, conn)
			if !strings.HasPrefix(resp.Status, c.want) || !resp.Close {
				t.Errorf("the answer is %v, close: %v", resp.Status, resp.Close)
			}
			resp.Body.Close()
		})
	}
}

// TestHTTP2Refused: where the Server does not speak HTTP/2, or RFC 9113 rules the cipher suite out, the client that
// agreed on h2 gets GOAWAY with the code for that, and one that did not is served.
func TestHTTP2Refused(t *testing.T) {
	cbc := func(c *cssl.Config) { c.MaxVersion, c.CipherList = cssl.TLS12, "ECDHE-ECDSA-AES128-SHA" }
	old := func(c *cssl.Config) {
		c.MinVersion, c.MaxVersion, c.CipherList = cssl.TLS10, cssl.TLS11, "DEFAULT:@SECLEVEL=0"
	}
	for name, c := range map[string]struct {
		srv     *http.Server
		context func(*cssl.Config)
		code    byte
		log     string
	}{
		"protocols": {srv: &http.Server{Protocols: speaks(true, false)}, context: func(*cssl.Config) {}, code: http11Required, log: "remove h2 from the Context's ALPN"},
		"version":   {srv: &http.Server{}, context: old, code: inadequateSecurity, log: "TLSv1.1"},
		"cipher":    {srv: &http.Server{}, context: cbc, code: inadequateSecurity, log: "ECDHE-ECDSA-AES128-SHA"},
	} {
		t.Run(name, func(t *testing.T) {
			s := refusing(t, c.srv, c.context)
			conn := rawTLS(t, s.addr, protoHTTP2)
			io.WriteString(conn, clientPreface)
			got := rest(t, conn)
			if want := "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07"; !strings.HasPrefix(got, want) || got[len(got)-1] != c.code {
				t.Errorf("the answer is %q", got)
			}
			s.log.expect(t, c.log)
			alive(t, s)
		})
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), HTTP2: &http.HTTP2Config{PermitProhibitedCipherSuites: true}}
	s := serve(t, srv, serverContext(t, cbc))
	tlstest.Equal(t, "the version of HTTP", first(body(t, goClient(t, protoHTTP2), s.url)).ProtoMajor, 2)
}

// TestHTTP1Refused: a Server that speaks HTTP/2 alone closes connections that agreed on nothing. For those that agreed on
// HTTP/1.1, see TestBehaviours.
func TestHTTP1Refused(t *testing.T) {
	s := serve(t, &http.Server{Handler: show, Protocols: speaks(false, true)}, serverContext(t))
	tlstest.Equal(t, "the answer", rest(t, rawTLS(t, s.addr, "")), "")
	tlstest.Equal(t, "the answer", second(body(t, goClient(t, protoHTTP2), s.url+"/")), "HTTP/2.0 /")
}

// TestForeignALPN: a protocol that is not HTTP is not served.
func TestForeignALPN(t *testing.T) {
	s := refusing(t, new(http.Server), func(c *cssl.Config) { c.ALPN = []string{"smtp", protoHTTP1} })
	tlstest.Equal(t, "the answer", rest(t, rawTLS(t, s.addr, "smtp")), "")
	s.log.expect(t, `"smtp"`)
	alive(t, s)
}
