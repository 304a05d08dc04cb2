package sslnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// held makes a Listener for pending handshakes, whose patience ends when the
// test says so.
func held(t *testing.T, network string, places int) (l *Listener, client *cssl.Context) {
	t.Helper()
	sx, cx := contexts(t)
	at := map[string][2]string{"tcp": {"tcp", "127.0.0.1:0"}, "stream": {"tcp", "127.0.0.1:0"}, "unix": {"unix", socketPath(t)}}[network]
	nl := tlstest.Value(net.Listen(at[0], at[1]))(t)
	l = NewListener(&announcing{nl, network == "stream", make(chan struct{}, 100)}, sx)
	l.MaxHandshakes = places
	l.pending.init()
	l.pending.silent.patience, l.pending.begun.patience = 2*tlstest.Hang, 2*tlstest.Hang
	t.Cleanup(func() { l.Close() })
	return l, cx
}

// announcing tells of each connection that it accepts. They are not sockets for a
// Conn if hide is set.
type announcing struct {
	net.Listener
	hide     bool
	accepted chan struct{}
}

func (a *announcing) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	signal(a.accepted) // a few are waited for
	if a.hide {
		c = struct{ net.Conn }{c}
	}
	return c, nil
}

// outwait makes the patience with all that wait now end.
func (p *pending) outwait() {
	p.mu.Lock()
	p.start = p.start.Add(-2 * tlstest.Hang)
	p.mu.Unlock()
	signal(p.free)
}

// look calls f under p's lock.
func look[T any](p *pending, f func() T) T {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f()
}

func (p *pending) count() int { return look(p, func() int { return p.silent.Len() + p.begun.Len() }) }

// tried reports whether n handshakes are pending, and each was tried.
func (p *pending) tried(n int) bool {
	return look(p, func() bool {
		for _, q := range []*queue{&p.silent, &p.begun} {
			for e := q.Front(); e != nil; e = e.Next() {
				if e.Value.(*handshaking).ours {
					return false
				}
				n--
			}
		}
		return n == 0
	})
}

// knock connects to l without a word.
func knock(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c := tlstest.Value(net.Dial(l.Addr().Network(), l.Addr().String()))(t)
	t.Cleanup(func() { c.Close() })
	tlstest.Must(t, c.SetDeadline(time.Now().Add(tlstest.Hang)))
	return c
}

// accepting accepts one connection.
func accepting(l *Listener) (<-chan *Conn, <-chan error) {
	ch := make(chan *Conn, 1)
	return ch, tlstest.Later(func() error {
		c, err := l.Accept()
		if err == nil {
			ch <- c.(*Conn)
		}
		return err
	})
}

// TestEvictionIsTimeout: an eviction is found like any other timeout, but a
// retry is of no use.
func TestEvictionIsTimeout(t *testing.T) {
	err := ErrHandshakeEvicted
	timedOut(t, err)
	if err.(interface{ Temporary() bool }).Temporary() {
		t.Errorf("%v is temporary", err)
	}
}

// TestHandshakeEvicted: when all places are taken, those of silent peers go to
// the next connections, the oldest first and once their patience is over. An
// honest client behind all of them is served.
func TestHandshakeEvicted(t *testing.T) {
	const places, silent = 4, 12
	for _, network := range []string{"tcp", "unix", "stream"} {
		t.Run(network, func(t *testing.T) {
			l, cx := held(t, network, places)
			p := &l.pending
			var conns []net.Conn
			for range silent {
				conns = append(conns, knock(t, l))
			}
			honest := knock(t, l)
			failed := make(chan error, silent+1)
			accepted := make(chan int, silent+1)
			var work sync.WaitGroup
			work.Go(func() {
				for n := 1; ; n++ {
					c, err := l.Accept()
					if err != nil {
						return
					}
					accepted <- n
					work.Go(func() {
						if err := c.(*Conn).Handshake(); err != nil {
							failed <- err
						} else if _, err = io.Copy(c, c); err != nil {
							t.Error(err)
						}
						c.Close()
					})
				}
			})
			for n := 1; n <= silent; n++ {
				if got := tlstest.Receive(t, accepted, "a connection"); got != n {
					t.Fatalf("connection %d, want %d", got, n)
				}
				if n%places == 0 {
					tlstest.Until(t, "all to be tried", func() bool { return p.tried(places) })
					if len(accepted) > 0 {
						t.Fatal("a connection was accepted before the time of another was over")
					}
					p.outwait()
				}
			}
			client := tlstest.Value(Client(honest, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
			tlstest.Must(t, client.Handshake())
			echoes(t, client)
			tlstest.Must(t, client.Close())
			// One more place was all that the honest one needed.
			const gone = silent - places + 1
			for i, c := range conns {
				if i >= gone {
					tlstest.Must(t, c.SetReadDeadline(longAgo))
				}
				if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) != (i >= gone) {
					t.Errorf("silent peer %d reads %v", i, err)
				}
			}
			for range gone {
				fails(t, failed, "an eviction", ErrHandshakeEvicted)
			}
			for _, c := range conns {
				c.Close()
			}
			l.Close()
			work.Wait()
			if n := p.count(); n != 0 || len(failed) != places-1 {
				t.Errorf("%d are pending, %d others have failed", n, len(failed))
			}
		})
	}
}

// TestEvictionIsFair: what a peer has sent and nobody has read is not held
// against it, nor that the application has not begun or decided yet. A peer that
// was just answered has time for its own answer.
func TestEvictionIsFair(t *testing.T) {
	l, _ := held(t, "tcp", 3)
	p := &l.pending
	var conns []net.Conn
	var ours []*handshaking
	for range 3 {
		conns = append(conns, knock(t, l))
		c := tlstest.Value(l.Accept())(t)
		defer c.Close()
		ours = append(ours, c.(*Conn).transport.(*handshaking))
	}
	slowest := func(want int) { // -1 is none
		t.Helper()
		got := look(p, func() *handshaking { h, _ := p.slowest(); return h })
		if i := slices.Index(ours, got); i != want || got != nil && i < 0 {
			t.Errorf("%d is the slowest, want %d", i, want)
		}
	}
	slowest(-1)
	tlstest.Value(conns[0].Write([]byte{22}))(t)
	tlstest.Until(t, "the byte", func() bool { return look(p, ours[0].late) })
	p.outwait()
	slowest(1)
	// The hello of 1 is answered, however late. A byte now and then is no reason to wait.
	first := hello(t)
	var shaken []<-chan error
	for i := 1; i <= 2; i++ {
		tlstest.Value(conns[i].Write(first[:1]))(t)
		shaken = append(shaken, tlstest.Later(ours[i].c.Handshake))
		tlstest.Until(t, "the first byte to be noted", func() bool { return look(p, func() bool { return ours[i].queue == &p.begun }) })
	}
	p.outwait()
	tlstest.Value(conns[1].Write(first[1:]))(t)
	tlstest.Value(io.ReadFull(conns[1], make([]byte, 100)))(t)
	tlstest.Until(t, "the answer to be noted", func() bool { return look(p, func() bool { return p.begun.Back().Value == ours[1] }) })
	moved := func(h *handshaking, r tlsio.Result) {
		h.c.mu.Lock()
		defer h.c.mu.Unlock()
		h.moved(r)
	}
	moved(ours[2], tlsio.Result{In: true, Want: tlsio.WantRead})
	tlstest.Value(conns[0].Write(first[:1]))(t)
	slowest(2)
	// Who has lost his place does not get it back.
	look(p, func() bool { p.remove(ours[2]); return true })
	moved(ours[2], tlsio.Result{Out: true, Want: tlsio.WantRead})
	tlstest.Equal(t, "pending", p.count(), 2)
	tlstest.Must(t, ours[2].c.Close())
	slowest(-1)
	p.outwait()
	look(p, func() bool { ours[1].ours = true; return true }) // it waits for a decision
	slowest(-1)
	p.outwait()
	look(p, func() bool { ours[1].ours = false; return true })
	slowest(1)
	tlstest.Must(t, ours[1].c.Close())
	for _, end := range shaken {
		fails(t, end, "a handshake", net.ErrClosed)
	}
}

// hello is a ClientHello.
func hello(t *testing.T) []byte {
	t.Helper()
	_, cx := contexts(t)
	a, b := net.Pipe()
	c := tlstest.Value(Client(a, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
	shaken := tlstest.Later(c.Handshake)
	buf := make([]byte, 4096)
	n := tlstest.Value(b.Read(buf))(t)
	tlstest.Must(t, b.Close())
	if tlstest.Receive(t, shaken, "the handshake") == nil {
		t.Error("a handshake without a peer")
	}
	c.Close()
	return buf[:n]
}

// TestPlaceIsFreed: the end of a handshake, in whichever way, lets an Accept that
// waits for its place go on. So does Close of the Listener.
func TestPlaceIsFreed(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, l *Listener, peer net.Conn, c *Conn, cx *cssl.Context){
		"done": func(t *testing.T, _ *Listener, peer net.Conn, c *Conn, cx *cssl.Context) {
			client := tlstest.Value(Client(peer, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
			shake(t, client, c)
			t.Cleanup(func() { client.Close() })
		},
		"failed": func(t *testing.T, _ *Listener, peer net.Conn, c *Conn, _ *cssl.Context) {
			tlstest.Value(io.WriteString(peer, "EHLO example.test\r\n"))(t)
			if c.Handshake() == nil {
				t.Error("a handshake with SMTP")
			}
		},
		"closed": func(t *testing.T, _ *Listener, _ net.Conn, c *Conn, _ *cssl.Context) { tlstest.Must(t, c.Close()) },
		"listener closed": func(t *testing.T, l *Listener, _ net.Conn, _ *Conn, _ *cssl.Context) {
			tlstest.Must(t, l.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, cx := held(t, "tcp", 1)
			peer := knock(t, l)
			nc := tlstest.Value(l.Accept())(t)
			defer nc.Close()
			next := knock(t, l)
			second, accepted := accepting(l)
			for range 2 {
				tlstest.Receive(t, l.Listener.(*announcing).accepted, "a connection")
			}
			end(t, l, peer, nc.(*Conn), cx)
			err := tlstest.Receive(t, accepted, "Accept")
			if name != "listener closed" {
				tlstest.Must(t, err)
				c := <-second
				tlstest.Equal(t, "pending", l.pending.count(), 1)
				tlstest.Must(t, c.Close())
			} else if !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept returned %v", err)
			} else if got, err := next.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes came over a connection that nobody has accepted", got)
			}
		})
	}
}

// TestPlacesAreFreed: each of several Accepts goes on when as many places are
// freed at once.
func TestPlacesAreFreed(t *testing.T) {
	const n = 3
	l, _ := held(t, "tcp", n)
	p := &l.pending
	var ends []<-chan error
	var second []<-chan *Conn
	for i := range 2 * n {
		knock(t, l)
		c, accepted := accepting(l)
		if i < n {
			done(t, accepted, "Accept")
			defer (<-c).Close()
		} else {
			ends, second = append(ends, accepted), append(second, c)
		}
	}
	for range 2 * n {
		tlstest.Receive(t, l.Listener.(*announcing).accepted, "a connection")
	}
	look(p, func() bool {
		for p.silent.Len() > 0 {
			p.remove(p.silent.Front().Value.(*handshaking))
		}
		signal(p.free)
		return true
	})
	for i := range n {
		done(t, ends[i], "Accept")
		defer (<-second[i]).Close()
	}
}

// TestEvictionRace: places change hands while handshakes succeed, fail, and
// connections are closed. Nothing is left.
func TestEvictionRace(t *testing.T) {
	const clients, times, places = 8, 100 / tlstest.Scale, 3
	l, cx := held(t, "tcp", places)
	p := &l.pending
	p.silent.patience, p.begun.patience = 1, 1
	var work, dialling sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				work.Go(func() {
					_ = c.(*Conn).Handshake() // evicted or not
					c.Close()
				})
			}
		})
	}
	for n := range clients {
		dialling.Go(func() {
			for i := range times {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				switch (n + i) % 3 {
				case 0:
					client, err := Client(c, cx, cssl.ConnConfig{ServerName: "localhost"})
					if err != nil {
						t.Error(err)
						return
					}
					_ = client.Handshake() // may be evicted
					client.Close()
				case 1:
					_, _ = c.Write([]byte{22}) // likewise
				}
				c.Close()
			}
		})
	}
	dialling.Wait()
	tlstest.Until(t, "the handshakes to end", func() bool { return p.count() == 0 })
	l.Close()
	work.Wait()
}

// TestListenerSettings: what a Listener refuses for good says the setting.
func TestListenerSettings(t *testing.T) {
	plain, _ := contexts(t)
	h2, _ := contexts(t, func(server, _ *cssl.Config) { server.ALPN = []string{"h2", "http/1.1"} })
	byName, _ := contexts(t, func(server, _ *cssl.Config) { server.SNI = map[string]*cssl.Context{"h2.test": h2} })
	for name, c := range map[string]struct {
		x       *cssl.Context
		change  func(*Listener)
		setting string // of the ConfigError; none if it is empty
	}{
		"negative":          {plain, func(l *Listener) { l.MaxHandshakes = -1 }, "MaxHandshakes"},
		"h2":                {h2, func(*Listener) {}, "ALPN"},
		"h2 for a name":     {byName, func(*Listener) {}, "ALPN"},
		"h2 by SetContext":  {plain, func(l *Listener) { l.SetContext(h2) }, "ALPN"},
		"h2 allowed":        {h2, (*Listener).AllowHTTP2, ""},
		"h2 allowed by SNI": {byName, (*Listener).AllowHTTP2, ""},
		"defaults":          {plain, func(*Listener) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, c.x)
			c.change(l)
			_, accepted := accepting(l)
			if c.setting == "" {
				tlstest.Must(t, l.Close())
				fails(t, accepted, "Accept", net.ErrClosed)
				return
			}
			defer l.Close()
			var e *cssl.ConfigError
			if err := tlstest.Receive(t, accepted, "Accept"); !errors.As(err, &e) || e.Setting != c.setting {
				t.Errorf("Accept returned %v", err)
			}
		})
	}
}

// TestHTTP2BehindDecision: the handshake fails, too, that agrees on h2 by a
// Context which no Accept has seen.
func TestHTTP2BehindDecision(t *testing.T) {
	h2, cx := contexts(t, func(server, client *cssl.Config) {
		server.ALPN, client.ALPN = []string{"h2"}, []string{"h2", "http/1.1"}
	})
	plain, _ := contexts(t, func(server, _ *cssl.Config) {
		server.ClientHello = func(h *cssl.ClientHello) { h.Accept(h2) }
	})
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			l := listen(t, plain)
			if allowed {
				l.AllowHTTP2()
			}
			shaken := tlstest.Later(acceptAndShake(l))
			client, err := (&Dialer{Context: cx, Config: cssl.ConnConfig{ServerName: "localhost"}}).Dial("tcp", l.Addr().String())
			if err == nil {
				defer client.Close()
			}
			var e *cssl.ConfigError
			if err := tlstest.Receive(t, shaken, "Handshake"); allowed != (err == nil) || !allowed && (!errors.As(err, &e) || e.Setting != "ALPN") {
				t.Errorf("Handshake: %v", err)
			}
		})
	}
}
