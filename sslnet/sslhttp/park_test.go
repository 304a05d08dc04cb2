package sslhttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"golang.org/x/sys/unix"
)

// soonParked is a ParkAfter for tests: a connection between two requests is parked at once.
const soonParked = time.Millisecond

// parkServer serves srv, and parks after that time. It records each state of each connection.
type parkServer struct {
	*server
	l *listener

	mu     sync.Mutex
	states map[net.Conn][]http.ConnState
}

func serveParking(t testing.TB, srv *http.Server, after time.Duration) *parkServer {
	t.Helper()
	p := &parkServer{states: map[net.Conn][]http.ConnState{}}
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, ok := c.(*sslnet.Conn); !ok {
			t.Errorf("ConnState got a %T", c)
		}
		p.states[c] = append(p.states[c], s)
	}
	l := listen(t, serverContext(t))
	l.AllowHTTP2()
	p.l = newListener(srv, l, prepare(srv), after)
	p.server = serveWith(t, srv, l, func() error {
		err := srv.Serve(p.l)
		p.l.work.Wait()
		return err
	})
	return p
}

// expectParked waits until n connections are parked and none is served.
func (p *parkServer) expectParked(t testing.TB, n int) {
	t.Helper()
	tlstest.Until(t, fmt.Sprint(n, " parked connections"), func() bool {
		p.l.park.mu.Lock()
		defer p.l.park.mu.Unlock()
		return len(p.l.park.parked) == n && len(p.l.park.serving) == 0
	})
}

// hasRead reports whether the server has read all that c has sent.
func (p *parkServer) hasRead(t testing.TB, c *tls.Conn) bool {
	t.Helper()
	queue := func(c net.Conn, what uint) (n int) {
		raw := tlstest.Value(c.(*net.TCPConn).SyscallConn())(t)
		tlstest.Must(t, raw.Control(func(fd uintptr) { n = tlstest.Value(unix.IoctlGetInt(int(fd), what))(t) }))
		return n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.states {
		if s.RemoteAddr().String() == c.LocalAddr().String() {
			return queue(c.NetConn(), unix.TIOCOUTQ) == 0 && queue(s.(*sslnet.Conn).NetConn(), unix.TIOCINQ) == 0
		}
	}
	return false
}

// expectStates waits until the connections of the server have gone through these states.
func (p *parkServer) expectStates(t testing.TB, want ...http.ConnState) {
	t.Helper()
	tlstest.Until(t, fmt.Sprint("the states ", want), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, got := range p.states {
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return false
			}
		}
		return len(p.states) > 0
	})
}

// echoPath answers with the path of the request.
var echoPath = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })

// get sends a request on c, and expects echoPath's response.
func get(t testing.TB, c net.Conn, path string) {
	t.Helper()
	tlstest.Value(fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: example.test\r\n\r\n", path))(t)
	tlstest.Equal(t, "response", readBody(t, response(t, c)), path)
}

// TestParked: a connection that is quiet is parked, again and again, and each
// request is answered on it. The application sees one connection.
func TestParked(t *testing.T) {
	type key struct{}
	contexts := 0
	p := serveParking(t, &http.Server{
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			contexts++
			return context.WithValue(ctx, key{}, contexts)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tlstest.Equal(t, "ConnContext's value", r.Context().Value(key{}), any(1))
			if r.TLS == nil || r.TLS.NegotiatedProtocol != protoHTTP1 {
				t.Errorf("Request.TLS is %+v", r.TLS)
			}
			echoPath(w, r)
		}),
	}, soonParked)
	c := rawTLS(t, p.addr, protoHTTP1)
	want := []http.ConnState{http.StateNew}
	for i := range 3 {
		get(t, c, fmt.Sprint("/", i))
		p.expectParked(t, 1)
		want = append(want, http.StateActive, http.StateIdle)
		p.expectStates(t, want...)
	}
	tlstest.Must(t, c.Close())
	p.expectStates(t, append(want, http.StateClosed)...)
	p.expectParked(t, 0)
	p.log.expectNothing(t)
}

// TestParkedKeyUpdate: a KeyUpdate is answered without net/http, and the connection stays parked.
func TestParkedKeyUpdate(t *testing.T) {
	p := serveParking(t, &http.Server{Handler: echoPath}, soonParked)
	d := &sslnet.Dialer{Context: clientContext(t, only(protoHTTP1))}
	c := tlstest.Value(d.DialContext(t.Context(), "tcp", p.addr))(t).(*sslnet.Conn)
	defer c.Close()
	get(t, c, "/first")
	p.expectParked(t, 1)
	for range 3 {
		tlstest.Must(t, c.KeyUpdate(true))
	}
	get(t, c, "/second")
	p.expectParked(t, 1)
	p.expectStates(t, http.StateNew, http.StateActive, http.StateIdle, http.StateActive, http.StateIdle)
}

// TestNotParked: a connection with a part of a request, one before its first request and a hijacked one are not parked.
func TestNotParked(t *testing.T) {
	hijacked := make(chan net.Conn, 1)
	p := serveParking(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hijack" {
			echoPath(w, r)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		tlstest.Must(t, err)
		hijacked <- c
	})}, soonParked)
	first, part, taken, witness := rawTLS(t, p.addr, protoHTTP1), rawTLS(t, p.addr, protoHTTP1), rawTLS(t, p.addr, protoHTTP1), rawTLS(t, p.addr, protoHTTP1)
	// Two requests and the begin of a third in one write: the rest of it is in net/http's buffer.
	tlstest.Value(io.WriteString(part, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nG"))(t)
	r := bufio.NewReader(part)
	for _, path := range []string{"/1", "/2"} {
		tlstest.Equal(t, "response", readBody(t, tlstest.Value(http.ReadResponse(r, nil))(t)), path)
	}
	tlstest.Value(io.WriteString(taken, "GET /hijack HTTP/1.1\r\nHost: a\r\n\r\n"))(t)
	h := tlstest.Receive(t, hijacked, "the hijacked connection")
	tlstest.Equal(t, "ALPN of the hijacked connection", h.(interface{ State() cssl.State }).State().ALPN, protoHTTP1)
	for range 3 { // so often there was time to park the others too
		get(t, witness, "/witness")
		tlstest.Until(t, "the witness to be parked", func() bool {
			p.l.park.mu.Lock()
			defer p.l.park.mu.Unlock()
			return len(p.l.park.parked) == 1
		})
	}
	tlstest.Value(io.WriteString(part, "ET /3 HTTP/1.1\r\nHost: a\r\n\r\n"))(t)
	tlstest.Equal(t, "response", readBody(t, tlstest.Value(http.ReadResponse(r, nil))(t)), "/3")
	get(t, first, "/first")
	tlstest.Value(io.WriteString(h, "hijacked"))(t)
	tlstest.Must(t, h.Close())
	tlstest.Equal(t, "from the hijacker", rest(t, taken), "hijacked")
}

// TestBodyNotParked: a request's body that comes late is no connection between two requests, in whichever way net/http has
// got the head: with the request before, or after a first byte that it took while the handler ran.
func TestBodyNotParked(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	p := serveParking(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			w.Header().Set("Content-Length", "2")
			io.WriteString(w, "ok")
			tlstest.Must(t, http.NewResponseController(w).Flush())
			<-release
		case "/body":
			entered <- struct{}{}
			if _, err := io.Copy(w, r.Body); err != nil {
				t.Error("the handler reads:", err)
			}
		default:
			echoPath(w, r)
		}
	})}, soonParked)
	const head = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
	for name, begin := range map[string]func(c *tls.Conn, r *bufio.Reader) string{
		"head with the request before": func(c *tls.Conn, _ *bufio.Reader) string {
			tlstest.Value(io.WriteString(c, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"+head))(t)
			return "/first"
		},
		"head while the handler runs": func(c *tls.Conn, r *bufio.Reader) string {
			tlstest.Value(io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"))(t)
			tlstest.Value(r.Peek(len("HTTP/1.1 200 OK")))(t) // the handler waits
			tlstest.Value(io.WriteString(c, head))(t)
			tlstest.Until(t, "the server to read", func() bool { return p.hasRead(t, c) })
			release <- struct{}{}
			return "ok"
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, witness := rawTLS(t, p.addr, protoHTTP1), rawTLS(t, p.addr, protoHTTP1)
			r := bufio.NewReader(c)
			first := begin(c, r)
			tlstest.Equal(t, "response", readBody(t, tlstest.Value(http.ReadResponse(r, nil))(t)), first)
			tlstest.Receive(t, entered, "the request with a body")
			for range 3 {
				get(t, witness, "/witness")
				tlstest.Until(t, "the witness to be parked", func() bool {
					p.l.park.mu.Lock()
					defer p.l.park.mu.Unlock()
					return len(p.l.park.parked) == 1
				})
			}
			tlstest.Value(io.WriteString(c, "hello"))(t)
			tlstest.Equal(t, "response", readBody(t, tlstest.Value(http.ReadResponse(r, nil))(t)), "hello")
			tlstest.Must(t, errors.Join(c.Close(), witness.Close()))
			p.expectParked(t, 0)
		})
	}
}

// expectNothing fails if anything was logged.
func (b *logBuffer) expectNothing(t testing.TB) {
	t.Helper()
	if got := b.String(); strings.TrimSpace(got) != "" {
		t.Errorf("logged: %s", got)
	}
}

// TestPassClosed: ConnState sees the end of a connection that Accept cannot
// return any more, parked before or not.
func TestPassClosed(t *testing.T) {
	closed := make(chan net.Conn, 2)
	srv := &http.Server{ConnState: func(c net.Conn, s http.ConnState) {
		tlstest.Equal(t, "state", s, http.StateClosed)
		closed <- c
	}}
	x := serverContext(t)
	l := newListener(srv, listen(t, x), prepare(srv), soonParked)
	tlstest.Must(t, l.Close())
	for _, again := range []bool{false, true} {
		a, b := net.Pipe()
		defer a.Close()
		h := l.park.add(tlstest.Value(sslnet.Server(b, x))(t))
		h.again = again
		l.pass(h)
		tlstest.Equal(t, "the connection that ended", tlstest.Receive(t, closed, "StateClosed"), net.Conn(h.Conn))
	}
	tlstest.Equal(t, "connections that are watched", len(l.park.serving), 0)
}
