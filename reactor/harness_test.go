package reactor

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
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

func (h *hooks) OnOpen(c *Conn) {
	if h.open != nil {
		h.open(c)
	}
}

func (h *hooks) OnData(c *Conn, p []byte) {
	if h.data != nil {
		h.data(c, p)
	}
}

func (h *hooks) OnDrain(c *Conn) {
	if h.drain != nil {
		h.drain(c)
	}
}

func (h *hooks) OnClose(c *Conn, err error) {
	if h.closed != nil {
		h.closed(c, err)
	}
}

func (h *hooks) OnEOF(c *Conn) {
	if h.eof != nil {
		h.eof(c)
	}
}

func (h *hooks) OnEarlyData(c *Conn, p []byte) {
	if h.early != nil {
		h.early(c, p)
	}
}

func (h *hooks) OnRekeyError(c *Conn, err error) {
	if h.rekey != nil {
		h.rekey(c, err)
	}
}

func (h *hooks) OnCertificate(c *Conn, err error) {
	if h.certificate != nil {
		h.certificate(c, err)
	}
}

// socketPair is a pair of connected sockets. b is the caller's to close.
func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() { unix.Close(fds[0]) })
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
	if s.Addr == "" {
		s.Addr = "127.0.0.1:0"
	}
	if s.Loops == 0 {
		s.Loops = 1
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.HandshakeTimeout == 0 {
		s.HandshakeTimeout = tlstest.Hang
	}
	if s.CloseTimeout == 0 {
		s.CloseTimeout = tlstest.Hang
	}
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
		return closed || len(loops) > 0 && !slices.ContainsFunc(loops, func(l *Loop) bool { return !listens(l) })
	})
	t.Cleanup(func() {
		s.Close()
		if err := tlstest.Receive(t, done, "Serve to return"); err != ErrServerClosed {
			t.Errorf("Serve returned %v, want ErrServerClosed", err)
		}
	})
}

// listens reports whether a loop has a listener.
func listens(l *Loop) bool {
	answer := make(chan bool, 1)
	return l.Do(func() {
		answer <- slices.ContainsFunc(l.slots, func(s slot) bool { return s.listener != nil && s.listener.spare >= 0 })
	}) && <-answer
}

// startLoop runs a loop for clients until the end of the test.
func startLoop(t testing.TB, cfg LoopConfig) *Loop {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.HandshakeTimeout == 0 {
		cfg.HandshakeTimeout = tlstest.Hang
	}
	if cfg.CloseTimeout == 0 {
		cfg.CloseTimeout = tlstest.Hang
	}
	l := tlstest.Value(NewLoop(cfg))(t)
	done := tlstest.Later(l.Run)
	t.Cleanup(func() { l.Stop(); tlstest.Must(t, tlstest.Receive(t, done, "Run to return")) })
	return l
}

// connect is a non-blocking socket that connects to addr; buffer is its SO_SNDBUF and SO_RCVBUF, or 0.
func connect(t testing.TB, addr net.Addr, buffer int) int {
	t.Helper()
	fd := tlstest.Value(tryConnect(addr, buffer))(t)
	return fd
}

func tryConnect(addr net.Addr, buffer int) (int, error) {
	var family int
	var sa unix.Sockaddr
	switch a := addr.(type) {
	case *net.UnixAddr:
		family, sa = unix.AF_UNIX, &unix.SockaddrUnix{Name: a.Name}
	case *net.TCPAddr:
		if ip := a.IP.To4(); ip != nil {
			family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip)}
		} else {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP.To16())}
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if buffer > 0 {
		shrink(fd, buffer)
	}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
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
	opened := make(chan *Conn, 1)
	h.open = func(c *Conn) { opened <- c }
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
	tlstest.Value(io.WriteString(c, msg))(t)
	got := make([]byte, len(msg))
	tlstest.Value(io.ReadFull(c, got))(t)
	if string(got) != msg {
		t.Fatalf("echo is %.40q, want %.40q", got, msg)
	}
}

// pass makes d pass for the loop. It returns after a turn that has looked at
// the deadlines.
func pass(l *Loop, d time.Duration) {
	l.Do(func() { l.start = l.start.Add(-d) })
	// The first may come in the same turn as the shift. The third comes after
	// the end of a turn that began after it.
	for range 3 {
		came := make(chan struct{})
		l.Do(func() { close(came) })
		<-came
	}
}

// spins reports whether a loop that has nothing to do comes back all the same.
func spins(l *Loop) bool {
	answer := make(chan bool)
	l.Do(func() {
		fds := []unix.PollFd{{Fd: int32(l.poller.FD()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		answer <- n > 0 || err != nil || len(l.ready) > 0
	})
	return <-answer
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

// byteAt is the byte at a place of an endless stream in which no stretch looks like another.
func byteAt(i int) byte { return byte(uint32(i) * 2654435761 >> 23) }

// stream makes bytes of the endless stream, or checks them.
type stream struct {
	n   int
	bad error
}

// next is the next piece of the stream, of n bytes.
func (s *stream) next(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byteAt(s.n + i)
	}
	s.n += n
	return p
}

// check says whether p is what comes next.
func (s *stream) check(p []byte) {
	for i, b := range p {
		if b != byteAt(s.n+i) && s.bad == nil {
			s.bad = fmt.Errorf("byte %d is %#x, want %#x", s.n+i, b, byteAt(s.n+i))
		}
	}
	s.n += len(p)
}

// checkAll reads r to its end and checks it against the stream.
func checkAll(r io.Reader, want int) error {
	var s stream
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		s.check(buf[:n])
		if err == io.EOF {
			if s.n != want && s.bad == nil {
				return fmt.Errorf("%d bytes, want %d", s.n, want)
			}
			return s.bad
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", s.n, err)
		}
	}
}

// logBuffer takes what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// openFiles is the number of file descriptors of this process.
func openFiles(t testing.TB) int {
	t.Helper()
	entries := tlstest.Value(os.ReadDir("/proc/self/fd"))(t)
	return len(entries) - 1 // that of the listing itself
}

var (
	csslNone      = cssl.ConnConfig{}
	csslLocalhost = cssl.ConnConfig{ServerName: "localhost"}
)

// unixDup is a second descriptor for fd.
func unixDup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// tlsDialer dials from goroutines that are not the test's own.
type tlsDialer struct{ cfg *tls.Config }

func (d *tlsDialer) dial(addr net.Addr) (*tls.Conn, error) {
	raw, err := net.DialTimeout(addr.Network(), addr.String(), tlstest.Hang)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(tlstest.Hang))
	c := tls.Client(raw, d.cfg)
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// rawFD is a socket that is connected to nothing of interest.
func rawFD(t *testing.T) int {
	a, b := socketPair(t)
	t.Cleanup(func() { unix.Close(b) })
	return a
}

// smallListener is a TCP listener whose connections inherit small buffers.
func smallListener(t testing.TB, size int) net.Listener {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	rc := tlstest.Value(l.(*net.TCPListener).SyscallConn())(t)
	tlstest.Must(t, rc.Control(func(fd uintptr) { shrink(int(fd), size) }))
	return l
}
