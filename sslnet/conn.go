package sslnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// defaultCloseTimeout is how long Close may take to send close_notify, unless
// SetCloseTimeout was called.
const defaultCloseTimeout = time.Second

// Conn is a net.Conn that speaks TLS. Close it after use: its OpenSSL objects
// are outside the Go heap, and no finalizer frees them.
type Conn struct {
	conn      net.Conn
	transport transport
	reader    half
	writer    half
	// done is closed when the handshake succeeds or fails, or the Conn is
	// closed.
	done   chan struct{}
	server bool
	http1  bool // refuse h2; see Listener.AllowHTTP2

	mu           sync.Mutex // guards the fields below, and halves except sem
	tls          *cssl.Conn
	closeTimeout time.Duration
	failed       error // why the handshake failed
	cause        error // why abort closed it; nil after Close
	state        *cssl.State
	ready        bool        // the handshake is done
	tickets      bool        // the handshake left nothing but tickets to send
	over         bool        // done is closed
	unsent       bool        // cssl holds ciphertext that the transport did not accept
	shut         bool        // close_notify was requested: Write fails
	closing      bool        // Close or abort was called: every other operation fails
	certificates int         // certificate requests not yet answered
	notify       func(error) // see NotifyReadable
	peeked       [1]byte
	listed, used bool // for idleConns
}

// transport moves ciphertext.
type transport interface {
	// run calls s.try until it returns true: at once, and then each time s may
	// be able to go on. The error is os.ErrDeadlineExceeded, net.ErrClosed or
	// the transport's own.
	run(s *half) error
	// wake makes run call s.try again. c.mu is held.
	wake(s *half)
	// restoreDeadline undoes what wake did to the deadline. c.mu is held.
	restoreDeadline(s *half)
	// setDeadline sets s.deadline. c.mu is held.
	setDeadline(s *half, t time.Time) error
	// start is called before run. It reports whether the deadline has passed.
	// c.mu is held.
	start(s *half) (late bool)
	// watch requests one call of c.onReady when the transport is ready in
	// direction d. c.mu is held.
	watch(d direction) error
	// use calls f while the transport cannot be closed, and returns its error.
	// c.mu is held.
	use(f func() error) error
	// moved is called with the result of each operation. c.mu is held.
	moved(r tlsio.Result)
	// blocked returns an error if w can never be met. c.mu is held.
	blocked(w tlsio.Want) error
	// flushed reports whether the underlying connection has accepted all
	// ciphertext that was taken from cssl. c.mu is held.
	flushed() bool
	// closeWrite sends a FIN if the transport can. It may block; c.mu is not
	// held.
	closeWrite()
	// finish prepares for close: it sends a FIN if that cannot block, and
	// discards unread input. c.mu is not held.
	finish()
	// close closes the underlying connection and ends every wait.
	close() error
}

type direction uint8

const (
	readable direction = iota
	writable
)

// A task is what a half has to do.
type task uint8

const (
	taskHandshake task = iota
	taskRead
	taskWrite
	taskSendFile
	taskShutdown
	taskClose // for Close: send close_notify, or the rest of an alert
	taskKeyUpdate
	taskKeyUpdateRequest
	taskRenegotiate
	taskRequestCertificate
	taskCarryOn // continue what one of the four above began
	taskAwaitCertificate
	taskReadEarly
	taskWriteEarly
)

// A half is one of the two operations that may run at the same time: it reads
// or it writes.
type half struct {
	c *Conn
	// sem holds one token. A goroutine sends it to use the half, and receives
	// it afterwards.
	sem     chan struct{}
	natural direction // that it usually waits for

	task     task
	file     syscall.RawConn // for taskSendFile, with what is left to send
	rest     int64
	p        []byte // the rest to write, or the buffer to read into
	n        int    // the bytes of plaintext moved so far
	err      error
	want     tlsio.Want
	deadline time.Time
	applied  time.Time    // the deadline that Go's poller has, if known
	known    bool         // somebody else may have set one before
	stale    bool         // the poller must be told of deadline
	runs     bool         // transport.run has begun, or is about to
	waits    bool         // the last try returned want
	woken    bool         // try again, without an event
	late     *net.OpError // last deadline error, for reuse
}

func (s *half) init(c *Conn, d direction) {
	s.c, s.natural, s.sem = c, d, make(chan struct{}, 1)
}

func newConn(conn net.Conn, x *cssl.Context, cfg cssl.ConnConfig) (*Conn, error) {
	if v := reflect.ValueOf(conn); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("sslnet: the connection is nil")
	}
	if x == nil {
		return nil, errors.New("sslnet: the Context is nil")
	}
	if x.Tail() == 0 {
		return nil, &cssl.ConfigError{Setting: "Tail", Err: errors.New("must not be negative: without a tail, a Write that times out cannot be continued")}
	}
	var first []byte
	if b, ok := conn.(*begun); ok {
		conn, first = b.Conn, b.first
	}
	c := &Conn{conn: conn, done: make(chan struct{}), server: x.IsServer(), closeTimeout: defaultCloseTimeout}
	c.reader.init(c, readable)
	c.writer.init(c, writable)
	var err error
	if sc, ok := socketOf(conn); ok {
		err = c.overSocket(sc, x, cfg)
	} else {
		err = c.overStream(x, cfg)
	}
	if err != nil {
		return nil, err
	}
	if c.tls.Feed(first) < len(first) {
		c.tls.Close()
		return nil, errors.New("sslnet: too much was read before TLS")
	}
	if c.tls.Asks() {
		c.tls.Bind(c, c.decided)
	}
	return c, nil
}

// Server returns a Conn that is the server's end of TLS over conn. x must be a
// server's Context. The first Read, Write or Handshake starts the handshake.
//
// If conn is a *net.TCPConn, or a *net.UnixConn of network "unix", the Conn
// uses its socket directly: nobody else may read, write or set deadlines there
// from now on. Any other conn is read and written by two goroutines of the
// Conn. If plaintext has been exchanged over conn before (STARTTLS), see
// AfterPlaintext. Only one Conn may use conn.
//
// The Conn owns conn. If Server returns an error, the caller still owns it.
func Server(conn net.Conn, x *cssl.Context) (*Conn, error) {
	if x != nil && !x.IsServer() {
		return nil, errors.New("sslnet: Server needs a server's Context, not a client's")
	}
	return newConn(conn, x, cssl.ConnConfig{})
}

// Client returns a Conn that is the client's end of TLS over conn; see Server.
// x must be a client's Context. cfg has the name that the server's certificate
// must have.
func Client(conn net.Conn, x *cssl.Context, cfg cssl.ConnConfig) (*Conn, error) {
	if x != nil && x.IsServer() {
		return nil, errors.New("sslnet: Client needs a client's Context, not a server's")
	}
	return newConn(conn, x, cfg)
}

// Read reads up to len(p) bytes. It blocks until there is at least one, unless
// p is empty. It performs the handshake first, if not done yet.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, c.Handshake()
	}
	s := &c.reader
	s.sem <- struct{}{}
	n, err := s.do("read", taskRead, p)
	<-s.sem
	return n, err
}

// Write writes p, and returns when the transport has accepted all of it. If it
// returns an error, it also returns how many bytes it accepted; after a
// timeout, these are still sent. It performs the handshake first, if not done
// yet.
func (c *Conn) Write(p []byte) (int, error) {
	s := &c.writer
	s.sem <- struct{}{}
	n, err := s.do("write", taskWrite, p)
	<-s.sem
	return n, err
}

// Handshake performs the handshake, if not done yet. Read and Write do so too.
// The read deadline applies.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext is like Handshake, but if ctx ends during the handshake, it
// closes the connection and returns context.Cause(ctx). After the handshake,
// ctx has no effect.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	select {
	case <-c.done: // without the sem, which a Read may hold for long
		return c.outcome()
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if ctx.Done() != nil {
		aborted := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			c.abort(context.Cause(ctx))
			close(aborted)
		})
		defer func() {
			if !stop() {
				<-aborted
			}
		}()
	}
	s := &c.reader
	select {
	case s.sem <- struct{}{}:
		_, err := s.do("handshake", taskHandshake, nil)
		<-s.sem
		return err
	case <-c.done:
		return c.outcome()
	}
}

// outcome returns how the handshake ended.
func (c *Conn) outcome() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ready && !c.closing:
		return nil
	case c.failed != nil:
		return c.failed
	}
	return c.closedError("handshake")
}

// do performs t, and blocks until it is done or fails. The caller holds s.sem.
func (s *half) do(op string, t task, p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	s.task, s.p, s.n, s.err, s.waits = t, p, 0, nil, false
	err := os.ErrDeadlineExceeded
	if late := c.transport.start(s); !late || c.closing {
		s.runs = true
		t := c.transport // the other half may replace it; see handshaking
		c.mu.Unlock()
		err = t.run(s)
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	s.runs, s.waits, s.p = false, false, nil
	c.keepSending()
	if err == nil {
		err = s.err
	}
	switch {
	case err == nil || err == io.EOF:
		return s.n, err
	case err == os.ErrDeadlineExceeded: // frequent in net/http
		if s.late == nil || s.late.Op != op {
			s.late = c.opError(op, err).(*net.OpError)
		}
		return s.n, s.late
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.n, c.opError(op, os.ErrDeadlineExceeded)
	case errors.Is(err, net.ErrClosed):
		return s.n, c.closedError(op)
	}
	return s.n, c.opError(op, err)
}

// opError wraps an error of the transport in a net.OpError, as package net
// does. It leaves errors of TLS as they are.
func (c *Conn) opError(op string, err error) error {
	var e *tlsio.Error
	if errors.As(err, &e) && e.Errno == 0 {
		return err
	}
	var o *net.OpError
	if errors.As(err, &o) {
		return err
	}
	o = &net.OpError{Op: op, Source: c.conn.LocalAddr(), Addr: c.conn.RemoteAddr(), Err: err}
	if o.Source != nil {
		o.Net = o.Source.Network()
	}
	return o
}

func (c *Conn) closedError(op string) error {
	if c.cause != nil {
		return c.cause
	}
	return c.opError(op, net.ErrClosed)
}
