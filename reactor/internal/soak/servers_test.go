package soak

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// server is a service, in a server that is now and then replaced by another one.
type server struct {
	name    string
	service reactor.Handler
	// renegotiates: TLS 1.2, with renegotiation.
	renegotiates bool
	lives        *lives
	// generation is how many times it was replaced; it grows before the old one shuts down.
	generation atomic.Int64

	mu     sync.Mutex // of addr
	now    *reactor.Server
	x      *cssl.Context // its present one
	addr   netip.AddrPort
	served <-chan error
}

// where is the address to connect to, with the generation that listens there.
func (v *server) where() (netip.AddrPort, int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.addr, v.generation.Load()
}

// begin makes the servers and the loop of the clients.
func (s *soak) begin() {
	for _, x := range services.All {
		s.servers = append(s.servers, &server{name: x.Name, service: x.Service, lives: s.lives})
	}
	s.servers = append(s.servers, &server{name: "echo of TLS 1.2", service: services.Echo{}, renegotiates: true, lives: s.lives})
	cert, _ := certificate(s.t, 0)
	for _, v := range s.servers {
		tlstest.Must(s.t, v.start(cert))
	}
	s.clients = newClients(s.t)
	// A loop that rests keeps its P for a while: one for each, and two for the clients.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), len(s.servers)+3))
}

// end stops them.
func (s *soak) end() {
	for _, v := range s.servers {
		v.generation.Add(1)
		v.now.Close()
		v.x.Close()
		if err := <-v.served; err != reactor.ErrServerClosed {
			s.t.Errorf("%s: Serve returned %v", v.name, err)
		}
	}
	s.clients.stop(s.t)
	if n := live.Contexts(); n != 0 && !s.t.Failed() {
		s.t.Errorf("%d contexts are left", n)
	}
}

// context is a new one for v.
func (v *server) context(c cssl.Certificate) (*cssl.Context, error) {
	cfg := cssl.Config{Certificates: []cssl.Certificate{c}, ReleaseBuffers: mrand.IntN(2) == 0, NoReadAhead: mrand.IntN(4) == 0,
		ALPN: []string{loops}, Tickets: mrand.IntN(3), SessionCache: mrand.IntN(2) * 20}
	if v.renegotiates {
		cfg.MaxVersion, cfg.Renegotiation = cssl.TLS12, true
	}
	return cssl.NewServerContext(cfg)
}

// start makes the server that is now.
func (v *server) start(cert cssl.Certificate) error {
	x, err := v.context(cert)
	if err != nil {
		return err
	}
	now := services.NewServer(lively{v.service, v.name, v.lives}, x)
	now.Addr, now.Loops, now.Logger = "127.0.0.1:0", 1, slog.New(slog.DiscardHandler)
	now.HandshakeTimeout, now.CloseTimeout = tlstest.Hang, tlstest.Hang
	ls, err := now.Listen()
	if err != nil {
		return err
	}
	served := tlstest.Later(func() error { return now.Serve(ls...) })
	v.now, v.x, v.addr, v.served = now, x, ls[0].Addr().(*net.TCPAddr).AddrPort(), served
	return nil
}

// restart shuts the server down under load, and starts another. Who wants to talk to it waits.
func (v *server) restart(cert cssl.Certificate) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, served := v.now, v.served
	defer v.x.Close()
	v.generation.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	defer cancel()
	if err := old.Shutdown(ctx); err != nil {
		return fmt.Errorf("%s: Shutdown: %w", v.name, err)
	}
	if err := <-served; err != reactor.ErrServerClosed {
		return fmt.Errorf("%s: Serve returned %w", v.name, err)
	}
	return v.start(cert)
}

// operate reloads the certificates of all servers now and then, and restarts one of them sometimes. That the new
// certificate is the one that is shown is seen by the next client.
func (s *soak) operate(stop <-chan struct{}, pace time.Duration) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(pace):
		}
		if err := s.reload(s.reloads.Load()%5 == 3); err != nil {
			s.t.Error(err)
			return
		}
	}
}

func (s *soak) reload(restart bool) error {
	s.whole.Lock()
	defer s.whole.Unlock()
	cert, der := certificate(s.t, s.reloads.Add(1))
	for _, v := range s.servers {
		x, err := v.context(cert)
		if err != nil {
			return fmt.Errorf("%s: reload: %w", v.name, err)
		}
		v.now.SetContext(x)
		v.x.Close()
		v.x = x
	}
	v := s.servers[mrand.IntN(len(s.servers))]
	shown, err := leaf(v)
	if err == nil && !bytes.Equal(shown, der) {
		err = errors.New("the old certificate is shown")
	}
	if err != nil {
		return fmt.Errorf("%s: after a reload: %w", v.name, err)
	}
	if !restart {
		return nil
	}
	s.restarts.Add(1)
	return v.restart(cert)
}

// certificate is the one that follows a number of reloads, with its DER.
func certificate(t *testing.T, reloads int64) (cssl.Certificate, []byte) {
	name := [...]string{"ecdsa", "ed25519"}[reloads%2]
	c := cssl.Certificate{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}
	return c, tlstest.Value(tls.LoadX509KeyPair(c.ChainFile, c.KeyFile))(t).Certificate[0]
}

// loops is the protocol (ALPN) of those clients that a loop drives.
const loops = "loop"

// lively is a service that changes keys, renegotiates and pauses now and then. It asks a client of crypto/tls for nothing: one
// that has ended its own direction cannot answer a KeyUpdate, and then takes the next record for a forged one.
type lively struct {
	reactor.Handler
	name  string
	lives *lives
}

func (h lively) OnOpen(c *reactor.Conn) { h.lives.hears(c, h.name, "OnOpen", nil); h.Handler.OnOpen(c) }

func (h lively) OnDrain(c *reactor.Conn) {
	h.lives.hears(c, h.name, "OnDrain", nil)
	h.Handler.OnDrain(c)
}

func (h lively) OnEOF(c *reactor.Conn) { h.lives.hears(c, h.name, "OnEOF", nil); h.Handler.OnEOF(c) }

func (h lively) OnClose(c *reactor.Conn, err error) {
	h.lives.hears(c, h.name, "OnClose", err)
	h.Handler.OnClose(c, err)
}

func (h lively) OnData(c *reactor.Conn, p []byte) {
	h.lives.hears(c, h.name, "OnData", nil)
	h.Handler.OnData(c, p)
	switch mrand.IntN(60) {
	case 0:
		c.KeyUpdate(c.State().ALPN == loops)
	case 1:
		if c.State().ALPN == loops {
			c.Renegotiate()
		}
	case 2:
		c.Pause()
		time.AfterFunc(time.Millisecond, c.Resume)
	}
}
