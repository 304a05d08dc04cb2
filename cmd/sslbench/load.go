package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

// pattern is what clients send, over and over: the byte at position i of a
// connection's stream is pattern[i mod len]. It is incompressible, and long enough that a
// block that is lost or doubled cannot go unnoticed.
var pattern = func() []byte {
	p := make([]byte, 1<<20-3)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(p)
	return p
}()

// patternAt answers n bytes of the stream from position at, as up to two pieces.
func patternAt(at uint64, n int) (a, b []byte) {
	i := int(at % uint64(len(pattern)))
	if i+n <= len(pattern) {
		return pattern[i : i+n], nil
	}
	return pattern[i:], pattern[:i+n-len(pattern)]
}

// work is one kind of load.
type work struct {
	name string
	// unit is what the cost is given for, and units how many of them one of count is.
	unit  string
	units float64
	conns int
	// size is the message of an echo, or the window of a stream.
	size int
	// handshakes: connect, one byte there and back, disconnect, again.
	handshakes bool
	// stream: keep size bytes in flight instead of one message at a time.
	stream bool
}

// load drives one target with one work from a loop of its own.
type load struct {
	work
	target netip.AddrPort
	client *cssl.Context
	loop   *reactor.Loop

	count    atomic.Uint64 // messages, bytes or handshakes
	opened   atomic.Int64  // connections that have done their handshake
	stopping atomic.Bool
	mu       sync.Mutex
	err      error
	open     sync.WaitGroup
}

// start opens the connections. Each works until stop.
func startLoad(w work, target netip.AddrPort, client *cssl.Context) (*load, error) {
	loop, err := reactor.NewLoop(reactor.LoopConfig{Session: session.Config{HighWater: 8 << 20}})
	if err != nil {
		return nil, err
	}
	l := &load{work: w, target: target, client: client, loop: loop}
	go loop.Run()
	for range w.conns {
		l.dial()
	}
	return l, nil
}

// ready waits until all connections are open.
func (l *load) ready() error {
	for range 3000 {
		l.mu.Lock()
		err := l.err
		l.mu.Unlock()
		if err != nil || l.opened.Load() >= int64(l.conns) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("only %d of %d connections opened in 30 s", l.opened.Load(), l.conns)
}

// stop ends all connections and answers the first thing that went wrong.
func (l *load) stop() error {
	l.stopping.Store(true)
	l.loop.Stop()
	done := make(chan struct{})
	go func() { l.open.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		l.fail(errors.New("connections did not end"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// dial begins one connection.
func (l *load) dial() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		l.fail(err)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	sa := &unix.SockaddrInet4{Port: int(l.target.Port()), Addr: l.target.Addr().As4()}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		l.fail(fmt.Errorf("connect: %w", err))
		return
	}
	l.open.Add(1)
	if err := l.loop.Attach(fd, l.client, cssl.ConnConfig{NoNameCheck: true}, l, &flow{}); err != nil {
		l.open.Done()
		if !l.stopping.Load() {
			l.fail(err)
		}
	}
}

// flow is a connection's place in its two streams.
type flow struct{ sent, got uint64 }

func (l *load) send(c *reactor.Conn, n int) {
	f := c.Data.(*flow)
	a, b := patternAt(f.sent, n)
	f.sent += uint64(n)
	for _, p := range [][]byte{a, b} {
		if _, err := c.Write(p); err != nil {
			c.Abort(err)
		}
	}
}

// OnOpen implements reactor.Handler.
func (l *load) OnOpen(c *reactor.Conn) {
	l.opened.Add(1)
	l.send(c, l.size)
}

// OnData implements reactor.Handler.
func (l *load) OnData(c *reactor.Conn, p []byte) {
	f := c.Data.(*flow)
	a, b := patternAt(f.got, len(p))
	if !bytes.Equal(p[:len(a)], a) || !bytes.Equal(p[len(a):], b) {
		c.Abort(fmt.Errorf("wrong byte between positions %d and %d of the stream", f.got, f.got+uint64(len(p))))
		return
	}
	f.got += uint64(len(p))
	switch {
	case l.handshakes:
		l.count.Add(1)
		c.Abort(errDone)
	case l.stream:
		l.count.Add(uint64(len(p)))
		l.send(c, len(p))
	case f.got == f.sent:
		l.count.Add(1)
		l.send(c, l.size)
	}
}

// errDone is the cause of an end that the load itself wanted.
var errDone = errors.New("done")

// OnClose implements reactor.Handler.
func (l *load) OnClose(c *reactor.Conn, err error) {
	defer l.open.Done()
	switch {
	case l.stopping.Load():
	case err == errDone:
		l.dial()
	default:
		l.fail(fmt.Errorf("connection ended: %w", err))
	}
}
