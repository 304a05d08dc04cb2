package faults

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if !Installed() {
		panic("OpenSSL does not allocate through the shim")
	}
	testmain.Run(m, func() error {
		if !full {
			return nil
		}
		return figures.Write("faults", fmt.Sprintf("%d faults, of which %d came", all.faults, all.hits))
	})
}

const (
	// bulk is what the client sends at first and the server sends back, more what follows the KeyUpdate.
	bulk, more = 100 << 10, 1000
	// clear is what is sent there and back before, in plain text, where a life begins so.
	clear = 20 << 10
	// buffer is the size of the sockets' buffers.
	buffer = 8 << 10
)

// contexts are those of the server and the client of all worlds for one version.
type contexts struct{ server, client *cssl.Context }

// newServerContext is a server's with a certificate. The caller closes it.
func newServerContext(t testing.TB, cfg cssl.Config) *cssl.Context {
	t.Helper()
	cfg.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}
	return tlstest.Value(cssl.NewServerContext(cfg))(t)
}

func newContexts(t testing.TB, cfg cssl.Config) contexts {
	t.Helper()
	x := contexts{newServerContext(t, cfg), tlstest.Value(cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem")}))(t)}
	t.Cleanup(x.server.Close)
	t.Cleanup(x.client.Close)
	return x
}

// world is a server and a loop for clients, with a bystander: a connection that no fault is meant for.
type world struct {
	server    *reactor.Server
	loop      *reactor.Loop
	addr      *net.TCPAddr
	bystander *life
	served    chan error // what Serve returned
	ran       chan error // what Run returned
	x         contexts
	lives     sync.Map // the server's side of each life, by the client's address
	base      baseline // before anything was made
	epolls    []int    // the poller of the server and that of the clients
	listener  int      // the descriptor that the server accepts on
}

// baseline is what must be again as it was.
type baseline struct {
	files, goroutines int
	ssl               int64
}

func take(t testing.TB) baseline {
	t.Helper()
	return baseline{len(tlstest.Value(os.ReadDir("/proc/self/fd"))(t)), runtime.NumGoroutine(), live.Conns()}
}

// start makes a world. If f hits while it is made, the error is what Serve or NewLoop said,
// and there is no world.
func start(t testing.TB, x contexts, change func(*reactor.Server)) (*world, error) {
	t.Helper()
	Pollers()
	w := &world{x: x, served: make(chan error, 1), ran: make(chan error, 1), base: take(t)}
	quiet, limits := slog.New(slog.DiscardHandler), reactor.Limits{HandshakeTimeout: tlstest.Hang / 4, CloseTimeout: tlstest.Hang / 4}
	w.server = &reactor.Server{Handler: &far{w: w}, Context: x.server, Loops: 1, Logger: quiet, Limits: limits}
	if change != nil {
		change(w.server)
	}
	ls := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	rc := tlstest.Value(ls.(*net.TCPListener).SyscallConn())(t)
	tlstest.Must(t, rc.Control(func(fd uintptr) { shrink(int(fd)) }))
	w.addr = ls.Addr().(*net.TCPAddr)
	go func() { w.served <- w.server.Serve(ls) }()
	for w.listener == 0 {
		if len(w.served) > 0 {
			w.server.Close()
			return nil, <-w.served
		}
		time.Sleep(50 * time.Microsecond)
		if w.epolls = append(w.epolls, Pollers()...); len(w.epolls) > 0 {
			w.listener = First(w.epolls[0])
		}
	}
	for ls.(*net.TCPListener).SetDeadline(time.Time{}) == nil { // until Serve has let go of it, or baselines would count it
		time.Sleep(50 * time.Microsecond)
	}
	loop, err := reactor.NewLoop(reactor.LoopConfig{Logger: quiet, Limits: limits})
	if err != nil {
		w.server.Close()
		<-w.served
		return nil, err
	}
	w.loop = loop
	w.epolls = append(w.epolls, Pollers()...)
	go func() { w.ran <- w.loop.Run() }()
	w.bystander = w.begin(t, false)
	select {
	case <-w.bystander.near.opened:
	case <-w.bystander.near.ended:
		err := w.bystander.near.err
		w.loop.Stop()
		<-w.ran
		w.server.Close()
		return nil, cmp.Or(<-w.served, err)
	case <-time.After(tlstest.Hang):
		t.Fatal("waited in vain for the bystander's handshake")
	}
	return w, nil
}

func mustStart(t testing.TB, x contexts, change func(*reactor.Server)) *world {
	t.Helper()
	return tlstest.Value(start(t, x, change))(t)
}

// stop ends the world, and wants everything back that it took. Serve and Run return what they are asked to.
func (w *world) stop(t testing.TB, served, ran error) {
	t.Helper()
	w.server.Close()
	w.loop.Stop()
	tlstest.IsError(t, "Serve", tlstest.Receive(t, w.served, "Serve to return"), served)
	tlstest.IsError(t, "Run", tlstest.Receive(t, w.ran, "Run to return"), ran)
	w.lives.Range(func(_, v any) bool { v.(*life).once(t); return true })
	w.settle(t, w.base)
}

// settle waits until everything is as it was.
func (w *world) settle(t testing.TB, b baseline) {
	t.Helper()
	waitFor(t, func() string {
		if now := take(t); now.files != b.files || now.ssl != b.ssl || now.goroutines > b.goroutines {
			return fmt.Sprintf("%+v, at the start %+v", now, b)
		}
		return ""
	})
}

// turns is how often both loops have turned.
func (w *world) turns() uint64 { return w.server.Stats().Turns + w.loop.Stats().Turns }

// taken is how many connections the listener has given.
func (w *world) taken() uint64 {
	st := w.server.Stats()
	n := st.Accepted
	for _, refused := range st.Refusals {
		n += refused
	}
	return n
}

// conns is how many connections there are, on both sides.
func (w *world) conns() int { return w.server.Stats().Conns + w.loop.Stats().Conns }

// begin connects a client. talk: it lives a whole life by itself; otherwise it echoes when it is told.
func (w *world) begin(t testing.TB, talk bool) *life {
	t.Helper()
	l, fd := w.prepare(t, talk)
	w.attach(t, l, fd)
	return l
}

// prepare makes the socket of a client, and connects it.
func (w *world) prepare(t testing.TB, talk bool) (*life, int) {
	t.Helper()
	fd := tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	shrink(fd)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// The address must be known before the server can see the connection.
	tlstest.Must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa := tlstest.Value(unix.Getsockname(fd))(t)
	l := &life{talk: talk, caught: make(chan struct{}, 1)}
	for _, p := range []*side{&l.near, &l.far} {
		p.opened, p.ended = make(chan struct{}), make(chan struct{})
	}
	w.lives.Store(sa.(*unix.SockaddrInet4).Port, l)
	return l, fd
}

func (w *world) attach(t testing.TB, l *life, fd int) {
	t.Helper()
	err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: w.addr.Port})
	if err != nil && err != unix.EINPROGRESS && err != unix.ECONNREFUSED { // which TLS is to find
		t.Fatal(err)
	}
	h, cfg := near{l: l}, cssl.ConnConfig{ServerName: "localhost"}
	if w.server.Plain != nil {
		err = w.loop.AttachPlain(fd, h, w.x.client, cfg, h, nil)
	} else {
		err = w.loop.Attach(fd, w.x.client, cfg, h, nil)
	}
	if err != nil {
		l.near.close(err) // out of memory; it hears nothing then
	}
}

// shrink makes the buffers of a socket small, so that a life has waits to write. Segments must be smaller than
// the window, or the kernel sends one a second.
func shrink(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
}

// waitFor waits until nothing is amiss any more.
func waitFor(t testing.TB, amiss func() string) {
	t.Helper()
	for end := time.Now().Add(tlstest.Hang); ; time.Sleep(50 * time.Microsecond) {
		s := amiss()
		if s == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", s)
		}
	}
}

// life is one connection, seen from both ends.
type life struct {
	near, far side
	talk      bool
	goal      atomic.Int64  // how much the client is to get back
	caught    chan struct{} // it has got it
}

// side is what one end heard. Where it is not atomic, it belongs to the loop until ended is closed.
type side struct {
	conn          atomic.Pointer[reactor.Conn]
	opened, ended chan struct{}
	closes        atomic.Int32
	err           error
	in, out       tlstest.Stream
	clear         tlstest.Stream // in plain text
	asked         bool           // for its KeyUpdate
}

// shook reports whether the handshake was done. The life has ended.
func (p *side) shook() bool {
	select {
	case <-p.opened:
		return true
	default:
		return false
	}
}

func (p *side) close(err error) {
	if p.closes.Add(1) == 1 {
		p.err = err
		close(p.ended)
	}
}

// once fails unless each end that began has heard of its end once.
func (l *life) once(t testing.TB) {
	t.Helper()
	tlstest.Equal(t, "the client's OnClose", l.near.closes.Load(), 1)
	if n := l.far.closes.Load(); n != 1 && !(n == 0 && l.far.conn.Load() == nil) {
		t.Errorf("the server heard OnClose %d times", n)
	}
}
