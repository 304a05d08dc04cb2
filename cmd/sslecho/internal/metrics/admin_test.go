package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spacemonad/go-openssl/reactor"
)

// newAdmin is an Admin of empty Stats, changed by change if that is not nil.
func newAdmin(change func(*Admin)) *Admin {
	a := &Admin{Addr: "127.0.0.1:0", Metrics: New(of(reactor.Stats{})), Log: quiet}
	if change != nil {
		change(a)
	}
	return a
}

// ask asks the handler of a, without a socket.
func ask(a *Admin, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.http().Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// TestPages: each page answers GET and HEAD, and no other method.
func TestPages(t *testing.T) {
	a := newAdmin(nil)
	for path, want := range map[string]string{
		"/": "sslecho\n\n/metrics\n/healthz\n/readyz\n", "/metrics": "sslecho_loops 0\n", "/healthz": "ok\n", "/readyz": "ok\n",
	} {
		w := ask(a, http.MethodGet, path)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("GET %s: %d %q, want 200 and %q", path, w.Code, w.Body, want)
		}
		if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("GET %s: Content-Type is %q", path, ct)
		}
		if w := ask(a, http.MethodHead, path); w.Code != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			if w := ask(a, method, path); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow: %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	for _, path := range []string{"/metrics/", "/nothing", "/healthz/x"} {
		if w := ask(a, http.MethodGet, path); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, w.Code)
		}
	}
}

// TestPprof: Go's profiles are there with the flag alone, and so is the line of the index that names them.
func TestPprof(t *testing.T) {
	const dir = "/debug/pprof/"
	for _, on := range []bool{false, true} {
		a := newAdmin(func(a *Admin) { a.Pprof = on })
		want := map[bool]int{false: http.StatusNotFound, true: http.StatusOK}[on]
		for _, page := range []string{"", "cmdline", "symbol", "goroutine?debug=1", "heap", "trace?seconds=0.01"} {
			if w := ask(a, http.MethodGet, dir+page); w.Code != want {
				t.Errorf("pprof %v: GET %s: %d, want %d", on, dir+page, w.Code, want)
			}
		}
		if w := ask(a, http.MethodPost, dir+"symbol"); on && w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST of symbol: %d", w.Code)
		}
		if index := ask(a, http.MethodGet, "/").Body.String(); strings.Contains(index, dir) != on {
			t.Errorf("pprof %v: the index is %q", on, index)
		}
	}
}

// TestHealth: what Alive and Ready answer is the status and the text, and nobody may keep it.
func TestHealth(t *testing.T) {
	for _, x := range []struct {
		path   string
		err    error
		status int
		body   string
	}{
		{"/healthz", nil, http.StatusOK, "ok\n"},
		{"/healthz", reactor.ErrServerClosed, http.StatusServiceUnavailable, reactor.ErrServerClosed.Error() + "\n"},
		{"/readyz", nil, http.StatusOK, "ok\n"},
		{"/readyz", ErrStarting, http.StatusServiceUnavailable, ErrStarting.Error() + "\n"},
		{"/readyz", ErrDraining, http.StatusServiceUnavailable, ErrDraining.Error() + "\n"},
	} {
		w := ask(newAdmin(func(a *Admin) {
			a.Alive = func(context.Context) error { return x.err }
			a.Ready = func() error { return x.err }
		}), http.MethodGet, x.path)
		if w.Code != x.status || w.Body.String() != x.body || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s with %v: %d %q %v", x.path, x.err, w.Code, w.Body, w.Header())
		}
	}
}

// TestSlowHealth: an Alive that does not answer is cut off after aliveTimeout, and the daemon does not count as alive.
func TestSlowHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmin(func(a *Admin) {
			a.Alive = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		})
		begin := time.Now()
		w := ask(a, http.MethodGet, "/healthz")
		if w.Code != http.StatusServiceUnavailable || w.Body.String() != context.DeadlineExceeded.Error()+"\n" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		if took := time.Since(begin); took != aliveTimeout { // in the time of the bubble
			t.Errorf("it took %v, want %v", took, aliveTimeout)
		}
	})
}

// TestListenErrors: an address that cannot be had says which, why, and what to do.
func TestListenErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "busy")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	missing := filepath.Join(dir, "none", "s")
	for _, x := range []struct {
		addr string
		is   error // nil for any
		says []string
	}{
		{busy.Addr().String(), syscall.EADDRINUSE, []string{busy.Addr().String(), "use another address"}},
		{"unix:" + path, syscall.EADDRINUSE, []string{path, "remove the socket"}},
		{"unix:" + missing, os.ErrNotExist, []string{missing}},
		{"127.0.0.1", nil, []string{"127.0.0.1", "missing port"}},
	} {
		l, err := (&Admin{Addr: x.addr}).Listen()
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", x.addr)
			continue
		}
		if x.is != nil && !errors.Is(err, x.is) {
			t.Errorf("%s: %v, want %v", x.addr, err, x.is)
		}
		for _, s := range append(x.says, "--admin: ") {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v: it does not say %q", x.addr, err, s)
			}
		}
	}
}

// announced is a listener that tells when it is closed.
type announced struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (l *announced) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// serve serves a until the end of the test, which must be by Shutdown or Close.
func serve(t *testing.T, a *Admin) *announced {
	t.Helper()
	inner, err := a.Listen()
	if err != nil {
		t.Fatal(err)
	}
	l := &announced{Listener: inner, closed: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(l) }()
	t.Cleanup(func() {
		a.http().Close()
		if err := receive(t, ended); err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return l
}

// receive is what comes out of ch.
func receive[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(hang):
		t.Fatal("nothing happened")
	}
	return v
}

// client connects to l whatever the address of a request is.
func client(l net.Listener) *http.Client {
	addr := l.Addr()
	return &http.Client{Timeout: hang, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
		},
	}}
}

// fetch is the status and the body of a page.
func fetch(l net.Listener, path string) (int, string, error) {
	r, err := client(l).Get("http://admin" + path)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// TestServe: both kinds of address are served, and the socket of a path is gone afterwards.
func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, addr := range []string{"127.0.0.1:0", "unix:" + path} {
		a := newAdmin(func(a *Admin) { a.Addr = addr })
		l := serve(t, a)
		if status, body, err := fetch(l, "/metrics"); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d %v", addr, status, err)
		} else {
			parse(t, body).expect(t, samples{"sslecho_loops": "0"})
		}
		if err := a.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: Shutdown: %v", addr, err)
		}
		receive(t, l.closed)
		if _, _, err := fetch(l, "/"); err == nil {
			t.Errorf("%s: served after Shutdown", addr)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestShutdownFirst: what is served after Shutdown is closed at once.
func TestShutdownFirst(t *testing.T) {
	a := newAdmin(nil)
	l, err := a.Listen()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Serve(l); err != http.ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// answered is what fetch returned.
type answered struct {
	status int
	body   string
	err    error
}

// TestShutdownWaits: a request that is under way gets its answer.
func TestShutdownWaits(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	a := newAdmin(func(a *Admin) {
		a.Alive = func(context.Context) error { close(asked); <-goOn; return nil }
	})
	l := serve(t, a)
	response, done := make(chan answered, 1), make(chan error, 1)
	go func() { s, b, err := fetch(l, "/healthz"); response <- answered{s, b, err} }()
	receive(t, asked)
	go func() { done <- a.Shutdown(context.Background()) }()
	receive(t, l.closed)
	close(goOn)
	if r := receive(t, response); r.err != nil || r.status != http.StatusOK || r.body != "ok\n" {
		t.Errorf("the answer is %+v", r)
	}
	if err := receive(t, done); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestShutdownCutsOff: when its context is done Shutdown returns that, and requests under way end without an answer.
func TestShutdownCutsOff(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	a := newAdmin(func(a *Admin) {
		a.Alive = func(context.Context) error { close(asked); <-goOn; return nil }
	})
	defer close(goOn)
	l := serve(t, a)
	response := make(chan answered, 1)
	go func() { s, b, err := fetch(l, "/healthz"); response <- answered{s, b, err} }()
	receive(t, asked)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Shutdown(ctx); err != context.Canceled {
		t.Errorf("Shutdown: %v", err)
	}
	if r := receive(t, response); r.err == nil {
		t.Errorf("the answer is %+v", r)
	}
}
