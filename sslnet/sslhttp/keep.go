package sslhttp

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// spareTimeout is how long a spare connection waits for its request. The
// request comes at once, unless it was canceled.
const spareTimeout = 3 * time.Second

// keep keeps c for the next dial to p.
func (t *Transport) keep(p place, c *clientConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spares[p] = append(t.spares[p], c)
	time.AfterFunc(spareTimeout, func() {
		t.mu.Lock()
		i := slices.Index(t.spares[p], c)
		if i >= 0 {
			t.take(p, i)
		}
		t.mu.Unlock()
		if i >= 0 {
			c.Close()
		}
	})
}

// spare returns a connection that was kept at p, or nil.
func (t *Transport) spare(p place) *clientConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.spares[p]); n > 0 {
		return t.take(p, n-1)
	}
	return nil
}

// take removes the connection with index i at p, and returns it. t.mu is held.
func (t *Transport) take(p place, i int) *clientConn {
	c := t.spares[p][i]
	if t.spares[p] = slices.Delete(t.spares[p], i, i+1); len(t.spares[p]) == 0 {
		delete(t.spares, p)
	}
	return c
}

// hosts has a V for each of up to maxHosts hosts. At the limit, put forgets
// another one.
type hosts[V any] map[string]V

func (h hosts[V]) put(host string, v V) {
	if _, ok := h[host]; !ok && len(h) >= maxHosts {
		for other := range h {
			delete(h, other)
			break
		}
	}
	h[host] = v
}

// heldBody is the body of a request that may have to be sent again. An
// http.Transport closes a body even if it found no connection to send it on.
// heldBody delays that Close until the body is read or released.
type heldBody struct {
	io.ReadCloser
	mu     sync.Mutex
	passed bool // Close is no longer delayed
	read   bool
	closed bool // Close was called, and delayed
}

// holdBody returns a copy of req with a heldBody, and that body. It returns req
// and nil if there is no body.
func holdBody(req *http.Request) (*http.Request, *heldBody) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	b := &heldBody{ReadCloser: req.Body}
	r := *req
	r.Body = b
	return &r, b
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read, b.passed = true, true
	b.mu.Unlock()
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	b.mu.Lock()
	if !b.passed {
		b.closed = true
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

// again reports whether the request can be sent again, and forgets a delayed
// Close.
func (b *heldBody) again() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = false
	return !b.read
}

// release performs a delayed Close. Later ones are not delayed.
func (b *heldBody) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	late := b.closed && !b.passed
	b.passed = true
	b.mu.Unlock()
	if late {
		b.ReadCloser.Close()
	}
}
