package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
)

func http1(c *cssl.Config) { c.ALPN = []string{"http/1.1"} }

// ourServer serves h over sslnet until the end of the test.
func ourServer(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	l := tlstest.Value(sslnet.Listen("tcp", "127.0.0.1:0", serverContext(t, http1)))(t)
	s := &http.Server{Handler: h}
	ended := tlstest.Later(func() error { return sslhttp.Serve(s, l) })
	t.Cleanup(func() {
		s.Close()
		tlstest.IsError(t, "Serve", <-ended, http.ErrServerClosed)
	})
	return "https://" + l.Addr().String()
}

// goServer serves h over crypto/tls until the end of the test.
func goServer(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// ourClient is a client over sslnet, goClient one over crypto/tls.
func ourClient(t *testing.T) *http.Client {
	tr := sslhttp.NewTransport(&sslnet.Dialer{Context: clientContext(t, http1)}, nil)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func goClient(t *testing.T) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestWebSocket: a WebSocket leads through an Upgrade of ours at either end,
// and its messages come back whole.
func TestWebSocket(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
	defer cancel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 21)
		for {
			kind, p, err := c.Read(ctx)
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
					t.Error("the server reads:", err)
				}
				return
			}
			if err := c.Write(ctx, kind, p); err != nil {
				t.Error("the server writes:", err)
				return
			}
		}
	})
	ours, theirs := ourServer(t, echo), goServer(t, echo)
	for _, c := range []struct {
		name   string
		client *http.Client
		url    string
	}{
		{"go to ours", goClient(t), ours}, {"ours to ours", ourClient(t), ours}, {"ours to go", ourClient(t), theirs},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, _, err := websocket.Dial(ctx, c.url, &websocket.DialOptions{HTTPClient: c.client})
			tlstest.Must(t, err)
			defer conn.CloseNow()
			conn.SetReadLimit(1 << 21)
			for _, n := range []int{0, 1, 100, 1 << 14, 1 << 20} {
				sent := tlstest.Bytes(n, 1)
				tlstest.Must(t, conn.Write(ctx, websocket.MessageBinary, sent))
				kind, got, err := conn.Read(ctx)
				tlstest.Must(t, err)
				if kind != websocket.MessageBinary || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes came back as %v, %d bytes", n, kind, len(got))
				}
			}
			tlstest.Must(t, conn.Close(websocket.StatusNormalClosure, ""))
		})
	}
}
