// Package httpload makes HTTP requests over TLS with Go's own client, in the way
// that package load sends messages: nothing is under way before and after a Run.
package httpload

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/goserver"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
)

// Config says what the requests are.
type Config struct {
	Conns   int
	Streams int // requests at once on a connection; more than 1 needs HTTP2
	Size    int // of the page
	HTTP2   bool
	// New makes a connection for each request, with a full handshake, or with
	// Resume one that resumes the session before.
	New, Resume bool
}

// Load is a number of connections to one server.
type Load struct {
	cfg     Config
	url     string
	clients []*http.Transport
	open    sync.WaitGroup // connections
	conns   sync.Map       // *conn, all that are open
}

// New makes a Load for a server at addr whose certificate the CA in rootFile has
// signed. It makes no connection. The caller closes the Load.
func New(cfg Config, addr, rootFile string) (*Load, error) {
	pem, err := os.ReadFile(rootFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no certificate in it", rootFile)
	}
	l := &Load{cfg: cfg, url: "https://" + addr}
	for range cfg.Conns {
		t := &http.Transport{
			DialContext: l.dial, MaxConnsPerHost: 1, DisableKeepAlives: cfg.New, DisableCompression: true, Protocols: new(http.Protocols),
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.X25519}},
		}
		t.Protocols.SetHTTP1(!cfg.HTTP2)
		t.Protocols.SetHTTP2(cfg.HTTP2)
		if cfg.Resume {
			t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		l.clients = append(l.clients, t)
	}
	return l, nil
}

// drainLimit bounds the wait for a server's end of a connection.
const drainLimit = 10 * time.Second

// conn is a connection whose Close returns when the server has closed too, so
// that nothing of it falls into the next measurement.
type conn struct {
	*net.TCPConn
	close func() error
}

func (c *conn) Close() error { return c.close() }

func (l *Load) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{TCPConn: raw.(*net.TCPConn)}
	c.close = sync.OnceValue(func() error {
		defer l.open.Done()
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(drainLimit))
		_, _ = io.Copy(io.Discard, c.TCPConn) // what ends it does not matter
		l.conns.Delete(c)
		return c.TCPConn.Close()
	})
	l.open.Add(1)
	l.conns.Store(c, nil)
	return c, nil
}

// openers is how many connections are opened at once: more would leave a server
// with memory that idle connections do not need.
const openers = 8

// Open makes a request on each connection.
func (l *Load) Open(ctx context.Context, _ int) error {
	turn := make(chan struct{}, openers)
	_, err := l.each(1, func(t *http.Transport, _ *load.Result) error {
		turn <- struct{}{}
		defer func() { <-turn }()
		_, err := l.get(ctx, t, l.page(), false, new(bytes.Buffer))
		return err
	})
	return err
}

// Run makes requests for d, one after another, and returns when all have been
// answered; one at least on each connection.
func (l *Load) Run(ctx context.Context, d time.Duration) (load.Result, error) {
	began := time.Now()
	end := began.Add(d)
	r, err := l.each(l.cfg.Streams, func(t *http.Transport, r *load.Result) error {
		var body bytes.Buffer
		body.Grow(l.cfg.Size + bytes.MinRead)
		for asked := time.Now(); r.Units == 0 || asked.Before(end); asked = time.Now() {
			state, err := l.get(ctx, t, l.page(), l.cfg.Resume, &body)
			if err != nil {
				return err
			}
			_ = r.Latency.RecordValue(time.Since(asked).Nanoseconds())
			r.Units++
			r.Version, r.Cipher, r.Group = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.CurveID.String()
		}
		return nil
	})
	if l.cfg.New {
		l.open.Wait()
	}
	r.Elapsed = time.Since(began)
	return r, err
}

// each calls f for each connection, several times at once.
func (l *Load) each(times int, f func(*http.Transport, *load.Result) error) (all load.Result, err error) {
	var mu sync.Mutex
	var work sync.WaitGroup
	for _, t := range l.clients {
		for range max(1, times) {
			work.Go(func() {
				r := load.Result{Latency: load.NewHistogram()}
				e := f(t, &r)
				mu.Lock()
				defer mu.Unlock()
				if e != nil && err == nil {
					err = e
				}
				all.Add(r)
			})
		}
	}
	work.Wait()
	return all, err
}

func (l *Load) page() string { return fmt.Sprintf("/%d", l.cfg.Size) }

// Free makes the server give back the memory that nobody needs.
func (l *Load) Free(ctx context.Context) error {
	_, err := l.get(ctx, l.clients[0], "/free", false, new(bytes.Buffer))
	return err
}

// get makes one request and checks each byte of the answer.
func (l *Load) get(ctx context.Context, t *http.Transport, path string, resumed bool, body *bytes.Buffer) (*tls.ConnectionState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body.Reset()
	if _, err := body.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the status is %s", resp.Status)
	case path == l.page() && !bytes.Equal(body.Bytes(), goserver.Body[:l.cfg.Size]):
		return nil, errors.New("the page differs from what was asked for")
	case resp.TLS == nil || resp.TLS.DidResume != resumed && l.cfg.New:
		return nil, fmt.Errorf("resumed a session: %t", !resumed)
	case resp.ProtoMajor == 2 != l.cfg.HTTP2:
		return nil, fmt.Errorf("the server speaks %s", strings.ToLower(resp.Proto))
	}
	return resp.TLS, nil
}

// Close ends all connections and returns when the server has closed them.
func (l *Load) Close() {
	for _, t := range l.clients {
		t.CloseIdleConnections()
	}
	// HTTP/2 keeps a connection whose last stream is not quite over.
	l.conns.Range(func(c, _ any) bool {
		_ = c.(*conn).Close()
		return true
	})
	l.open.Wait()
}
