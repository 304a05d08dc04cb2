package reactor

import (
	"crypto/tls"
	"errors"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestDecisionsLater: while the application has not decided about one client, the loop serves others; then that one goes on.
func TestDecisionsLater(t *testing.T) {
	mutual := func(c *cssl.Config) {
		c.CAFile, c.Verify = testcerts.Path("root.pem"), cssl.VerifyRequire
		c.DecisionTimeout = tlstest.Hang
	}
	type held struct {
		owner  any
		accept func()
	}
	for name, ask := range map[string]func(c *cssl.Config, ask func(held)){
		"client hello": func(c *cssl.Config, ask func(held)) {
			c.ClientHello = func(h *cssl.ClientHello) { ask(held{h.Owner, func() { h.Accept(nil) }}) }
		},
		"verification": func(c *cssl.Config, ask func(held)) {
			c.VerifyPeer = func(v *cssl.PeerVerification) { ask(held{v.Owner, v.Accept}) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan held, 2)
			x := serverContext(t, "ecdsa", func(c *cssl.Config) { mutual(c); ask(c, func(h held) { asked <- h }) })
			addr := start(t, &Server{Context: x, Handler: echo(), Limits: Limits{HandshakeTimeout: tlstest.Hang}})
			cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("client.pem"), testcerts.Path("client.key")))(t)
			dial := func() (*tls.Conn, <-chan error) {
				cfg := goConfig(t)
				cfg.Certificates = []tls.Certificate{cert}
				c, done := tls.Client(rawDial(t, addr), cfg), make(chan error, 1)
				go func() {
					_, err := c.Write([]byte("x"))
					if err == nil {
						_, err = c.Read(make([]byte, 1))
					}
					done <- err
				}()
				return c, done
			}
			_, first := dial()
			one := tlstest.Receive(t, asked, "the first client's question")
			if c, ok := one.owner.(*Conn); !ok || c.RemoteAddr() == nil {
				t.Errorf("owner %T", one.owner)
			}
			_, second := dial()
			tlstest.Receive(t, asked, "the second client's question").accept()
			tlstest.Must(t, tlstest.Receive(t, second, "the second client"))
			select {
			case err := <-first:
				t.Fatal("the first client got an answer: ", err)
			default:
			}
			one.accept()
			tlstest.Must(t, tlstest.Receive(t, first, "the first client"))
		})
	}
}

// TestDecisionNever: the handshake's deadline holds for a client about which nobody decides, and a decision that comes after it is nobody's.
func TestDecisionNever(t *testing.T) {
	held := make(chan *cssl.ClientHello, 1)
	x := serverContext(t, "ecdsa", func(c *cssl.Config) {
		c.DecisionTimeout = tlstest.Hang
		c.ClientHello = func(h *cssl.ClientHello) { held <- h }
	})
	closed := make(chan error, 1)
	s := &Server{Context: x, Limits: Limits{HandshakeTimeout: tlstest.Hang}, Handler: &hooks{closed: func(_ *Conn, err error) { closed <- err }}}
	addr := start(t, s)
	c := tls.Client(rawDial(t, addr), goConfig(t))
	done := tlstest.Later(c.Handshake)
	h := tlstest.Receive(t, held, "the question")
	pass(s.loops[0], 2*tlstest.Hang)
	if err := tlstest.Receive(t, closed, "the end"); err != ErrHandshakeTimeout {
		t.Errorf("OnClose got %v", err)
	}
	h.Accept(nil)
	if tlstest.Receive(t, done, "the client") == nil {
		t.Error("the client's handshake succeeded")
	}
}

// TestOffloadedLoop: many handshakes off the loop, of clients and of the server, with one that is refused among them.
func TestOffloadedLoop(t *testing.T) {
	mine := errors.New("not this one")
	n := 0
	x := serverContext(t, "big", func(c *cssl.Config) {
		c.Offload = true
		c.ClientHello = func(h *cssl.ClientHello) {
			if n++; n == 10 {
				h.Refuse(mine)
				return
			}
			go h.Accept(nil)
		}
	})
	ended := make(chan error, 100)
	addr := start(t, &Server{Context: x, Limits: Limits{HandshakeTimeout: tlstest.Hang},
		Handler: &hooks{data: func(c *Conn, p []byte) { c.Write(p) }, closed: func(_ *Conn, err error) { ended <- err }}})
	cx := clientContext(t, func(c *cssl.Config) { c.Offload = true })
	loop := startLoop(t, LoopConfig{Limits: Limits{HandshakeTimeout: tlstest.Hang}})
	const clients = 20
	answers := make(chan error, clients)
	for range clients {
		dial(t, loop, cx, addr, &hooks{
			open:   func(c *Conn) { c.Write([]byte("x")) },
			data:   func(c *Conn, _ []byte) { c.Close() },
			closed: func(_ *Conn, err error) { answers <- err },
		})
	}
	refused := 0
	for range clients {
		if err := tlstest.Receive(t, answers, "a client"); err != nil {
			if refused++; !errors.Is(err, tlsio.AlertHandshakeFailure) {
				t.Error(err)
			}
		}
	}
	if refused != 1 {
		t.Errorf("%d were refused", refused)
	}
	refused = 0
	for range clients {
		if err := tlstest.Receive(t, ended, "the server's end"); errors.Is(err, mine) {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d ended with the application's error", refused)
	}
}
