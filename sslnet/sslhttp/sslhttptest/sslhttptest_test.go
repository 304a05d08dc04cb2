package sslhttptest_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp/sslhttptest"
)

func TestMain(m *testing.M) {
	testmain.Run(m, func() error {
		if !tlstest.Soon(func() bool { return live.Conns() == 0 }) {
			return fmt.Errorf("%d SSLs were left behind", live.Conns())
		}
		return nil
	})
}

// TestServer: both protocols, our client and crypto/tls's, and settings.
func TestServer(t *testing.T) {
	s := sslhttptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.TLS.MinVersion = cssl.TLS13
	s.HTTP.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	conf := &tls.Config{RootCAs: roots, ServerName: "example.com"}
	one := &http.Transport{TLSClientConfig: conf.Clone()}
	conf.MaxVersion = tls.VersionTLS12
	old := &http.Transport{TLSClientConfig: conf}
	for want, c := range map[string]*http.Client{"HTTP/2.0": s.Client(), "HTTP/1.1": {Transport: one}} {
		resp := tlstest.Value(c.Get(s.URL))(t)
		text := tlstest.Value(io.ReadAll(resp.Body))(t)
		resp.Body.Close()
		tlstest.Equal(t, "response", string(text), want)
		c.CloseIdleConnections()
	}
	if _, err := (&http.Client{Transport: old}).Get(s.URL); err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
		t.Errorf("a client of TLS 1.2: %v", err)
	}
	s.Close() // twice is allowed
	sslhttptest.NewUnstartedServer(nil).Close()
}

func Example() {
	s := sslhttptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s over %s", r.Proto, tls.VersionName(r.TLS.Version))
	}))
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	fmt.Println(string(text), err)
	// Output: HTTP/2.0 over TLS 1.3 <nil>
}
