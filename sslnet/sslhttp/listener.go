package sslhttp

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/logqueue"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/tlsio"
)

// DefaultHandshakeTimeout is how long a client may take for the handshake, and
// for the first 24 bytes of HTTP/2, if none of the Server's timeouts applies.
const DefaultHandshakeTimeout = 10 * time.Second

// clientPreface is what an HTTP/2 client sends first (RFC 9113, section 3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// evictionInterval is the least time between two log lines about evictions.
const evictionInterval = time.Second

// Error codes of HTTP/2 (RFC 9113, section 7).
const (
	protocolError      = 0x1
	inadequateSecurity = 0xc
	http11Required     = 0xd
)

// A listener wraps a listener of TLS connections for http.Server. Its Accept
// returns connections whose handshake is done.
type listener struct {
	net.Listener
	srv   *http.Server
	http2 bool
	lines *logqueue.Queue // for ErrorLog
	park  parking

	start   sync.Once
	work    sync.WaitGroup // accept, handshakes, and connections that wake or end
	ready   chan net.Conn
	failed  chan error // errors of Listener.Accept
	closing chan struct{}

	mu     sync.Mutex
	closed bool
	under  map[*sslnet.Conn]struct{} // handshakes in progress
	// evicted counts the evictions since evictedAt, when one was last logged.
	evicted   int
	evictedAt time.Time
}

func newListener(srv *http.Server, l net.Listener, http2 bool, parkAfter time.Duration) *listener {
	n := &listener{
		Listener: l, srv: srv, http2: http2,
		ready: make(chan net.Conn), failed: make(chan error), closing: make(chan struct{}),
		under: make(map[*sslnet.Conn]struct{}),
	}
	n.lines = logqueue.New(maxLines, n.linesLost)
	n.park = parking{after: parkAfter, pass: func(h *http1Conn) { n.pass(h) }, end: n.end, work: &n.work}
	return n
}

// Accept returns an HTTP/1 connection as an *http1Conn, and an HTTP/2
// connection as an *http2Conn or, where net/http speaks HTTP/2 on any
// connection, a *nativeConn. After Close it waits until all handshakes have
// ended. Shutdown and Close of http.Server wait for Serve, and therefore for
// that.
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

// Close stops accepting and ends the handshakes in progress. It does not wait
// for them, because http.Server holds a lock when it calls Close.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.park.close()
	close(l.closing)
	for c := range l.under {
		c.SetDeadline(time.Unix(1, 0))
	}
	return l.Listener.Close()
}

// accept starts handshakes. An error goes to http.Server, which pauses and
// calls Accept again, or gives up and closes the listener.
func (l *listener) accept() {
	for {
		nc, err := l.Listener.Accept()
		if err == nil {
			if c, ok := nc.(*sslnet.Conn); ok {
				l.work.Go(func() { l.welcome(c) })
				continue
			}
			nc.Close()
			err = fmt.Errorf("sslhttp: the listener returned a %T: Serve needs a *sslnet.Listener", nc)
		}
		select {
		case l.failed <- err:
		case <-l.closing:
			return
		}
	}
}

// welcome performs the handshake and passes the connection to Accept. As in
// net/http, StateNew comes before the handshake.
func (l *listener) welcome(c *sslnet.Conn) {
	if f := l.srv.ConnState; f != nil {
		f(c, http.StateNew)
	}
	nc, err := l.handshake(c)
	if err == nil {
		l.pass(nc)
		return
	}
	select {
	case <-l.closing: // Close ended it
	default:
		l.complain(c, err)
	}
	l.end(c)
}

// pass passes c to Accept. If the listener is closed, it ends c.
func (l *listener) pass(c net.Conn) {
	select {
	case l.ready <- c:
	case <-l.closing:
		if h, ok := c.(*http1Conn); ok {
			l.park.leave(h)
		}
		l.end(bare(c).(*sslnet.Conn))
	}
}

// end closes c, which net/http does not have, and tells ConnState: on another
// goroutine, since that may call Shutdown, which waits for this one.
func (l *listener) end(c *sslnet.Conn) {
	c.Close()
	if f := l.srv.ConnState; f != nil {
		go f(c, http.StateClosed)
	}
}

// complain logs that the handshake of c failed. It logs evictions at most once
// in evictionInterval, because there may be thousands.
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
	var p *prefaceError
	if errors.As(err, &p) {
		// net/http is silent about these too.
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
			l.logf("http2: server: error reading preface from client %s: %v", c.RemoteAddr(), p.error)
		}
		return
	}
	l.logf("http: TLS handshake error from %s: %v", c.RemoteAddr(), err)
}

// maxLines is how many lines may wait for an ErrorLog that blocks.
const maxLines = 1024

// errorLog returns the Server's ErrorLog, or the default logger of package log.
func (l *listener) errorLog() *log.Logger {
	if l.srv.ErrorLog != nil {
		return l.srv.ErrorLog
	}
	return log.Default()
}

// logf logs a line through a queue, so that a log that blocks delays no
// handshake.
func (l *listener) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.lines.Add(1, func() { l.errorLog().Print(line) })
}

// linesLost logs how many lines were dropped.
func (l *listener) linesLost(n uint64) {
	l.errorLog().Printf("http: %d lines were dropped because the log was too slow", n)
}

// handshakeTimeout returns the time limit of a handshake.
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

// handshake performs the handshake within its time limit. Close ends it early.
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
	// Close may have set a deadline. Then the connection is not used.
	c.SetDeadline(time.Time{})
	return nc, err
}

// negotiate performs the handshake, and prepares the connection for net/http.
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
		return l.park.add(c), nil
	case protoHTTP2:
	default:
		return nil, fmt.Errorf("client negotiated %q in ALPN, which is not an HTTP protocol", state.ALPN)
	}
	nc := net.Conn(&nativeConn{Conn: c})
	if !nativeHTTP2 {
		var err error
		if nc, err = readPreface(c); err != nil {
			return nil, err
		}
	}
	if !l.http2 {
		goAway(c, http11Required)
		return nil, errors.New("client negotiated HTTP/2, which Server.Protocols excludes: remove h2 from the Context's ALPN")
	}
	if conf := l.srv.HTTP2; prohibited(state) && (conf == nil || !conf.PermitProhibitedCipherSuites) {
		goAway(c, inadequateSecurity)
		return nil, fmt.Errorf("client negotiated HTTP/2 with %v and cipher suite %s, which HTTP/2 prohibits", state.Version, state.Cipher)
	}
	return nc, nil
}

// readPreface reads the client preface, and returns a connection that still has
// it.
func readPreface(c *sslnet.Conn) (net.Conn, error) {
	buf := make([]byte, len(clientPreface))
	for n := 0; n < len(buf); {
		k, err := c.Read(buf[n:])
		if n += k; string(buf[:n]) != clientPreface[:n] {
			goAway(c, protocolError)
			err = errors.New("client negotiated HTTP/2 but sent something else")
			if n < len(buf) {
				err = io.ErrUnexpectedEOF // net/http would wait for more
			}
			return nil, &prefaceError{err}
		}
		if err != nil {
			return nil, &prefaceError{err}
		}
	}
	return &http2Conn{c, frames{rest: buf}}, nil
}

// A prefaceError says why there is no client preface.
type prefaceError struct{ error }

// Unwrap is for errors.Is.
func (e *prefaceError) Unwrap() error { return e.error }

// isHTTPRequest reports whether OpenSSL got a plain HTTP request in place of a
// ClientHello.
func isHTTPRequest(err error) bool {
	var e *tlsio.Error
	return errors.As(err, &e) && slices.ContainsFunc(e.Reasons, func(r tlsio.Reason) bool { return r.Text == "http request" })
}

// prohibited reports whether RFC 9113, section 9.2, prohibits what was
// negotiated: any version before TLS 1.2, and in TLS 1.2 any cipher suite
// without ephemeral keys and AEAD.
func prohibited(s cssl.State) bool {
	if s.Version != cssl.TLS12 {
		return s.Version < cssl.TLS12
	}
	ephemeral := strings.HasPrefix(s.Cipher, "ECDHE-") || strings.HasPrefix(s.Cipher, "DHE-")
	aead := strings.Contains(s.Cipher, "GCM") || strings.Contains(s.Cipher, "CHACHA20") || strings.Contains(s.Cipher, "CCM")
	return !ephemeral || !aead
}

// goAway sends the least that an HTTP/2 server may send: an empty SETTINGS
// frame, and GOAWAY.
func goAway(c net.Conn, code byte) {
	c.Write([]byte{
		0, 0, 0, 4, 0, 0, 0, 0, 0,
		0, 0, 8, 7, 0, 0, 0, 0, 0 /* last stream */, 0, 0, 0, 0 /* code */, 0, 0, 0, code,
	})
}

// An http2Conn is a connection for HTTP/2 whose client preface was read
// already. It has no method ConnectionState, because net/http speaks only
// HTTP/1 on a connection with that method.
type http2Conn struct {
	net.Conn // a *sslnet.Conn
	frames
}

// Read implements net.Conn.
func (c *http2Conn) Read(p []byte) (int, error) { return c.read(c.Conn, p) }

// frames is a buffer for reading. net/http reads a frame's header and its
// content one after the other, without a buffer of its own.
type frames struct {
	buffer []byte
	rest   []byte // not yet read by net/http
}

func (f *frames) read(c net.Conn, p []byte) (int, error) {
	if len(f.rest) == 0 {
		if len(p) >= framesBuffer {
			return c.Read(p)
		}
		if f.buffer == nil {
			f.buffer = make([]byte, framesBuffer)
		}
		n, err := c.Read(f.buffer)
		if f.rest = f.buffer[:n]; n == 0 {
			return 0, err
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

const framesBuffer = 4 << 10

// A nativeConn is a connection for HTTP/2 whose client preface net/http reads.
type nativeConn struct {
	*sslnet.Conn
	frames
}

// Read implements net.Conn. net/http compares io.ErrUnexpectedEOF with ==, and
// logs other errors that come in place of the preface.
func (c *nativeConn) Read(p []byte) (int, error) {
	n, err := c.read(c.Conn, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// bare returns the connection that callbacks of the caller get.
func bare(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *http1Conn:
		return c.Conn
	case *http2Conn:
		return c.Conn
	case *nativeConn:
		return c.Conn
	}
	return c
}
