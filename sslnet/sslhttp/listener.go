package sslhttp

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/logqueue"
	"github.com/spacemonad/go-openssl/sslnet"
)

// DefaultHandshakeTimeout is how long a client may take for the handshake, and for the first 24 bytes of HTTP/2, where
// the Server has no timeout that applies.
const DefaultHandshakeTimeout = 10 * time.Second

// clientPreface is what a client sends first in HTTP/2 (RFC 9113, section 3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// evictionInterval is how often evictions are logged at most.
const evictionInterval = time.Second

// Error codes of HTTP/2 (RFC 9113, section 7).
const (
	inadequateSecurity = 0xc
	http11Required     = 0xd
)

// listener stands between a listener of TLS connections and http.Server: its Accept answers connections whose handshake is done.
type listener struct {
	net.Listener
	srv   *http.Server
	http2 bool
	lines *logqueue.Queue // for the ErrorLog

	start   sync.Once
	work    sync.WaitGroup // what accepts, and handshakes
	ready   chan net.Conn
	failed  chan error // of the Listener's Accept
	closing chan struct{}

	mu     sync.Mutex
	closed bool
	under  map[*sslnet.Conn]struct{} // the handshakes under way
	// evicted is how many evictions were not logged since evictedAt.
	evicted   int
	evictedAt time.Time
}

func newListener(srv *http.Server, l net.Listener, http2 bool) *listener {
	n := &listener{
		Listener: l, srv: srv, http2: http2,
		ready: make(chan net.Conn), failed: make(chan error), closing: make(chan struct{}),
		under: make(map[*sslnet.Conn]struct{}),
	}
	n.lines = logqueue.New(maxLines, n.linesLost)
	return n
}

// Accept answers a connection for HTTP/1 as a *sslnet.Conn, one for HTTP/2 as an *http2Conn. After Close it waits until
// nothing is under way any more: so Shutdown and Close of the http.Server, which wait for Serve, wait for that.
func (l *listener) Accept() (net.Conn, error) {
	l.start.Do(func() { l.work.Go(l.accept) })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closing:
		l.work.Wait()
		return nil, net.ErrClosed
	}
}

// Close stops accepting and cuts off the handshakes that are under way. It does not wait for them: http.Server holds a
// lock meanwhile.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.closing)
	for c := range l.under {
		c.SetDeadline(time.Unix(1, 0))
	}
	return l.Listener.Close()
}

// accept begins handshakes. An error goes to the http.Server, which waits a little before it calls Accept again, or gives up
// and closes the listener.
func (l *listener) accept() {
	for {
		nc, err := l.Listener.Accept()
		if err == nil {
			if c, ok := nc.(*sslnet.Conn); ok {
				l.work.Go(func() { l.welcome(c) })
				continue
			}
			nc.Close()
			err = fmt.Errorf("sslhttp: the listener accepts connections of type %T: give Serve a *sslnet.Listener", nc)
		}
		select {
		case l.failed <- err:
		case <-l.closing:
			return
		}
	}
}

// welcome makes the handshake and hands the connection on.
func (l *listener) welcome(c *sslnet.Conn) {
	nc, err := l.handshake(c)
	if err == nil {
		select {
		case l.ready <- nc:
			return
		case <-l.closing:
		}
	}
	select {
	case <-l.closing: // cut off
	default:
		l.complain(c, err)
	}
	c.Close()
}

// complain logs that the handshake of c has failed. Evictions, which come by the
// thousand, are told of once in evictionInterval.
func (l *listener) complain(c *sslnet.Conn, err error) {
	if errors.Is(err, sslnet.ErrHandshakeEvicted) {
		l.mu.Lock()
		l.evicted++
		n, due := l.evicted, time.Since(l.evictedAt) >= evictionInterval
		if due {
			l.evicted, l.evictedAt = 0, time.Now()
		}
		l.mu.Unlock()
		if !due {
			return
		}
		err = fmt.Errorf("%w (%d since the last line)", err, n)
	}
	l.logf("http: TLS handshake error from %s: %v", c.RemoteAddr(), err)
}

// maxLines is how many lines may wait for an ErrorLog that blocks.
const maxLines = 1024

// errorLog is the Server's, or that of package log.
func (l *listener) errorLog() *log.Logger {
	if l.srv.ErrorLog != nil {
		return l.srv.ErrorLog
	}
	return log.Default()
}

// logf writes a line through a queue: a handshake must not keep its place, nor
// its goroutine, while a log blocks.
func (l *listener) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.lines.Add(1, func() { l.errorLog().Print(line) })
}

// linesLost logs that lines are missing.
func (l *listener) linesLost(n uint64) {
	l.errorLog().Printf("http: %d lines were dropped, for the log did not take them in time", n)
}

// handshakeTimeout is the bound for a handshake.
func handshakeTimeout(srv *http.Server) time.Duration {
	var least time.Duration
	for _, d := range []time.Duration{srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	if least == 0 {
		return DefaultHandshakeTimeout
	}
	return least
}

// handshake makes the handshake within its bound, unless Close comes first.
func (l *listener) handshake(c *sslnet.Conn) (net.Conn, error) {
	c.SetDeadline(time.Now().Add(handshakeTimeout(l.srv)))
	l.mu.Lock()
	l.under[c] = struct{}{}
	closed := l.closed
	l.mu.Unlock()
	var nc net.Conn
	err := net.ErrClosed
	if !closed {
		nc, err = l.negotiate(c)
	}
	l.mu.Lock()
	delete(l.under, c)
	l.mu.Unlock()
	// Close may have set a deadline. Then the connection is not handed on.
	c.SetDeadline(time.Time{})
	return nc, err
}

// negotiate makes the handshake, and what the protocol that was agreed on needs before net/http can speak it.
func (l *listener) negotiate(c *sslnet.Conn) (net.Conn, error) {
	if err := c.Handshake(); err != nil {
		if !isHTTPRequest(err) {
			return nil, err
		}
		below := c.NetConn()
		below.SetWriteDeadline(time.Now().Add(handshakeTimeout(l.srv)))
		io.WriteString(below, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		return nil, errors.New("client sent an HTTP request to an HTTPS server")
	}
	state := c.State()
	switch state.ALPN {
	case "", protoHTTP1, "http/1.0":
		return c, nil
	case protoHTTP2:
	default:
		return nil, fmt.Errorf("client agreed on %q in ALPN, which is no protocol of HTTP", state.ALPN)
	}
	nc, err := readPreface(c)
	if err != nil {
		return nil, err
	}
	if !l.http2 {
		goAway(c, http11Required)
		return nil, errors.New("client agreed on HTTP/2, which the Server's Protocols leave out: take h2 from the Context's ALPN")
	}
	if conf := l.srv.HTTP2; prohibited(state) && (conf == nil || !conf.PermitProhibitedCipherSuites) {
		goAway(c, inadequateSecurity)
		return nil, fmt.Errorf("client agreed on HTTP/2 with %v and cipher suite %s, which HTTP/2 prohibits", state.Version, state.Cipher)
	}
	return nc, nil
}

// readPreface takes what a client of HTTP/2 sends first, and answers a connection that begins with it.
func readPreface(c *sslnet.Conn) (net.Conn, error) {
	buf := make([]byte, len(clientPreface))
	for n := 0; n < len(buf); {
		k, err := c.Read(buf[n:])
		if n += k; string(buf[:n]) != clientPreface[:n] {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+
				"Client agreed on HTTP/2 and sent something else.\n")
			return nil, errors.New("client agreed on HTTP/2 and sent something else")
		}
		if err != nil {
			return nil, fmt.Errorf("reading the beginning of HTTP/2: %w", err)
		}
	}
	return &http2Conn{c, buf}, nil
}

// isHTTPRequest reports whether OpenSSL found a request of plain HTTP instead of a ClientHello.
func isHTTPRequest(err error) bool {
	var e *cssl.Error
	return errors.As(err, &e) && slices.ContainsFunc(e.Reasons, func(r cssl.Reason) bool { return r.Text == "http request" })
}

// prohibited reports whether RFC 9113, section 9.2, rules out what was negotiated: all versions before TLS 1.2, and in TLS 1.2
// all cipher suites but those with ephemeral keys and AEAD.
func prohibited(s sslnet.State) bool {
	if s.Version != cssl.TLS12 {
		return s.Version < cssl.TLS12
	}
	ephemeral := strings.HasPrefix(s.Cipher, "ECDHE-") || strings.HasPrefix(s.Cipher, "DHE-")
	aead := strings.Contains(s.Cipher, "GCM") || strings.Contains(s.Cipher, "CHACHA20") || strings.Contains(s.Cipher, "CCM")
	return !ephemeral || !aead
}

// goAway sends the least that a server of HTTP/2 may say: an empty SETTINGS frame, and GOAWAY.
func goAway(c net.Conn, code byte) {
	c.Write([]byte{
		0, 0, 0, 4, 0, 0, 0, 0, 0,
		0, 0, 8, 7, 0, 0, 0, 0, 0 /* last stream */, 0, 0, 0, 0 /* code */, 0, 0, 0, code,
	})
}

// http2Conn is a connection for HTTP/2, whose first bytes were read already. It has no ConnectionState, since
// net/http speaks HTTP/1 alone to what has one.
type http2Conn struct {
	net.Conn        // a *sslnet.Conn
	first    []byte // not yet read by net/http
}

// Read implements net.Conn.
func (c *http2Conn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// bare is the connection that the caller knows.
func bare(c net.Conn) net.Conn {
	if h, ok := c.(*http2Conn); ok {
		return h.Conn
	}
	return c
}
