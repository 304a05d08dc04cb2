package reactor

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// hooks is a Handler made of functions; nil ones do nothing.
type hooks struct {
	open        func(*Conn)
	data        func(*Conn, []byte)
	drain       func(*Conn)
	eof         func(*Conn)
	early       func(*Conn, []byte)
	rekey       func(*Conn, error)
	certificate func(*Conn, error)
	closed      func(*Conn, error)
}

func (h *hooks) OnOpen(c *Conn)                   { call(h.open, c) }
func (h *hooks) OnDrain(c *Conn)                  { call(h.drain, c) }
func (h *hooks) OnEOF(c *Conn)                    { call(h.eof, c) }
func (h *hooks) OnData(c *Conn, p []byte)         { callWith(h.data, c, p) }
func (h *hooks) OnEarlyData(c *Conn, p []byte)    { callWith(h.early, c, p) }
func (h *hooks) OnRekeyError(c *Conn, err error)  { callWith(h.rekey, c, err) }
func (h *hooks) OnCertificate(c *Conn, err error) { callWith(h.certificate, c, err) }
func (h *hooks) OnClose(c *Conn, err error)       { callWith(h.closed, c, err) }

func call(f func(*Conn), c *Conn) {
	if f != nil {
		f(c)
	}
}

func callWith[T any](f func(*Conn, T), c *Conn, v T) {
	if f != nil {
		f(c, v)
	}
}

// ends returns h and where the errors of its OnClose come.
func ends(h *hooks) (*hooks, chan error) {
	ended := make(chan error, 100)
	h.closed = func(_ *Conn, err error) { ended <- err }
	return h, ended
}

// opens returns h and where the connections of its OnOpen come.
func opens(h *hooks) (*hooks, chan *Conn) {
	opened := make(chan *Conn, 100)
	h.open = func(c *Conn) { opened <- c }
	return h, opened
}

// onLoopOf returns what f returns on the goroutine of l.
func onLoopOf[T any](t testing.TB, l *Loop, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	if !l.Do(func() { done <- f() }) {
		t.Fatal("the loop has ended")
	}
	return tlstest.Receive(t, done, "the loop's turn")
}

// inLoop calls f on the goroutine of l.
func inLoop(t testing.TB, l *Loop, f func()) {
	t.Helper()
	onLoopOf(t, l, func() any { f(); return nil })
}

// turn waits for a turn of l.
func turn(t testing.TB, l *Loop) { t.Helper(); inLoop(t, l, func() {}) }

// hold keeps l from its next turn until release is called.
func hold(l *Loop) (release func()) {
	held, let := make(chan struct{}), make(chan struct{})
	l.Do(func() { close(held); <-let })
	<-held
	return func() { close(let) }
}

// socketPair is a pair of connected sockets, which are the caller's to close.
func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	return fds[0], fds[1]
}

func echo() *hooks { return &hooks{data: func(c *Conn, p []byte) { c.Write(p) }} }

func serverContext(t testing.TB, name string, change func(*cssl.Config)) *cssl.Context {
	t.Helper()
	cfg := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}}}
	if change != nil {
		change(&cfg)
	}
	x := tlstest.Value(cssl.NewServerContext(cfg))(t)
	t.Cleanup(x.Close)
	return x
}

func clientContext(t testing.TB, change func(*cssl.Config)) *cssl.Context {
	t.Helper()
	cfg := cssl.Config{CAFile: testcerts.Path("root.pem")}
	if change != nil {
		change(&cfg)
	}
	x := tlstest.Value(cssl.NewClientContext(cfg))(t)
	t.Cleanup(x.Close)
	return x
}

// complete fills in what a test did not set: one loop, a port of its own,
// silence, and timeouts that no busy machine reaches.
func complete(t testing.TB, s *Server) {
	t.Helper()
	if s.Context == nil {
		s.Context = serverContext(t, "ecdsa", nil)
	}
	s.Addr = cmp.Or(s.Addr, "127.0.0.1:0")
	s.Loops = max(s.Loops, 1)
	s.Logger = cmp.Or(s.Logger, slog.New(slog.DiscardHandler))
	s.HandshakeTimeout = cmp.Or(s.HandshakeTimeout, tlstest.Hang)
	s.CloseTimeout = cmp.Or(s.CloseTimeout, tlstest.Hang)
}

// start runs s until the end of the test and answers where it listens.
func start(t testing.TB, s *Server) net.Addr {
	t.Helper()
	complete(t, s)
	ls := tlstest.Value(s.Listen())(t)
	serveOn(t, s, ls...)
	return ls[0].Addr()
}

// serveOn runs s over ls until the end of the test.
func serveOn(t testing.TB, s *Server, ls ...net.Listener) {
	t.Helper()
	complete(t, s)
	done := tlstest.Later(func() error { return s.Serve(ls...) })
	// Until each loop has its listener, with the descriptors that belong to it.
	tlstest.Until(t, "the server to start", func() bool {
		s.mu.Lock()
		closed, loops := s.closed, s.loops
		s.mu.Unlock()
		return closed || len(loops) > 0 && !slices.ContainsFunc(loops, func(l *Loop) bool {
			listens := make(chan bool, 1)
			return !l.Do(func() {
				listens <- slices.ContainsFunc(l.slots, func(s slot) bool { return s.listener != nil && s.listener.spare >= 0 })
			}) || !<-listens
		})
	})
	t.Cleanup(func() {
		s.Close()
		tlstest.Equal(t, "Serve to return", tlstest.Receive(t, done, "Serve to return"), ErrServerClosed)
	})
}

// startLoop runs a loop for clients until the end of the test.
func startLoop(t testing.TB, cfg LoopConfig) *Loop {
	t.Helper()
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	cfg.HandshakeTimeout = cmp.Or(cfg.HandshakeTimeout, tlstest.Hang)
	cfg.CloseTimeout = cmp.Or(cfg.CloseTimeout, tlstest.Hang)
	l := tlstest.Value(NewLoop(cfg))(t)
	done := tlstest.Later(l.Run)
	t.Cleanup(func() { l.Stop(); tlstest.Must(t, tlstest.Receive(t, done, "Run to return")) })
	return l
}

// connect is a non-blocking socket that connects to addr over TCP; buffer is its SO_SNDBUF and SO_RCVBUF, or 0.
func connect(t testing.TB, addr net.Addr, buffer int) int {
	t.Helper()
	family, sa, err := sockaddr(addr.(*net.TCPAddr).AddrPort())
	tlstest.Must(t, err)
	fd := tlstest.Value(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	if buffer > 0 {
		shrink(fd, buffer)
	}
	if err := unix.Connect(fd, sa); err != unix.EINPROGRESS {
		tlstest.Must(t, err)
	}
	return fd
}

// shrink sets both buffers of a socket; the kernel raises them to its minimum. Segments
// must be smaller than the window, or the kernel sends one a second.
func shrink(fd, size int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}

// dial attaches a client to l.
func dial(t testing.TB, l *Loop, x *cssl.Context, addr net.Addr, h Handler) {
	t.Helper()
	tlstest.Must(t, l.Attach(connect(t, addr, 0), x, cssl.ConnConfig{ServerName: "localhost"}, h, nil))
}

// dialOpen attaches a client and answers its Conn once the handshake is done. h.open is taken.
func dialOpen(t testing.TB, l *Loop, x *cssl.Context, addr net.Addr, h *hooks) *Conn {
	t.Helper()
	h, opened := opens(h)
	dial(t, l, x, addr, h)
	return tlstest.Receive(t, opened, "a client's handshake")
}

func goConfig(t testing.TB) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// goDial is a client of Go's own TLS, with a deadline as a guard.
func goDial(t testing.TB, addr net.Addr) *tls.Conn { t.Helper(); return goOver(t, rawDial(t, addr)) }

// goOver is a client of Go's own TLS over raw.
func goOver(t testing.TB, raw net.Conn) *tls.Conn {
	t.Helper()
	c := tls.Client(raw, goConfig(t))
	tlstest.Must(t, c.Handshake())
	return c
}

// rawDial is a connection without TLS.
func rawDial(t testing.TB, addr net.Addr) net.Conn {
	t.Helper()
	c := tlstest.Value(net.DialTimeout(addr.Network(), addr.String(), tlstest.Hang))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c
}

// roundTrip writes msg and wants it back.
func roundTrip(t testing.TB, c io.ReadWriter, msg string) {
	t.Helper()
	tlstest.Must(t, tryRoundTrip(c, msg))
}

// tryRoundTrip is roundTrip for goroutines that are not the test's own.
func tryRoundTrip(c io.ReadWriter, msg string) error {
	if _, err := io.WriteString(c, msg); err != nil {
		return err
	}
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != msg {
		return fmt.Errorf("echo is %.40q, want %.40q", got, msg)
	}
	return nil
}

// pass makes d pass for the loop. It returns after a turn that has looked at
// the deadlines.
func pass(t testing.TB, l *Loop, d time.Duration) {
	t.Helper()
	l.Do(func() { l.start = l.start.Add(-d) })
	// The first may come in the same turn as the shift. The third comes after
	// the end of a turn that began after it.
	for range 3 {
		turn(t, l)
	}
}

// unread returns how many bytes lie in the sockets of the connections of l,
// and in how many of them. The loop stands still, or is on its own goroutine.
func unread(l *Loop) (bytes, sockets int) {
	for _, s := range l.slots {
		if s.conn != nil {
			if n, err := unix.IoctlGetInt(s.conn.fd, unix.TIOCINQ); n > 0 && err == nil {
				bytes += n
				sockets++
			}
		}
	}
	return bytes, sockets
}

// refused reports whether nobody listens at addr any more.
func refused(addr net.Addr) bool {
	c, err := net.DialTimeout(addr.Network(), addr.String(), tlstest.Hang)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// atMost fails the test, which goes on, if got is more than most.
func atMost[T cmp.Ordered](t testing.TB, what string, got, most T) {
	t.Helper()
	if got > most {
		t.Errorf("%s: %v, want at most %v", what, got, most)
	}
}

// wantText wants an error that says text.
func wantText(t testing.TB, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q", what, err, text)
	}
}

// wantAll wants all of a stream of size bytes to have come.
func wantAll(t testing.TB, in *tlstest.Stream, size int) {
	t.Helper()
	if in.N != size || in.Bad != nil {
		t.Errorf("%d of %d bytes, %v", in.N, size, in.Bad)
	}
}

// wantEnd fails unless the peer ends c, without a word.
func wantEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the peer read %d, %v, want the end", n, err)
	}
}

// spins reports whether a loop that has nothing to do comes back all the same.
func spins(t testing.TB, l *Loop) bool {
	t.Helper()
	return onLoopOf(t, l, func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.poller.FD()), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil || len(l.ready) > 0
	})
}

// assertQuiet fails if the loops do not come to rest: a loop that spins, or that
// comes back again and again for nothing, never goes without a turn for as long as this looks.
func assertQuiet(t testing.TB, stats func() Stats) {
	t.Helper()
	const look = 120 * time.Millisecond
	for end := time.Now().Add(tlstest.Hang); ; {
		before := stats().Turns
		time.Sleep(look)
		turns := stats().Turns - before
		if turns == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the loop never rests: %d turns in the last %v", turns, look)
		}
	}
}

// checkAll reads r to its end and checks it against the stream.
func checkAll(r io.Reader, want int) error {
	var in tlstest.Stream
	got, err := io.ReadAll(r)
	if in.Check(got); err != nil {
		return fmt.Errorf("after %d bytes: %w", in.N, err)
	}
	if in.N != want && in.Bad == nil {
		return fmt.Errorf("%d bytes, want %d", in.N, want)
	}
	return in.Bad
}

var (
	csslNone      = cssl.ConnConfig{}
	csslLocalhost = cssl.ConnConfig{ServerName: "localhost"}
)

// unixDup is a second descriptor for fd.
func unixDup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// tryDial is goDial for goroutines that are not the test's own.
func tryDial(addr net.Addr, cfg *tls.Config) (*tls.Conn, error) {
	raw, err := net.DialTimeout(addr.Network(), addr.String(), tlstest.Hang)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(tlstest.Hang))
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// tryEcho is a connection with one echo.
func tryEcho(addr net.Addr, cfg *tls.Config) error {
	c, err := tryDial(addr, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	return tryRoundTrip(c, "hello")
}

// dialLater returns where the error comes of a connection with one echo.
func dialLater(t testing.TB, addr net.Addr) <-chan error {
	cfg := goConfig(t)
	return tlstest.Later(func() error { return tryEcho(addr, cfg) })
}

// dialOn lets n goroutines connect, one echo for each connection, until end is
// called, which returns when they have ended. done gets the error of each.
func dialOn(t testing.TB, addr net.Addr, n int, done func(error)) (end func()) {
	cfg := goConfig(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for !stop.Load() {
				done(tryEcho(addr, cfg))
			}
		})
	}
	return func() { stop.Store(true); wg.Wait() }
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// smallListener is a TCP listener whose connections inherit small buffers.
func smallListener(t testing.TB, size int) net.Listener {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	rc := tlstest.Value(l.(*net.TCPListener).SyscallConn())(t)
	tlstest.Must(t, rc.Control(func(fd uintptr) { shrink(int(fd), size) }))
	return l
}
