package sslnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// DefaultCloseTimeout is how long Close waits at the most until close_notify is sent.
const DefaultCloseTimeout = time.Second

// errWant is of a want that nothing here can bring about.
var errWant = errors.New("the application is to act first, for which package sslnet has no way")

// Conn is a TLS connection for code that blocks. It is a net.Conn.
type Conn struct {
	conn      net.Conn
	transport transport
	reader    half
	writer    half
	// done is closed when the handshake has ended, well or not, or the Conn was closed.
	done   chan struct{}
	server bool
	http1  bool // who serves it does not speak HTTP/2; see Listener.AllowHTTP2

	mu           sync.Mutex // guards what follows, and the halves but for their sems
	tls          *cssl.Conn
	closeTimeout time.Duration
	failed       error // of the handshake
	cause        error // why it was closed, if not by Close
	state        *State
	ready        bool // the handshake is done
	tickets      bool // what a handshake that is done may have left to send are tickets alone
	over         bool // done is closed
	unsent       bool // cssl holds ciphertext that the transport refused
	shut         bool // close_notify was asked for: no Write is taken any more
	closing      bool // no Read, Write or Handshake may go on
	certificates int  // requests that were sent and not answered yet
}

// transport is what moves ciphertext.
type transport interface {
	// run calls s.try at once, and again whenever s may have got what it waits for, until it answers true. The
	// error is os.ErrDeadlineExceeded, net.ErrClosed or the transport's own.
	run(s *half) error
	// wake makes run try again. c.mu is held.
	wake(s *half)
	// restoreDeadline undoes what wake did to the deadline. c.mu is held.
	restoreDeadline(s *half)
	// setDeadline sets s.deadline. c.mu is held.
	setDeadline(s *half, t time.Time) error
	// watch makes c.onReady be called once the transport is ready in the direction. c.mu is held.
	watch(d direction) error
	// moved is called after each operation with its result. c.mu is held.
	moved(r cssl.Result)
	// blocked says why w can never be met, if so. c.mu is held.
	blocked(w cssl.Want) error
	// flushed reports whether all that left cssl has left this process. c.mu is held.
	flushed() bool
	// closeWrite ends our direction, when all has been flushed. It may wait; c.mu is not held.
	closeWrite()
	// finish does it too where that needs no waiting, and throws away what has come in and was not read, before
	// close. c.mu is not held.
	finish()
	// close ends all that waits.
	close() error
}

type direction uint8

const (
	readable direction = iota
	writable
)

// What a half is to do.
type task uint8

const (
	taskHandshake task = iota
	taskRead
	taskWrite
	taskShutdown
	taskClose // Close's: what can be said to the peer at the end
	taskKeyUpdate
	taskKeyUpdateRequest
	taskRenegotiate
	taskRequestCertificate
	taskCarryOn // what one of the four has begun
	taskAwaitCertificate
	taskReadEarly
	taskWriteEarly
)

// half is one of the two that may use the connection at once.
type half struct {
	c *Conn
	// sem holds one token: whoever has it is this half.
	sem     chan struct{}
	natural direction

	task     task
	p        []byte // what is left to write, or where to read to
	n        int    // what was moved
	err      error
	want     cssl.Want
	deadline time.Time
	waits    bool         // the last attempt answered want
	woken    bool         // it is to try again though there is no event
	late     *net.OpError // of the last deadline that passed
}

func (s *half) init(c *Conn, d direction) {
	s.c, s.natural, s.sem = c, d, make(chan struct{}, 1)
}

func newConn(conn net.Conn, x *cssl.Context, cfg cssl.ConnConfig) (*Conn, error) {
	if v := reflect.ValueOf(conn); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("sslnet: the connection is nil")
	}
	if x == nil {
		return nil, errors.New("sslnet: the context is nil")
	}
	if x.Tail() == 0 {
		return nil, &cssl.ConfigError{Setting: "Tail", Err: errors.New("negative; a Write that times out needs one, leave it 0")}
	}
	c := &Conn{conn: conn, done: make(chan struct{}), server: x.IsServer(), closeTimeout: DefaultCloseTimeout}
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
	if c.tls.Asks() {
		c.tls.Bind(c, c.decided)
	}
	return c, nil
}

// Server makes a Conn that takes the server's part over conn. x is a server's Context. The handshake begins with the first Read, Write or
// Handshake. Over a *net.TCPConn, or a *net.UnixConn of the stream kind, it works on the socket
// directly; from then on nobody else may read, write or set deadlines there. Plain bytes may have gone over conn before
// (STARTTLS), if nobody holds back what belongs to TLS; two Conns over one conn would take each other's bytes. It owns conn, also
// after an error of its own, but not if Server itself answers one.
func Server(conn net.Conn, x *cssl.Context) (*Conn, error) {
	if x != nil && !x.IsServer() {
		return nil, errors.New("sslnet: Server with a client's context")
	}
	return newConn(conn, x, cssl.ConnConfig{})
}

// Client makes a Conn that takes the client's part over conn; see Server. cfg has the name that the server's
// certificate must have.
func Client(conn net.Conn, x *cssl.Context, cfg cssl.ConnConfig) (*Conn, error) {
	if x != nil && x.IsServer() {
		return nil, errors.New("sslnet: Client with a server's context")
	}
	return newConn(conn, x, cfg)
}

// Read reads up to len(p) bytes, and at least one unless p is empty or there is an error. It makes the handshake if none was made.
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

// Write writes all of p, or answers an error and how much of p was accepted before: that is sent, also after
// a deadline. It returns when the transport has taken everything. It makes the handshake if none was made.
func (c *Conn) Write(p []byte) (int, error) {
	s := &c.writer
	s.sem <- struct{}{}
	n, err := s.do("write", taskWrite, p)
	<-s.sem
	return n, err
}

// Handshake makes the handshake if none was made. Read and Write do it too. The read deadline bounds it.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext is Handshake that the end of ctx ends: the connection is closed then. Once the handshake is
// done, ctx has no effect.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	select {
	case <-c.done: // before a Read, which may keep the half's sem for long
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

// outcome is how the handshake ended.
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

// do tries until it is done. The half's sem is the caller's.
func (s *half) do(op string, t task, p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	s.task, s.p, s.n, s.err, s.waits = t, p, 0, nil, false
	c.mu.Unlock()
	err := c.transport.run(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.waits, s.p = false, nil
	c.keepSending()
	if err == nil {
		err = s.err
	}
	switch {
	case err == nil || err == io.EOF:
		return s.n, err
	case err == os.ErrDeadlineExceeded: // net/http lets one pass with each request
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

// opError adds to an error of the transport where it came from, as package net does. What TLS has to say stays as it is.
func (c *Conn) opError(op string, err error) error {
	var e *cssl.Error
	if errors.As(err, &e) && e.Class != cssl.ClassSyscall {
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
