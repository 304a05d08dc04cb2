package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// newContext makes a client's context for one version of TLS.
func newContext(t *testing.T, v cssl.TLSVersion) *cssl.Context {
	t.Helper()
	x := tlstest.Value(cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), MinVersion: v, MaxVersion: v}))(t)
	t.Cleanup(x.Close)
	return x
}

// dial makes a connection to a host or to the balancer, with a session to resume if it is not nil, and answers the port that it comes
// from too, 0 if there was no TCP connection.
func (f *fleet) dial(x *cssl.Context, addr string, s *cssl.Session) (*sslnet.Conn, int, error) {
	raw, err := f.client.dial(addr)
	if err != nil {
		return nil, 0, err
	}
	port := raw.LocalAddr().(*net.TCPAddr).Port
	_ = raw.SetDeadline(time.Now().Add(tlstest.Hang))
	c, err := sslnet.Client(raw, x, cssl.ConnConfig{ServerName: "localhost", Session: s})
	if err == nil {
		err = c.Handshake()
	}
	if err != nil {
		raw.Close()
		return nil, port, fmt.Errorf("handshake: %w", err)
	}
	return c, port, nil
}

// echo sends n bytes and reads them back. After the first one the session of TLS 1.3 is there too.
func echo(c net.Conn, n int) error {
	p, got := bytes.Repeat([]byte{byte(n)}, n), make([]byte, n)
	if _, err := c.Write(p); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, p) {
		return errors.New("the echo is not what was sent")
	}
	return nil
}

// end closes a connection in good order and waits for the server's close_notify.
func end(c *sslnet.Conn) error {
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
		return fmt.Errorf("end: %d bytes, %w", n, err)
	}
	return c.Close()
}

// visit makes a connection, which must be resumed or not, and answers the session to resume next.
func (f *fleet) visit(x *cssl.Context, addr string, s *cssl.Session, resumed bool) *cssl.Session {
	f.t.Helper()
	c, _, err := f.dial(x, addr, s)
	tlstest.Must(f.t, err)
	defer c.Close()
	tlstest.Must(f.t, echo(c, 100))
	next := c.Session()
	if got := c.State().Resumed; got != resumed || next == nil {
		f.t.Fatalf("%s: resumed %v, want %v; a ticket for the next time: %v", addr, got, resumed, next != nil)
	}
	tlstest.Must(f.t, end(c))
	return next
}

// load are clients whose connections keep echoing for a while and then close in good order, one after another, until all are told
// to stop.
type load struct {
	f       *fleet
	x       *cssl.Context
	longest time.Duration // that a connection lasts
	stop    chan struct{}
	end     func() // lets all clients end their connections

	opened, ended, echoes atomic.Int64
	each                  []atomic.Int64 // the connections that each client is done with

	mu   sync.Mutex
	lost []loss
}

// loss is a connection that ended otherwise.
type loss struct {
	port  int // the client's; 0 if there was no connection
	begun time.Time
	err   error
}

// pace is the time between two echoes of a connection.
func pace() time.Duration {
	if full {
		return 250 * time.Millisecond
	}
	return 20 * time.Millisecond
}

// newLoad starts n clients.
func newLoad(f *fleet, n int, longest time.Duration) *load {
	l := &load{f: f, x: newContext(f.t, cssl.TLS13), longest: longest, stop: make(chan struct{}), each: make([]atomic.Int64, n)}
	var wg sync.WaitGroup
	for i := range n {
		rng := rand.New(rand.NewPCG(5, uint64(i)))
		wg.Go(func() {
			var s *cssl.Session
			for !l.stopped() {
				begun := time.Now()
				if port, err := l.one(rng, &s); err != nil {
					l.mu.Lock()
					l.lost = append(l.lost, loss{port, begun, err})
					l.mu.Unlock()
				}
				l.each[i].Add(1)
			}
		})
	}
	l.end = sync.OnceFunc(func() { close(l.stop); wg.Wait() })
	f.t.Cleanup(l.end)
	return l
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// one is a connection.
func (l *load) one(rng *rand.Rand, s **cssl.Session) (port int, err error) {
	c, port, err := l.f.dial(l.x, l.f.addr(), *s)
	if err != nil {
		return port, err
	}
	defer c.Close()
	l.opened.Add(1)
	for over := time.Now().Add(time.Duration(rng.Int64N(int64(l.longest)))); ; {
		_ = c.SetDeadline(time.Now().Add(tlstest.Hang))
		if err := echo(c, 1+rng.IntN(5000)); err != nil {
			return port, err
		}
		l.echoes.Add(1)
		*s = c.Session()
		select {
		case <-time.After(pace()):
		case <-l.stop:
		}
		if l.stopped() || time.Now().After(over) {
			break
		}
	}
	if err := end(c); err != nil {
		return port, err
	}
	l.ended.Add(1)
	return port, nil
}

// goesOn waits until the clients have opened and ended more connections.
func (l *load) goesOn(n int64) {
	l.f.t.Helper()
	opened, ended := l.opened.Load(), l.ended.Load()
	tlstest.Until(l.f.t, "more connections", func() bool { return l.opened.Load() >= opened+n && l.ended.Load() >= ended+n })
}

// renewed waits until each client has begun a connection and ended it.
func (l *load) renewed() {
	l.f.t.Helper()
	for i := range l.each {
		n := l.each[i].Load() + 2 // the first one may have begun before
		tlstest.Until(l.f.t, "each client has a new connection", func() bool { return l.each[i].Load() >= n })
	}
}

// losses ends the load and answers how many connections each host lost. Those of nobody did not get as far as the balancer.
func (l *load) losses() map[string]int {
	t := l.f.t
	t.Helper()
	l.end()
	lost := map[string]int{}
	for _, x := range l.lost {
		host := "nobody"
		if x.port != 0 {
			host = l.f.served(x.port, x.begun)
		}
		lost[host]++
		t.Logf("lost with %s: %v", host, x.err)
	}
	return lost
}
