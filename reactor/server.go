package reactor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown, Close
// or StopAccepting.
var ErrServerClosed = errors.New("reactor: server closed")

// Server accepts TLS connections and runs them on its loops. It is used like
// net/http's Server. Do not change its fields after it has started.
type Server struct {
	// Addr is the address for ListenAndServe: "host:port", ":port" or
	// "unix:/path".
	Addr string
	// Handler handles the events of all connections. It is required.
	Handler Handler
	// Context has the certificates and settings. It is required, except with
	// Plain. SetContext replaces it while the server runs.
	Context *cssl.Context
	// Plain, if set, makes connections begin in plain text; see Plain text
	// first in the package documentation.
	Plain PlainHandler
	// Loops is the number of loops; 0 means GOMAXPROCS.
	Loops int

	// Limits has the timeouts and bounds. SetLimits replaces them while the
	// server runs.
	Limits
	// KeepAlive is as in LoopConfig, for accepted TCP connections.
	KeepAlive time.Duration
	// Admit, if set, decides whether an accepted connection may go on. It is
	// called as soon as the peer's address is known, before TLS begins. An
	// error refuses the connection: it is closed at once or, after a Header,
	// ends with an OnClose whose error wraps Admit's. Stats.Refusals counts by
	// the error's text, so use few texts. Loops call Admit on their goroutines,
	// several at once, and it must not block. remote is zero for a unix socket.
	Admit func(remote netip.AddrPort) error
	// Release, if set, is called once for each connection that Admit has
	// admitted, when it has ended.
	Release func(remote netip.AddrPort)
	// Header, if set, parses data that precedes TLS, such as a PROXY protocol
	// header of at most 64 KiB. It is called on the loop's goroutine with all
	// bytes received so far. If done is false, all of p belongs to the header,
	// and Header is called again with more. If done is true, the first n bytes
	// are the header. An error ends the connection. Header may call
	// c.SetRemote. HandshakeTimeout bounds the arrival of the header too. With
	// Plain, Header is first called with no bytes, before the peer has sent any:
	// if it returns true, OnConnect follows at once, and a server can greet a
	// peer that sends no header.
	Header func(c *Conn, p []byte) (n int, done bool, err error)
	// Session has the watermarks, limits and budgets of a connection, and turns
	// on half-close and early data.
	Session session.Config
	// Logger gets panics and accept errors; see LoopConfig.Logger. The default
	// is slog.Default().
	Logger *slog.Logger
	// Trace, if set, is called after each TLS operation; see LoopConfig.Trace.
	Trace func(c *Conn, op tlsio.Op, r tlsio.Result, wait session.Event)

	context atomic.Pointer[cssl.Context]
	limits  atomic.Pointer[Limits]
	conns   atomic.Int64
	// draining stops the loops from accepting before their listeners are
	// closed, so that Shutdown misses no connection.
	draining atomic.Bool

	mu        sync.Mutex
	started   bool
	closed    bool
	loops     []*Loop
	running   sync.WaitGroup
	listeners map[*serving]struct{}
	drained   chan struct{} // closed when the server is closed and has no connection
	failure   error         // the first error of a loop
}

// serving is one call of Serve.
type serving struct {
	listeners []net.Listener
	stop      chan struct{}
	once      sync.Once
	err       error // set before stop is closed
}

func (v *serving) end(err error) {
	v.once.Do(func() {
		v.err = err
		closeAll(v.listeners)
		close(v.stop)
	})
}

// ListenAndServe listens on Addr and serves until StopAccepting, Shutdown or
// Close. Each loop has a listening TCP socket of its own (SO_REUSEPORT); all
// loops share a unix socket.
func (s *Server) ListenAndServe() error {
	ls, err := s.Listen()
	if err != nil {
		return err
	}
	return s.Serve(ls...)
}

// Listen opens the sockets that ListenAndServe would serve on. Use it with
// Serve to learn the address, or to see errors, before serving.
func (s *Server) Listen() ([]net.Listener, error) {
	return listen(s.Addr, s.loopCount())
}

func (s *Server) loopCount() int {
	if s.Loops > 0 {
		return s.Loops
	}
	return runtime.GOMAXPROCS(0)
}

// Serve accepts connections on listeners until StopAccepting, Shutdown or
// Close, and then returns ErrServerClosed. Each listener is a *net.TCPListener
// or *net.UnixListener. Several listeners must have the same address, and each
// loop gets one of them; a single listener is shared by all loops. Serve owns
// the listeners. It closes a TCP listener as soon as the loops have duplicated
// its descriptor. To serve several addresses, call Serve for each on a
// goroutine of its own. If a listener fails, Serve returns the error, and
// existing connections go on.
func (s *Server) Serve(ls ...net.Listener) error {
	if len(ls) == 0 {
		return errors.New("reactor: Serve without a listener")
	}
	if err := s.start(); err != nil {
		closeAll(ls)
		return err
	}
	v := &serving{listeners: ls, stop: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		closeAll(ls)
		return ErrServerClosed
	}
	s.listeners[v] = struct{}{}
	s.mu.Unlock()
	added, err := s.attach(v)
	if err == nil {
		<-v.stop
		err = v.err
	}
	s.detach(added)
	s.mu.Lock()
	delete(s.listeners, v)
	if s.failure != nil {
		err = s.failure
	}
	s.mu.Unlock()
	v.end(err)
	return err
}

// attached is a listener on a loop.
type attached struct {
	loop *Loop
	ln   *listener
}

// closeTCP closes TCP listeners once each loop has a descriptor of its own:
// Go's own poller would wake a thread for every incoming connection. A unix
// listener stays open, because closing it removes its path.
func (v *serving) closeTCP() {
	for _, l := range v.listeners {
		if tcp, ok := l.(*net.TCPListener); ok {
			tcp.Close()
		}
	}
}

// attach adds the listeners to the loops.
func (s *Server) attach(v *serving) (added []attached, err error) {
	n := max(len(v.listeners), len(s.loops))
	for i := range n {
		nl := v.listeners[i%len(v.listeners)]
		fd, err := dupListener(nl, s.KeepAlive)
		if err != nil {
			return added, err
		}
		a := attached{s.loops[i%len(s.loops)], &listener{server: s, fd: fd, addr: nl.Addr(), shared: n > len(v.listeners), early: true, failed: v.end}}
		result := make(chan error, 1)
		if !a.loop.Do(func() { result <- a.loop.listen(a.ln) }) {
			unix.Close(fd)
			return added, ErrServerClosed
		}
		if err := <-result; err != nil {
			return added, err
		}
		added = append(added, a)
	}
	v.closeTCP()
	return added, nil
}

// detach removes the listeners from the loops, and waits until that is done.
func (s *Server) detach(added []attached) {
	for _, a := range added {
		done := make(chan struct{})
		if a.loop.Do(func() {
			if a.ln.fd >= 0 {
				a.loop.closeListener(a.ln)
			}
			close(done)
		}) {
			<-done
		}
	}
}

// start starts the loops, once.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrServerClosed
	}
	if s.started {
		return nil
	}
	if s.Handler == nil {
		return errors.New("reactor: Server.Handler is nil")
	}
	if s.Context == nil && s.Plain == nil {
		return errors.New("reactor: Server.Context is nil")
	}
	s.context.CompareAndSwap(nil, s.Context)
	limits := s.Limits
	s.limits.CompareAndSwap(nil, &limits)
	cfg := LoopConfig{Limits: *s.limits.Load(), Session: s.Session, Logger: s.Logger, Trace: s.Trace}
	for range s.loopCount() {
		l, err := NewLoop(cfg)
		if err != nil {
			for _, l := range s.loops {
				l.poller.Close()
			}
			s.loops = nil
			return fmt.Errorf("reactor: creating a loop: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	growFiles(s.loops[0].poller.FD())
	s.started = true
	s.listeners = map[*serving]struct{}{}
	s.drained = make(chan struct{})
	for _, l := range s.loops {
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			if err := l.Run(); err != nil {
				s.fail(err)
			}
		}()
	}
	return nil
}

// fail ends the server because a loop has failed.
func (s *Server) fail(err error) {
	s.mu.Lock()
	if s.failure == nil {
		s.failure = err
	}
	s.mu.Unlock()
	go s.Close()
}

// SetContext sets the Context for connections that are accepted from now on.
// Existing connections keep theirs. One that is still in plain text has none yet:
// StartTLS takes the Context of that time, unless its argument has one. The
// caller may then close the old Context.
func (s *Server) SetContext(x *cssl.Context) { s.context.Store(x) }

// admit counts a connection, unless there are MaxConns already.
func (s *Server) admit() bool {
	limit := s.limits.Load().MaxConns
	if n := s.conns.Add(1); limit > 0 && n > int64(limit) {
		s.release()
		return false
	}
	return true
}

// release undoes admit.
func (s *Server) release() {
	if s.conns.Add(-1) == 0 {
		s.mu.Lock()
		s.checkDrained()
		s.mu.Unlock()
	}
}

// checkDrained closes drained if the server is closed and has no connection.
// s.mu is held.
func (s *Server) checkDrained() {
	if !s.closed || s.conns.Load() != 0 || s.drained == nil {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// Conns returns the current number of connections. Unlike Stats().Conns it
// includes what happened in the current turn.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// closeListeners ends all Serve calls and stops accepting.
func (s *Server) closeListeners() {
	s.draining.Store(true)
	s.mu.Lock()
	s.closed = true
	for v := range s.listeners {
		v.end(ErrServerClosed)
	}
	s.mu.Unlock()
}

// StopAccepting stops accepting and makes all Serve calls return. Existing
// connections go on, including those in the handshake. It is for a server whose
// listening sockets another process takes over. Call Shutdown or Close later.
func (s *Server) StopAccepting() { s.closeListeners() }

// Shutdown stops accepting, closes every connection like Conn.Close (its queue
// is written, then close_notify) and waits until all have ended. If ctx is done
// first, Shutdown returns ctx's error; then call Close to end the rest.
// Shutdown and Close wait for the loops, so a handler may call them on another
// goroutine only.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closeListeners()
	s.mu.Lock()
	loops, drained := s.loops, s.drained
	s.mu.Unlock()
	for _, l := range loops {
		l.Do(l.closeAll)
	}
	s.mu.Lock()
	s.checkDrained()
	s.mu.Unlock()
	if drained != nil {
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.stopLoops()
}

// Close stops accepting and resets every connection.
func (s *Server) Close() error {
	s.closeListeners()
	return s.stopLoops()
}

func (s *Server) stopLoops() error {
	s.mu.Lock()
	loops := s.loops
	s.mu.Unlock()
	for _, l := range loops {
		l.Stop()
	}
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkDrained()
	return s.failure
}

// closeAll begins to close every connection of the loop.
func (l *Loop) closeAll() {
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && !c.dead {
			c.Close()
		}
	}
}

// Stats returns the sum of the counters of all loops.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	loops := s.loops
	s.mu.Unlock()
	var sum Stats
	for _, l := range loops {
		sum.Add(l.Stats())
	}
	return sum
}
