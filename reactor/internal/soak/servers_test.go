package soak

import (
	"bytes"
	"context"
	"crypto/tls"
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
		v.start(s.t, cert)
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
		tlstest.IsError(s.t, v.name+": Serve", <-v.served, reactor.ErrServerClosed)
	}
	s.clients.stop(s.t)
	if !s.t.Failed() {
		tlstest.Equal(s.t, "contexts that are left", live.Contexts(), 0)
	}
}

// context is a new one for v.
func (v *server) context(t *testing.T, c cssl.Certificate) *cssl.Context {
	cfg := cssl.Config{Certificates: []cssl.Certificate{c}, ReleaseBuffers: mrand.IntN(2) == 0, NoReadAhead: mrand.IntN(4) == 0,
		ALPN: []string{loops}, Tickets: mrand.IntN(3), SessionCache: mrand.IntN(2) * 20}
	if v.renegotiates {
		cfg.MaxVersion, cfg.Renegotiation = cssl.TLS12, true
	}
	return tlstest.Value(cssl.NewServerContext(cfg))(t)
}

// start makes the server that is now.
func (v *server) start(t *testing.T, cert cssl.Certificate) {
	v.x = v.context(t, cert)
	now := services.NewServer(lively{v.service, v.name, v.lives}, v.x)
	now.Addr, now.Loops, now.Logger = "127.0.0.1:0", 1, slog.New(slog.DiscardHandler)
	now.HandshakeTimeout, now.CloseTimeout = tlstest.Hang, tlstest.Hang
	ls := tlstest.Value(now.Listen())(t)
	v.now, v.addr = now, ls[0].Addr().(*net.TCPAddr).AddrPort()
	v.served = tlstest.Later(func() error { return now.Serve(ls...) })
}

// restart shuts the server down under load, and starts another. Who wants to talk to it waits.
func (v *server) restart(t *testing.T, cert cssl.Certificate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.x.Close()
	v.generation.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	defer cancel()
	tlstest.IsError(t, v.name+": Shutdown", v.now.Shutdown(ctx), nil)
	tlstest.IsError(t, v.name+": Serve", tlstest.Receive(t, v.served, "Serve"), reactor.ErrServerClosed)
	v.start(t, cert)
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
		s.reload(s.reloads.Load()%5 == 3)
	}
}

func (s *soak) reload(restart bool) {
	s.whole.Lock()
	defer s.whole.Unlock()
	cert, der := certificate(s.t, s.reloads.Add(1))
	for _, v := range s.servers {
		x := v.context(s.t, cert)
		v.now.SetContext(x)
		v.x.Close()
		v.x = x
	}
	v := s.servers[mrand.IntN(len(s.servers))]
	if !bytes.Equal(tlstest.Value(leaf(v))(s.t), der) {
		s.t.Errorf("%s: after a reload the old certificate is shown", v.name)
	}
	if restart {
		s.restarts.Add(1)
		v.restart(s.t, cert)
	}
}

// certificate is the one that follows a number of reloads, with its DER.
func certificate(t *testing.T, reloads int64) (cssl.Certificate, []byte) {
	name := [...]string{"ecdsa", "ed25519"}[reloads%2]
	c := cssl.Certificate{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}
	return c, tlstest.Value(tls.LoadX509KeyPair(c.ChainFile, c.KeyFile))(t).Certificate[0]
}

// loops is the protocol (ALPN) of those clients that a loop drives.
const loops = "loop"

// lively is a service that changes keys, renegotiates and pauses now and then. It asks a client of crypto/tls for
// nothing: one that has ended its own direction cannot answer a KeyUpdate, and then takes the next record for a
// forged one.
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
