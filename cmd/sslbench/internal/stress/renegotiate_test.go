package stress

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// renegotiator is the handler of a client that asks for another handshake after each byte that comes back, until it is cut off.
type renegotiator struct {
	reactor.BaseHandler
	bad  atomic.Pointer[error]
	ends chan struct{}
}

func (r *renegotiator) fail(err error) { r.bad.CompareAndSwap(nil, &err) }

// asked is the Data of its connections: how many handshakes it has asked for.
type asked struct{ n int }

func (r *renegotiator) OnOpen(c *reactor.Conn) { r.next(c, c.Data.(*asked)) }

func (r *renegotiator) next(c *reactor.Conn, a *asked) {
	c.Renegotiate()
	a.n++
	c.Write([]byte{byteAt(a.n)})
}

func (r *renegotiator) OnData(c *reactor.Conn, p []byte) {
	a := c.Data.(*asked)
	if len(p) != 1 || p[0] != byteAt(a.n) {
		r.fail(fmt.Errorf("%x after handshake %d", p, a.n))
	}
	r.next(c, a)
}

func (r *renegotiator) OnClose(c *reactor.Conn, err error) {
	// 16 are allowed; the answer to the next one is the end.
	if a := c.Data.(*asked); a.n != 17 {
		r.fail(fmt.Errorf("cut off at handshake %d: %v", a.n, err))
	}
	r.ends <- struct{}{}
}

// TestRenegotiations: a server that allows TLS 1.2 clients to renegotiate does so 16 times for each (cssl.Config.MaxRenegotiations), and
// ends the connection then. Honest clients notice nothing.
func TestRenegotiations(t *testing.T) {
	alone(t)
	s := server(t, settings{Loops: 2, Renegotiation: true})
	x, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), MaxVersion: cssl.TLS12, Renegotiation: true})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	loop, err := reactor.NewLoop(reactor.LoopConfig{Limits: reactor.Limits{HandshakeTimeout: hang, CloseTimeout: hang}})
	if err != nil {
		t.Fatal(err)
	}
	ran := tlstest.Later(loop.Run)
	defer func() {
		loop.Stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	addr := tlstest.Value(net.ResolveTCPAddr("tcp", s.addr))(t)
	r := &renegotiator{ends: make(chan struct{}, 1)}
	conns := scaled(300, 10)
	flood := func() {
		for i := range conns {
			tlstest.Must(t, loop.Connect(addr.AddrPort(), x, cssl.ConnConfig{ServerName: "localhost"}, r, &asked{}))
			select {
			case <-r.ends:
			case <-time.After(hang):
				t.Fatalf("connection %d does not end", i)
			}
		}
		if err := r.bad.Load(); err != nil {
			t.Error(*err)
		}
	}
	before, cpu := s.resident(), s.cpu()
	flood()
	s.allGone()
	cost := s.cpu() - cpu
	h := beside(t, s.addr, scaled(200, 10), scaled(1000.0, 100))
	flood()
	h.end(t)
	s.allGone()
	after := s.resident()
	if after > before+growth(before) {
		t.Errorf("resident before %s, after %s", mb(before), mb(after))
	}
	if got := s.report().Ended["limit"]; got != 2*conns {
		t.Errorf("%d connections ended at the limit, want %d: %v", got, 2*conns, s.report().Ended)
	}
	s.stop()
	record(t, "stress-renegotiations", fmt.Sprintf("16 taken, the next one ends the connection; %s of CPU time each (17 handshakes a connection), resident %s before, %s after",
		show(cost/time.Duration(17*conns)), mb(before), mb(after)))
}
