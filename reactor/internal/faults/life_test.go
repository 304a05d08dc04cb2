package faults

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// near is the client's handler. A life is: handshake, bulk there and back, KeyUpdate
// with a request, more there and back, close.
type near struct {
	reactor.BaseHandler
	l *life
}

func (h near) OnOpen(c *reactor.Conn) {
	p := &h.l.near
	p.conn.Store(c)
	close(p.opened)
	if h.l.talk {
		c.Write(p.out.Next(bulk))
	}
}

func (h near) OnData(c *reactor.Conn, b []byte) {
	p := &h.l.near
	p.in.Check(b)
	switch {
	case !h.l.talk:
		if int64(p.in.N) == h.l.goal.Load() {
			h.l.caught <- struct{}{}
		}
	case p.in.N >= bulk+more:
		c.Close()
	case p.in.N >= bulk && !p.asked:
		p.asked = true
		c.KeyUpdate(true)
		c.Write(p.out.Next(more))
	}
}

func (h near) OnClose(_ *reactor.Conn, err error) { h.l.near.close(err) }

// plainly is the plain-text phase of a life: a stream to the server and back, and then a byte that both take for STARTTLS.
func (p *side) plainly(c *reactor.Conn, b []byte, echo bool) int {
	n := min(len(b), clear-p.clear.N)
	p.clear.Check(b[:n])
	starts := n < len(b)
	if starts {
		n++
	}
	if echo {
		c.Write(b[:n])
	}
	if starts {
		c.StartTLS(reactor.StartTLSConfig{})
	}
	return n
}

func (h near) OnConnect(c *reactor.Conn)             { c.Write(append(new(tlstest.Stream).Next(clear), 'S')) }
func (h near) OnPlain(c *reactor.Conn, b []byte) int { return h.l.near.plainly(c, b, false) }

func (h *far) OnConnect(*reactor.Conn)               {}
func (h *far) OnPlain(c *reactor.Conn, b []byte) int { return h.life(c).far.plainly(c, b, true) }

// far is the server's handler: it echoes, and asks for a KeyUpdate of its own in the midst of the bulk.
type far struct {
	reactor.BaseHandler
	w *world
}

func (h *far) life(c *reactor.Conn) *life {
	if c.Data == nil {
		v, _ := h.w.lives.Load(c.RemoteAddr().(*net.TCPAddr).Port)
		c.Data = v
		v.(*life).far.conn.Store(c)
	}
	return c.Data.(*life)
}

func (h *far) OnOpen(c *reactor.Conn) { close(h.life(c).far.opened) }

func (h *far) OnData(c *reactor.Conn, b []byte) {
	p := &h.life(c).far
	p.in.Check(b)
	p.out.N += len(b)
	if p.in.N > bulk/2 && !p.asked {
		p.asked = true
		c.KeyUpdate(true)
	}
	c.Write(b)
}

func (h *far) OnClose(c *reactor.Conn, err error) { h.life(c).far.close(err) }

// echo sends n bytes by the bystander and wants them back.
func (w *world) echo(t testing.TB, n int) {
	t.Helper()
	p := &w.bystander.near
	out := p.out.Next(n)
	w.bystander.goal.Store(int64(p.out.N))
	tlstest.Value(p.conn.Load().Write(out))(t)
	select {
	case <-w.bystander.caught:
	case <-p.ended:
		t.Fatalf("the bystander ended: %v", p.err)
	case <-w.bystander.far.ended:
		t.Fatalf("the bystander ended: %v", w.bystander.far.err)
	case <-time.After(tlstest.Hang):
		t.Fatal("the bystander waited in vain for its echo")
	}
	if p.in.Bad != nil {
		t.Fatalf("the bystander: %v", p.in.Bad)
	}
}

// mostTurns is how often both loops may turn in one life; one without a fault takes some eighty, with some more for
// small pieces. A loop that spins turns a hundred thousand times in the shortest wait there is.
const mostTurns = 3000

// run lives one life with a fault in it, and wants everything back that it took. prepare, if set, completes the
// fault when the client's descriptor is known.
func (w *world) run(t testing.TB, f Fault, prepare func(f *Fault, client int)) (*life, Report) {
	t.Helper()
	before := take(t)
	l, r := w.live(t, f, prepare)
	w.settle(t, before)
	return l, r
}

// live is run without the last. The bystander echoes before, during and after.
func (w *world) live(t testing.TB, f Fault, prepare func(f *Fault, client int)) (*life, Report) {
	t.Helper()
	w.echo(t, 500)
	turns, conns, taken := w.turns(), w.conns(), w.taken()
	l, fd := w.prepare(t, true)
	if prepare != nil {
		prepare(&f, fd)
	}
	Arm(f)
	w.attach(t, l, fd)
	if f.Kind != OpenSSLAlloc && f.Kind != CSSLAlloc { // those do not know whose they are
		w.echo(t, 500)
	}
	tlstest.Receive(t, l.near.ended, "the client's OnClose")
	waitFor(t, func() string {
		if w.taken() == taken && len(w.served) == 0 {
			return "the server has not taken it"
		}
		if n := w.conns(); n != conns {
			return fmt.Sprintf("%d connections, before %d", n, conns)
		}
		return ""
	})
	r := Disarm()
	w.echo(t, 500)
	l.once(t)
	if n := w.turns() - turns; n > mostTurns {
		t.Errorf("%d turns", n)
	}
	for name, p := range map[string]*side{"client": &l.near, "server": &l.far} {
		if err := cmp.Or(p.in.Bad, p.clear.Bad); err != nil {
			t.Errorf("the %s: %v", name, err)
		}
		// Whoever is told that its peer has ended its direction ends its own properly. In plain text a FIN is a proper end.
		told := f.Kind == Recv && f.Answer == End && r.Hit || w.server.Plain != nil && !p.shook()
		if p.closes.Load() == 1 && p.err == nil && p.in.N != bulk+more && !told {
			t.Errorf("the %s ended without an error after %d bytes", name, p.in.N)
		}
		if errors.Is(p.err, reactor.ErrHandshakeTimeout) || errors.Is(p.err, reactor.ErrCloseTimeout) {
			t.Errorf("the %s stalled: %v", name, p.err)
		}
	}
	return l, r
}

// survived fails unless both ends got everything.
func (l *life) survived(t testing.TB) {
	t.Helper()
	if l.near.err != nil || l.far.err != nil || l.near.in.N != bulk+more || l.far.in.N != bulk+more {
		t.Errorf("the client ended with %v after %d bytes, the server with %v after %d",
			l.near.err, l.near.in.N, l.far.err, l.far.in.N)
	}
}

// complete: both ends have got everything.
func (l *life) complete() bool { return l.near.in.N == bulk+more && l.far.in.N == bulk+more }

// ended fails unless p ended with want. Where nothing of the life was lost, it may also have ended without: what
// failed then was the last word, for which nobody waited.
func (l *life) ended(t testing.TB, p *side, want error) {
	t.Helper()
	if p.err == nil && l.complete() || errors.Is(p.err, want) {
		return
	}
	t.Errorf("ended with %v, want %v; the client got %d bytes and then %v, the server %d and then %v",
		p.err, want, l.near.in.N, l.near.err, l.far.in.N, l.far.err)
}
