package sslhttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// TestMain fails when the tests have left an SSL or a goroutine behind.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	testmain.Run(m, func() error {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if !tlstest.Soon(func() bool { return live.Conns() == 0 && runtime.NumGoroutine() <= before }) {
			return fmt.Errorf("%d SSLs and %d goroutines were left behind\n%s", live.Conns(), runtime.NumGoroutine()-before, tlstest.Stacks())
		}
		return nil
	})
}

// logBuffer is an ErrorLog that can be read and waited for.
type logBuffer struct {
	tlstest.Buffer
	lines chan string
}

func newLog() *logBuffer { return &logBuffer{lines: make(chan string, 1000)} }

func (b *logBuffer) Write(p []byte) (int, error) {
	b.lines <- string(p)
	return b.Buffer.Write(p)
}

// expect waits for a line that contains what.
func (b *logBuffer) expect(t testing.TB, what string) {
	t.Helper()
	for {
		if line := tlstest.Receive(t, b.lines, "a line with "+what); strings.Contains(line, what) {
			return
		}
	}
}

// server is an http.Server of ours that runs.
type server struct {
	*http.Server
	addr   string
	url    string
	log    *logBuffer
	served <-chan error
}

// serverContext and clientContext make a Context, with changes, that the end of the test closes.
func serverContext(t testing.TB, change ...func(*cssl.Config)) *cssl.Context {
	t.Helper()
	return newContext(t, cssl.NewServerContext, change, cssl.Config{ALPN: ALPN, Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
}

func clientContext(t testing.TB, change ...func(*cssl.Config)) *cssl.Context {
	t.Helper()
	return newContext(t, cssl.NewClientContext, change, cssl.Config{ALPN: ALPN, CAFile: testcerts.Path("root.pem")})
}

func newContext(t testing.TB, make func(cssl.Config) (*cssl.Context, error), change []func(*cssl.Config), c cssl.Config) *cssl.Context {
	t.Helper()
	for _, f := range change {
		f(&c)
	}
	x := tlstest.Value(make(c))(t)
	t.Cleanup(x.Close)
	return x
}

// first and second return one of two values.
func first[A, B any](a A, _ B) A  { return a }
func second[A, B any](_ A, b B) B { return b }

// listen listens with x.
func listen(t testing.TB, x *cssl.Context) *sslnet.Listener {
	t.Helper()
	return tlstest.Value(sslnet.Listen("tcp", "127.0.0.1:0", x))(t)
}

// announcing tells of each connection that it accepts.
type announcing struct {
	*sslnet.Listener
	accepted chan struct{}
}

func (a announcing) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err == nil {
		a.accepted <- struct{}{}
	}
	return c, err
}

// serve starts srv with x. The end of the test closes it.
func serve(t testing.TB, srv *http.Server, x *cssl.Context) *server {
	t.Helper()
	return serveOn(t, srv, listen(t, x))
}

// serveOn is serve on a listener.
func serveOn(t testing.TB, srv *http.Server, l net.Listener) *server {
	t.Helper()
	return serveWith(t, srv, l, func() error { return Serve(srv, l) })
}

// serveWith is serveOn with a function that serves.
func serveWith(t testing.TB, srv *http.Server, l net.Listener, serve func() error) *server {
	t.Helper()
	s := &server{Server: srv, addr: l.Addr().String(), url: "https://" + l.Addr().String(), log: newLog()}
	srv.ErrorLog = log.New(s.log, "", 0)
	ended, returned := make(chan error, 1), make(chan struct{})
	s.served = ended
	go func() {
		defer close(returned)
		ended <- serve()
	}()
	t.Cleanup(func() {
		srv.Close()
		tlstest.Receive(t, returned, "Serve to return")
	})
	return s
}

// shutdown shuts the server down, and fails if that or Serve does not end well.
func (s *server) shutdown(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	defer cancel()
	tlstest.Must(t, s.Shutdown(ctx))
	s.expectClosed(t)
}

// expectClosed waits for Serve to return.
func (s *server) expectClosed(t testing.TB) {
	t.Helper()
	if err := tlstest.Receive(t, s.served, "Serve to return"); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve answered %v", err)
	}
}

// protocols are those that the tests try: the major version, and ALPN.
var protocols = map[string]int{protoHTTP1: 1, protoHTTP2: 2}

// eachProtocol runs a test for each.
func eachProtocol(t *testing.T, f func(t *testing.T, alpn string, major int)) {
	for alpn, major := range protocols {
		t.Run(strings.ReplaceAll(alpn, "/", ""), func(t *testing.T) { f(t, alpn, major) })
	}
}

func roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	return pool
}

// speaks are the versions of HTTP that a Server or Transport may speak.
func speaks(one, two bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(one)
	p.SetHTTP2(two)
	return p
}

// goClient is net/http's own client over crypto/tls, in one protocol.
func goClient(t testing.TB, alpn string, change ...func(*tls.Config)) *http.Client {
	t.Helper()
	conf := &tls.Config{RootCAs: roots(t), NextProtos: []string{alpn}}
	for _, f := range change {
		f(conf)
	}
	tr := &http.Transport{TLSClientConfig: conf, Protocols: speaks(alpn == protoHTTP1, alpn == protoHTTP2), ExpectContinueTimeout: tlstest.Hang}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: tlstest.Hang}
}

// goServer is net/http's own server over crypto/tls. With h2 it speaks both protocols.
func goServer(t testing.TB, alpn string, h http.Handler) *httptest.Server {
	t.Helper()
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = alpn == protoHTTP2
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// ourClient is a client with a Transport of ours.
func ourClient(t testing.TB, x *cssl.Context) (*http.Client, *Transport) {
	t.Helper()
	tr := NewTransport(&sslnet.Dialer{Context: x}, nil)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: tlstest.Hang}, tr
}

// body asks with GET and answers what came.
func body(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp := tlstest.Value(c.Get(url))(t)
	return resp, readBody(t, resp)
}

func readBody(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b := tlstest.Value(io.ReadAll(resp.Body))(t)
	return string(b)
}

// answer is what comes of a request.
type answer struct {
	body string
	err  error
}

// ask sends a request in the background.
func ask(c *http.Client, req *http.Request) <-chan answer {
	return tlstest.Later(func() answer {
		resp, err := c.Do(req)
		if err != nil {
			return answer{err: err}
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return answer{string(b), err}
	})
}

// rawTLS makes a connection of crypto/tls with one protocol in ALPN, or none.
func rawTLS(t testing.TB, addr, alpn string) *tls.Conn {
	t.Helper()
	conf := &tls.Config{RootCAs: roots(t), ServerName: "localhost", MinVersion: tls.VersionTLS10}
	if alpn != "" {
		conf.NextProtos = []string{alpn}
	}
	c := tls.Client(rawTCP(t, addr), conf)
	tlstest.Must(t, c.Handshake())
	if got := c.ConnectionState().NegotiatedProtocol; got != alpn {
		t.Fatalf("ALPN is %q, want %q", got, alpn)
	}
	return c
}

// rawTCP makes a connection without TLS.
func rawTCP(t testing.TB, addr string) net.Conn {
	t.Helper()
	c := tlstest.Value(net.Dial("tcp", addr))(t)
	t.Cleanup(func() { c.Close() })
	tlstest.Must(t, c.SetDeadline(time.Now().Add(tlstest.Hang)))
	return c
}

// rest is all that a peer says until it ends the connection, in whichever way; a tlstest.Hang is an error.
func rest(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the peer did not end the connection after %q", b)
	}
	return string(b)
}

// response reads one of HTTP/1.
func response(t testing.TB, r io.Reader) *http.Response {
	t.Helper()
	resp := tlstest.Value(http.ReadResponse(bufio.NewReader(r), nil))(t)
	return resp
}
