package conformance

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// hello is what h2spec asks for: some cases need a body of several frames.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 100)) })

// specOf is where and how h2spec tests the server at an address. Some errors end
// the connection only after a second.
func specOf(t *testing.T, addr string) *config.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	tlstest.Must(t, err)
	return &config.Config{Host: host, Port: tlstest.Value(strconv.Atoi(port))(t), Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
		TLS: true, Insecure: true}
}

// cases calls f with each case below the groups, and its name.
func cases(groups []*spec.TestGroup, f func(name string, c *spec.TestCase)) {
	for _, g := range groups {
		for i, c := range g.Tests {
			f(fmt.Sprintf("%s/%d %s", g.ID(), i+1, c.Desc), c)
		}
		cases(g.Groups, f)
	}
}

// run returns why a case fails, or nil.
func run(c *spec.TestCase, conf *config.Config) error {
	conn, err := spec.Dial(conf)
	if err != nil {
		return err
	}
	defer conn.Close()
	return c.Run(conf, conn)
}

// TestH2spec: net/http over sslhttp passes each case of h2spec that net/http
// over crypto/tls passes. The cases run at the same time, since some wait for a
// timeout. One that fails over sslhttp alone is run again by itself: a busy
// machine may have been too slow for it.
func TestH2spec(t *testing.T) {
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	s := httptest.NewUnstartedServer(hello)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // net/http logs each error of HTTP/2
	s.StartTLS()
	t.Cleanup(s.Close)

	l := tlstest.Value(sslnet.Listen("tcp", "127.0.0.1:0", serverContext(t, func(c *cssl.Config) { c.ALPN = sslhttp.ALPN })))(t)
	ours := &http.Server{Handler: hello, ErrorLog: s.Config.ErrorLog}
	ended := tlstest.Later(func() error { return sslhttp.Serve(ours, l) })
	t.Cleanup(func() {
		ours.Close()
		tlstest.IsError(t, "Serve", <-ended, http.ErrServerClosed)
	})

	type result struct {
		name         string
		c            *spec.TestCase
		theirs, ours error
	}
	var results []*result
	cases([]*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()}, func(name string, c *spec.TestCase) {
		results = append(results, &result{name: name, c: c})
	})
	var work sync.WaitGroup
	turns := make(chan struct{}, 16)
	for _, r := range results {
		for to, at := range map[*error]string{&r.theirs: s.Listener.Addr().String(), &r.ours: l.Addr().String()} {
			work.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				*to = run(r.c, specOf(t, at))
			})
		}
	}
	work.Wait()
	theirs, own := 0, 0
	for _, r := range results {
		for range 3 {
			if r.theirs != nil || r.ours == nil {
				break
			}
			r.ours = run(r.c, specOf(t, l.Addr().String()))
		}
		if r.theirs == nil {
			theirs++
		}
		if r.ours == nil {
			own++
		} else if r.theirs == nil {
			t.Errorf("%s: %v", r.name, r.ours)
		} else {
			t.Logf("both fail: %s: %v", r.name, r.theirs)
		}
	}
	t.Logf("of %d cases, %d pass over crypto/tls and %d over sslhttp", len(results), theirs, own)
	if theirs < 130 {
		t.Error("net/http over crypto/tls passes fewer than 130 cases: the test is wrong")
	}
}
