package sslnet

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) { testmain.Run(m, testmain.Freed) }

// change is what a test wants different in the two Contexts.
type change func(server, client *cssl.Config)

// contexts makes a server's and a client's, each changed by the functions given. When the test has ended, no
// goroutine may be left that was not there before.
func contexts(t testing.TB, changes ...change) (server, client *cssl.Context) {
	t.Helper()
	tlstest.NoneLeft(t)
	s, c := serverConfig(), cssl.Config{CAFile: testcerts.Path("root.pem")}
	for _, f := range changes {
		f(&s, &c)
	}
	server = tlstest.Value(cssl.NewServerContext(s))(t)
	t.Cleanup(server.Close)
	client = tlstest.Value(cssl.NewClientContext(c))(t)
	t.Cleanup(client.Close)
	return server, client
}

// certificate is one of testdata/certs with its key.
func certificate(name string) []cssl.Certificate {
	return []cssl.Certificate{{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}}
}

func serverConfig() cssl.Config { return cssl.Config{Certificates: certificate("ecdsa")} }

// v12 makes both speak TLS 1.2 with renegotiation.
func v12(server, client *cssl.Config) {
	server.MaxVersion, client.MaxVersion = cssl.TLS12, cssl.TLS12
	server.Renegotiation, client.Renegotiation = true, true
	server.MaxRenegotiations, client.MaxRenegotiations = 1000, 1000
}

// v13 leaves it at TLS 1.3.
func v13(_, _ *cssl.Config) {}

var versions = map[string]change{"TLS 1.2": v12, "TLS 1.3": v13}

// big gives the server certificates that its tail has no room for, even when
// the peer has read once more than the test asked for: a handshake reads too.
func big(server, _ *cssl.Config) {
	server.Tail = 1 // one record
	server.Certificates = certificate("big")
}

// network makes a connected pair.
type network func(t testing.TB) (a, b net.Conn)

// networks are the kinds of connection below.
var networks = map[string]network{
	"tcp":  func(t testing.TB) (a, b net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0", nil) },
	"unix": func(t testing.TB) (a, b net.Conn) { return socketPair(t, "unix", socketPath(t), nil) },
	"pipe": func(testing.TB) (a, b net.Conn) { return net.Pipe() },
}

// sockets are the networks that have a descriptor.
var sockets = map[string]network{"tcp": networks["tcp"], "unix": networks["unix"]}

// narrowSockets are those of them with small buffers.
var narrowSockets = map[string]network{"tcp": narrow["tcp"], "unix": narrow["unix"]}

// narrow are networks with small buffers.
var narrow = map[string]network{
	"tcp":  func(t testing.TB) (a, b net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0", small) },
	"unix": func(t testing.TB) (a, b net.Conn) { return socketPair(t, "unix", socketPath(t), small) },
	"pipe": func(t testing.TB) (a, b net.Conn) {
		a, b = net.Pipe()
		return newValve(a), newValve(b)
	},
}

// valve is a connection whose output can be stopped.
type valve struct {
	net.Conn
	mu            sync.Mutex
	changed       sync.Cond
	shut, waiting bool
}

func newValve(c net.Conn) *valve {
	v := &valve{Conn: c}
	v.changed.L = &v.mu
	return v
}

func (v *valve) set(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
	v.changed.Broadcast()
}

// stuck reports whether a Write waits for the valve to be opened.
func (v *valve) stuck() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.waiting && v.shut
}

func (v *valve) Write(p []byte) (int, error) {
	v.mu.Lock()
	for v.shut {
		v.waiting = true
		v.changed.Wait()
	}
	v.waiting = false
	v.mu.Unlock()
	return v.Conn.Write(p)
}

func (v *valve) Close() error {
	v.set(false)
	return v.Conn.Close()
}

// Deadlines: one that has passed, and none.
var (
	longAgo    = time.Unix(1, 0)
	noDeadline time.Time
)

// full makes c write as much as its transport takes while the peer does not read: from then on nothing moves until
// the peer has it by take. It answers how many bytes that are.
func full(t testing.TB, c *Conn) (n int) {
	t.Helper()
	if v, ok := c.NetConn().(*valve); ok {
		v.set(true)
	}
	p := new(tlstest.Stream).Next(1 << 20)
	for deadline := time.Now().Add(tlstest.Hang); ; {
		// Only a Write that was tried after the transport had got stuck shows that nothing more fits before it.
		before, k := stuck(t, c), 0
		ended := tlstest.Later(func() (err error) { k, err = c.Write(p[n:]); return err })
		waiting(t, c, &c.writer, tlsio.WantWrite)
		expires(t, c.SetWriteDeadline, ended, "Write")
		if n += k; before && k == 0 {
			return n
		}
		if time.Now().After(deadline) {
			t.Fatalf("the transport is not full after %d bytes", n)
		}
	}
}

// stuck reports whether what c has written stays where it is as long as the peer does not read.
func stuck(t testing.TB, c *Conn) (yes bool) {
	t.Helper()
	if v, ok := c.NetConn().(*valve); ok {
		return v.stuck()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	tlstest.Must(t, c.transport.(*socket).raw.Control(func(fd uintptr) {
		if yes = c.tls.Flush().Want == tlsio.WantWrite; yes && c.LocalAddr().Network() == "tcp" {
			// TCP has sent what there was a window for, all of that has come, and no window is left.
			info := tlstest.Value(unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO))(t)
			yes = info.Unacked == 0 && info.Notsent_bytes > 0 && info.Snd_wnd < info.Snd_mss
		}
	}))
	return yes
}

// take makes peer read the n bytes that c wrote in full.
func take(t testing.TB, c, peer *Conn, n int) {
	t.Helper()
	if v, ok := c.NetConn().(*valve); ok {
		v.set(false)
	}
	tlstest.Must(t, expect(peer, n))
}

func socketPath(t testing.TB) string { return filepath.Join(t.TempDir(), "s") }

func socketPair(t testing.TB, network, address string, control func(network, address string, c syscall.RawConn) error) (a, b net.Conn) {
	t.Helper()
	lc := net.ListenConfig{Control: control}
	l := tlstest.Value(lc.Listen(t.Context(), network, address))(t)
	defer l.Close()
	d := net.Dialer{Control: control}
	a = tlstest.Value(d.Dial(l.Addr().Network(), l.Addr().String()))(t)
	b = tlstest.Value(l.Accept())(t)
	return a, b
}

// small makes the buffers of a socket small. Segments must be smaller than the window, or the kernel sends one a
// second.
func small(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		const size = 8 << 10
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536) // fails for a unix socket
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, size)
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	})
}

// pairOver makes a client and a server over a and b, which have made no handshake yet.
func pairOver(t testing.TB, a, b net.Conn, changes ...change) (client, server *Conn) {
	t.Helper()
	sx, cx := contexts(t, changes...)
	client = tlstest.Value(Client(a, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
	server = tlstest.Value(Server(b, sx))(t)
	t.Cleanup(func() {
		client.SetCloseTimeout(0)
		server.SetCloseTimeout(0)
		client.Close()
		server.Close()
	})
	return client, server
}

// pair makes a client and a server over a network of the kinds above.
func pair(t testing.TB, over network, changes ...change) (client, server *Conn) {
	t.Helper()
	a, b := over(t)
	return pairOver(t, a, b, changes...)
}

// connect makes a pair and its handshake.
func connect(t testing.TB, over network, changes ...change) (client, server *Conn) {
	t.Helper()
	client, server = pair(t, over, changes...)
	shake(t, client, server)
	return client, server
}

func shake(t testing.TB, client, server *Conn) {
	t.Helper()
	ended := tlstest.Later(server.Handshake)
	tlstest.Must(t, client.Handshake())
	done(t, ended, "the server's handshake")
}

// each runs a test over each of the networks.
func each(t *testing.T, over map[string]network, test func(t *testing.T, network network)) {
	for name, network := range over {
		t.Run(name, func(t *testing.T) { test(t, network) })
	}
}

// pairTest is a test with a client and a server.
type pairTest func(t *testing.T, client, server *Conn)

// pairs runs a test with a pair over each of the networks, before the handshake.
func pairs(t *testing.T, over map[string]network, test pairTest, changes ...change) {
	each(t, over, func(t *testing.T, network network) {
		client, server := pair(t, network, changes...)
		test(t, client, server)
	})
}

// connected is pairs after the handshake.
func connected(t *testing.T, over map[string]network, test pairTest, changes ...change) {
	pairs(t, over, func(t *testing.T, client, server *Conn) {
		shake(t, client, server)
		test(t, client, server)
	}, changes...)
}

// inBoth calls run, which is pairs or connected, for both versions.
func inBoth(t *testing.T, run func(*testing.T, map[string]network, pairTest, ...change), over map[string]network,
	test pairTest, changes ...change) {
	for version, v := range versions {
		t.Run(version, func(t *testing.T) { run(t, over, test, append([]change{v}, changes...)...) })
	}
}

// everywhere runs a test with a pair over each of the networks, in both versions, after the handshake.
func everywhere(t *testing.T, over map[string]network, test pairTest, changes ...change) {
	inBoth(t, connected, over, test, changes...)
}

// done waits for the end of an operation, which must be a good one.
func done(t testing.TB, ended <-chan error, what string) {
	t.Helper()
	tlstest.Must(t, tlstest.Receive(t, ended, what))
}

// fails waits for the end of an operation, which must be an error.
func fails(t testing.TB, ended <-chan error, what string, want error) {
	t.Helper()
	is(t, tlstest.Receive(t, ended, what), want)
}

// expires ends an operation by the deadline that set sets. Afterwards there is none.
func expires(t testing.TB, set func(time.Time) error, ended <-chan error, what string) {
	t.Helper()
	tlstest.Must(t, set(longAgo))
	timedOut(t, tlstest.Receive(t, ended, what))
	tlstest.Must(t, set(noDeadline))
}

// say writes a few bytes.
func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	tlstest.Value(io.WriteString(c, text))(t)
}

// flows sends n bytes, in pieces of up to size, and checks that they come.
func flows(t testing.TB, from io.Writer, to io.Reader, n, size int) {
	t.Helper()
	sent := tlstest.Later(func() error { return send(from, n, size) })
	tlstest.Must(t, expect(to, n))
	done(t, sent, "Write")
}

// listen listens with x until the end of the test.
func listen(t testing.TB, x *cssl.Context) *Listener {
	t.Helper()
	l := tlstest.Value(Listen("tcp", "127.0.0.1:0", x))(t)
	t.Cleanup(func() { l.Close() })
	return l
}

// acceptAndShake accepts a connection, makes its handshake and closes it.
func acceptAndShake(l *Listener) func() error {
	return func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		return c.(*Conn).Handshake()
	}
}

// reading is a Read of one byte.
func reading(c *Conn) func() error {
	return func() error { _, err := c.Read(make([]byte, 1)); return err }
}

// writing is a Write of one byte.
func writing(c *Conn) func() error {
	return func() error { _, err := c.Write([]byte("x")); return err }
}

// waiting waits until a half of c waits for w.
func waiting(t testing.TB, c *Conn, s *half, w tlsio.Want) {
	t.Helper()
	tlstest.Until(t, "the wait for "+w.String(), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return s.waits && s.want == w
	})
}

// timedOut fails unless err is of a deadline, in each of the ways to ask.
func timedOut(t testing.TB, err error) {
	t.Helper()
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("got %v, want a deadline", err)
	}
}

// is fails unless err is want.
func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// send writes n bytes of a Stream, in pieces of up to size.
func send(c io.Writer, n, size int) error {
	var s tlstest.Stream
	for s.N < n {
		if _, err := c.Write(s.Next(min(size, n-s.N))); err != nil {
			return err
		}
	}
	return nil
}

// expect reads n bytes of a Stream.
func expect(c io.Reader, n int) error {
	var s tlstest.Stream
	p := make([]byte, 10_000)
	for s.N < n {
		k, err := c.Read(p[:min(len(p), n-s.N)])
		if s.Check(p[:k]); s.Bad != nil {
			return s.Bad
		}
		if err != nil {
			return err
		}
	}
	return nil
}
