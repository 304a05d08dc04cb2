package httpbench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// client is the load of last resort: net/http over crypto/tls, in this process.
type client struct{ tls *tls.Config }

// newTLSConfig makes what clients of ours connect with. rootFile has the CA of the servers' certificates.
func newTLSConfig(rootFile string) (*tls.Config, error) {
	pem, err := os.ReadFile(rootFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no certificate in it", rootFile)
	}
	return &tls.Config{
		RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
	}, nil
}

// transport makes one that has one connection.
func (c *client) transport(j Job) *http.Transport {
	t := &http.Transport{TLSClientConfig: c.tls.Clone(), MaxConnsPerHost: 1, DisableKeepAlives: j.Close, DisableCompression: true,
		Protocols: new(http.Protocols)}
	if j.Resume {
		t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	t.Protocols.SetHTTP2(j.H2)
	t.Protocols.SetHTTP1(!j.H2)
	return t
}

func (*client) can(Job) bool { return true }

// clientRun is a client at work.
type clientRun struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
	ended  chan struct{}

	mu     sync.Mutex
	answer int
	errs   []error
}

func (c *client) start(ctx context.Context, j Job, d time.Duration) (running, string, error) {
	ctx, cancel := context.WithTimeout(ctx, d+endLimit)
	r := &clientRun{cancel: cancel, ended: make(chan struct{})}
	for range j.Conns {
		t := c.transport(j)
		var last lastConn
		t.DialContext = last.dial
		var users sync.WaitGroup
		for range j.Streams {
			users.Go(func() { r.ask(ctx, t, j.URL) })
		}
		r.work.Go(func() {
			users.Wait()
			t.CloseIdleConnections()
			last.end() // HTTP/2 keeps one whose last stream was cut off
		})
	}
	go func() {
		r.work.Wait()
		close(r.ended)
	}()
	return r, clientName, nil
}

// lastConn dials for a transport that has one connection at a time.
type lastConn struct {
	mu    sync.Mutex
	conn  net.Conn
	ended bool
}

func (l *lastConn) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		nc.Close()
		return nil, net.ErrClosed
	}
	l.conn = nc
	return nc, nil
}

// end closes the connection, and lets no other begin.
func (l *lastConn) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.conn != nil {
		l.conn.Close()
	}
}

// ask makes requests until ctx ends, or one fails.
func (r *clientRun) ask(ctx context.Context, t *http.Transport, url string) {
	for ctx.Err() == nil {
		err := get(ctx, t, url, io.Discard)
		r.mu.Lock()
		if err == nil {
			r.answer++
		} else if ctx.Err() == nil {
			r.errs = append(r.errs, err)
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// get makes one request and writes the body to w.
func get(ctx context.Context, t http.RoundTripper, url string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	return nil
}

func (r *clientRun) done() <-chan struct{} { return r.ended }

func (r *clientRun) stop() error {
	r.cancel()
	<-r.ended
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answer == 0 && r.errs == nil {
		return errors.New("not one request was answered")
	}
	return errors.Join(r.errs...)
}
