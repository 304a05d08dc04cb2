package sslhttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/sslnet"
)

// hang is how long a test waits for what must come.
const hang = 60 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receive waits for a value.
func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(hang):
		buf := make([]byte, 1<<20)
		t.Fatalf("no end of waiting for %s\n%s", what, buf[:runtime.Stack(buf, true)])
		panic("not reached")
	}
}

// later calls f on a goroutine and answers where its error comes.
func later(f func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return ch
}

// logBuffer is an ErrorLog that can be read and waited for.
type logBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

func newLog() *logBuffer { return &logBuffer{lines: make(chan string, 1000)} }

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines <- string(p)
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// expect waits for a line that contains what.
func (b *logBuffer) expect(t testing.TB, what string) {
	t.Helper()
	for {
		if line := receive(t, b.lines, "a line with "+what); strings.Contains(line, what) {
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

// serverContext makes a server's Context.
func serverContext(t testing.TB, change ...func(*cssl.Config)) *cssl.Context {
	t.Helper()
	c := cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
		ALPN:         ALPN,
	}
	for _, f := range change {
		f(&c)
	}
	x, err := cssl.NewServerContext(c)
	must(t, err)
	t.Cleanup(x.Close)
	return x
}

// clientContext makes a client's Context.
func clientContext(t testing.TB, change ...func(*cssl.Config)) *cssl.Context {
	t.Helper()
	c := cssl.Config{CAFile: testcerts.Path("root.pem"), ALPN: ALPN}
	for _, f := range change {
		f(&c)
	}
	x, err := cssl.NewClientContext(c)
	must(t, err)
	t.Cleanup(x.Close)
	return x
}

// serve starts srv with x. The end of the test closes it.
func serve(t testing.TB, srv *http.Server, x *cssl.Context) *server {
	t.Helper()
	l, err := sslnet.Listen("tcp", "127.0.0.1:0", x)
	must(t, err)
	return serveOn(t, srv, l)
}

// serveOn is serve on a listener.
func serveOn(t testing.TB, srv *http.Server, l net.Listener) *server {
	t.Helper()
	s := &server{Server: srv, addr: l.Addr().String(), url: "https://" + l.Addr().String(), log: newLog()}
	srv.ErrorLog = log.New(s.log, "", 0)
	ended := make(chan error, 1)
	s.served = ended
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- Serve(srv, l)
	}()
	t.Cleanup(func() {
		srv.Close()
		receive(t, done, "Serve to return")
	})
	return s
}

// shutdown shuts the server down, and fails if that or Serve does not end well.
func (s *server) shutdown(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	must(t, s.Shutdown(ctx))
	s.expectClosed(t)
}

// expectClosed waits for Serve to return.
func (s *server) expectClosed(t testing.TB) {
	t.Helper()
	if err := receive(t, s.served, "Serve to return"); !errors.Is(err, http.ErrServerClosed) {
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
	if !pool.AppendCertsFromPEM(testcerts.Read(t, "root.pem")) {
		t.Fatal("root.pem holds no certificate")
	}
	return pool
}

// goClient is net/http's own client over crypto/tls, in one protocol.
func goClient(t testing.TB, alpn string, change ...func(*tls.Config)) *http.Client {
	t.Helper()
	conf := &tls.Config{RootCAs: roots(t), NextProtos: []string{alpn}}
	for _, f := range change {
		f(conf)
	}
	p := new(http.Protocols)
	p.SetHTTP1(alpn == protoHTTP1)
	p.SetHTTP2(alpn == protoHTTP2)
	tr := &http.Transport{TLSClientConfig: conf, Protocols: p, ExpectContinueTimeout: hang}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: hang}
}

// goServer is net/http's own server over crypto/tls. With h2 it speaks both protocols.
func goServer(t testing.TB, alpn string, h http.Handler) *httptest.Server {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key"))
	must(t, err)
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
	return &http.Client{Transport: tr, Timeout: hang}, tr
}

// body asks with GET and answers what came.
func body(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	must(t, err)
	return resp, readBody(t, resp)
}

func readBody(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(b)
}

// rawTLS makes a connection of crypto/tls with one protocol in ALPN, or none.
func rawTLS(t testing.TB, addr, alpn string) *tls.Conn {
	t.Helper()
	conf := &tls.Config{RootCAs: roots(t), ServerName: "localhost", MinVersion: tls.VersionTLS10}
	if alpn != "" {
		conf.NextProtos = []string{alpn}
	}
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	c := tls.Client(nc, conf)
	t.Cleanup(func() { nc.Close() })
	must(t, c.SetDeadline(time.Now().Add(hang)))
	must(t, c.Handshake())
	if got := c.ConnectionState().NegotiatedProtocol; got != alpn {
		t.Fatalf("ALPN is %q, want %q", got, alpn)
	}
	return c
}

// rawTCP makes a connection without TLS.
func rawTCP(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(hang)))
	return c
}

// rest is all that a peer says until it ends the connection, in whichever way; a hang is an error.
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
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	must(t, err)
	return resp
}
