// Proxy takes TLS connections and passes what is inside them on to a plain TCP server, one connection for each. From the
// root of the module, with something that listens on port 8080:
//
//	go run ./examples/proxy -backend localhost:8080
//	openssl s_client -quiet -connect localhost:8443
//
// The client's side is driven by a loop, which must not wait. The backend's side is a net.Conn with a goroutine for each
// direction, which may. What waits for what:
//
//	client ─► OnData ─► pending ─► up: backend.Write       up waits for pending to have something, and for the backend
//	                    pending is full: Pause                 to take it; then it has room again: Resume
//	client ◄─ the loop ◄─ conn.Write ◄─ down: backend.Read   down waits for the backend to say something, and
//	                                                           then until TLS has taken all of it: OnDrain
//
// So for one connection there are at most maxPending bytes and a record in pending, as much on its way to the
// backend, and chunk bytes on their way to the client, whoever is slow.
//
// An end is passed on as what it was. A client's close_notify becomes a FIN for the backend, behind all that was sent
// before, and the backend's FIN a close_notify; the other direction goes on. An end that is not clean (a reset, a
// FIN without close_notify, a connection that was idle or that Shutdown has closed) resets the other side, so that
// what was cut off does not look whole. A backend that cannot be reached resets the client.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
)

const (
	maxPending   = 64 << 10 // above it, nothing more is read from the client
	chunk        = 32 << 10 // that is read from the backend at a time
	dialTimeout  = 10 * time.Second
	drainTimeout = 10 * time.Second
)

// proxy is the Handler.
type proxy struct {
	reactor.BaseHandler
	backend string
	idle    time.Duration
	relays  sync.WaitGroup
	ctx     context.Context // of all relays
}

// relay is the Data of a connection.
type relay struct {
	client  *reactor.Conn
	backend *net.TCPConn    // once it is connected
	ctx     context.Context // done when both sides are to be cut off
	cut     context.CancelFunc
	more    chan struct{} // something was added to pending, or ended was set
	drained chan struct{} // what was written to the client has gone

	mu       sync.Mutex
	pending  []byte // from the client, not yet taken by up; at maxPending and above, the client is paused
	ended    bool   // the client's close_notify came
	answered bool   // the backend's FIN came
}

func (p *proxy) OnOpen(c *reactor.Conn) {
	r := &relay{client: c, more: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
	r.ctx, r.cut = context.WithCancel(p.ctx)
	c.Data = r
	p.relays.Go(func() { r.run(p.backend) })
}

func (p *proxy) OnData(c *reactor.Conn, b []byte) {
	r := c.Data.(*relay)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending = append(r.pending, b...); len(r.pending) >= maxPending {
		c.Pause()
	}
	tell(r.more)
}

// OnEOF: the client has ended its direction. The other one goes on.
func (p *proxy) OnEOF(c *reactor.Conn) {
	r := c.Data.(*relay)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	tell(r.more)
}

// OnDrain comes once for each Write of down, when TLS has taken all of it: session.Config.HighWater of one byte sees to
// that. With a higher one the loop may take what is written before it is reached, and then OnDrain does not come.
func (p *proxy) OnDrain(c *reactor.Conn) { tell(c.Data.(*relay).drained) }

func (p *proxy) OnClose(c *reactor.Conn, err error) {
	if err != nil {
		slog.Info("connection ended", "client", c.RemoteAddr().String(), "error", err)
	}
	r, ok := c.Data.(*relay)
	if !ok {
		return // the handshake failed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended && r.answered {
		// All has been said. What the backend has still to take has as long as an idle connection has.
		r.backend.SetWriteDeadline(time.Now().Add(p.idle))
	} else {
		r.cut()
	}
}

// tell leaves a message for whoever waits on ch, or will.
func tell(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run is a relay's life.
func (r *relay) run(address string) {
	defer r.cut()
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(r.ctx, "tcp", address)
	if err != nil {
		r.client.Abort(err)
		return
	}
	r.backend = conn.(*net.TCPConn)
	defer r.backend.Close()
	defer context.AfterFunc(r.ctx, func() { r.backend.SetDeadline(time.Unix(1, 0)) })() // ends what waits

	var downs sync.WaitGroup
	downs.Go(r.down)
	err = r.up()
	downs.Wait()
	if err = cmp.Or(err, r.ctx.Err()); err != nil {
		r.backend.SetLinger(0) // close with a reset
		r.client.Close()       // if it is not over: the backend took no more, but the client gets what came before
	}
}

// up carries what the client sends to the backend.
func (r *relay) up() error {
	for {
		r.mu.Lock()
		p, ended := r.pending, r.ended
		if r.pending = nil; len(p) >= maxPending {
			r.client.Resume()
		}
		r.mu.Unlock()
		if len(p) > 0 {
			if _, err := r.backend.Write(p); err != nil {
				return err
			}
			continue
		}
		if ended {
			return r.backend.CloseWrite()
		}
		select {
		case <-r.more:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// down carries what the backend sends to the client.
func (r *relay) down() {
	buf := make([]byte, chunk)
	for {
		n, err := r.backend.Read(buf)
		if n > 0 {
			if _, err := r.client.Write(buf[:n]); err != nil {
				return // it is being closed: OnClose cuts the rest
			}
			select {
			case <-r.drained:
			case <-r.ctx.Done():
				return
			}
		}
		if err == io.EOF {
			r.mu.Lock()
			r.answered = true
			r.mu.Unlock()
			r.client.CloseWrite()
			return
		}
		if err != nil {
			r.client.Abort(err)
			return
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("proxy", flag.ExitOnError)
	listen := flags.String("listen", "localhost:8443", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	backend := flags.String("backend", "localhost:8080", "`host:port` to pass connections on to")
	idle := flags.Duration("idle", 5*time.Minute, "close a connection over which nothing has come or gone for this long")
	loops := flags.Int("loops", runtime.GOMAXPROCS(0), "number of loops")
	flags.Parse(args)

	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}})
	if err != nil {
		return err
	}
	defer tls.Close()
	// A loop that rests may keep its P for a while, which the goroutines of the relays want to have.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), *loops+1))
	relays, cut := context.WithCancel(context.Background())
	defer cut()
	p := &proxy{backend: *backend, idle: *idle, ctx: relays}
	server := &reactor.Server{
		Addr: *listen, Handler: p, Context: tls, Loops: *loops, Limits: reactor.Limits{IdleTimeout: *idle, CloseTimeout: *idle},
		Session: session.Config{HighWater: 1, HalfClose: true},
	}
	listeners, err := server.Listen()
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", listeners[0].Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners...) }()
	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if server.Shutdown(drain) != nil {
		server.Close()
	}
	context.AfterFunc(drain, cut) // no client is left, but perhaps a backend that has not taken all
	p.relays.Wait()
	return failed
}
