package cssl

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// What the tests of this package share: Contexts, a pair of connections in engine mode,
// connections over sockets, and checks. loop_test.go has the event loop.

// serverConfig is a server with one of the test PKI's certificates ("ecdsa", "rsa" …).
func serverConfig(name string) Config {
	return Config{Certificates: []Certificate{testCertificate(name)}}
}

// clientConfig trusts the test PKI's root.
func clientConfig() Config { return Config{CAFile: testcerts.Path("root.pem")} }

// testCertificate is one of the test PKI's certificates, with its key.
func testCertificate(name string) Certificate {
	return Certificate{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}
}

// clientUpTo is clientConfig with this greatest version.
func clientUpTo(version TLSVersion) Config {
	c := clientConfig()
	c.MaxVersion = version
	return c
}

func mustServer(t testing.TB, c Config) *Context {
	t.Helper()
	x := tlstest.Value(NewServerContext(c))(t)
	t.Cleanup(x.Close)
	return x
}

func mustClient(t testing.TB, c Config) *Context {
	t.Helper()
	x := tlstest.Value(NewClientContext(c))(t)
	t.Cleanup(x.Close)
	return x
}

// plain is a client and a server without any settings.
func plain(t testing.TB) (client, server *Context) {
	t.Helper()
	return mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))
}

// writeFile is a new file with this name.
func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	tlstest.Must(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// engineConn is a connection in engine mode, which is closed with the test.
func engineConn(t testing.TB, x *Context, c ConnConfig) *Conn {
	t.Helper()
	conn := tlstest.Value(x.NewEngineConn(c))(t)
	t.Cleanup(conn.Close)
	return conn
}

// socketConn is a connection over a socket. It is closed with the test, the socket is not.
func socketConn(t testing.TB, x *Context, fd int, c ConnConfig) *Conn {
	t.Helper()
	conn := tlstest.Value(x.NewConn(fd, c))(t)
	t.Cleanup(conn.Close)
	return conn
}

// pair is a client and a server in engine mode, joined by hand.
type pair struct {
	t              testing.TB
	client, server *Conn
	buf            []byte
	chunk          int              // how many bytes of ciphertext pass at a time; 0 is all
	early          []byte           // what the server has read of early data
	wire           map[*Conn][]byte // what each has sent, if that is to be known
	rest           map[*Conn][]byte // what each had no room for
}

// newPair has a client that asks for localhost, if there is no other setting.
func newPair(t testing.TB, client, server *Context, c ...ConnConfig) *pair {
	t.Helper()
	c = append(c, ConnConfig{ServerName: "localhost"})
	return &pair{t: t, client: engineConn(t, client, c[0]), server: engineConn(t, server, ConnConfig{}), buf: make([]byte, 1<<16)}
}

// move carries ciphertext from one to the other, as far as that one has room, and
// returns how much.
func (p *pair) move(from, to *Conn) int {
	n := len(p.buf)
	if p.chunk > 0 {
		n = p.chunk
	}
	if left := p.rest[to]; len(left) > 0 {
		n = to.Feed(left)
		p.rest[to] = left[n:]
		return n
	}
	sent := p.buf[:from.Take(p.buf[:n])]
	if p.wire != nil {
		p.wire[from] = append(p.wire[from], sent...)
	}
	n = to.Feed(sent)
	if n < len(sent) {
		if p.rest == nil {
			p.rest = map[*Conn][]byte{}
		}
		p.rest[to] = bytes.Clone(sent[n:])
	}
	return n
}

// shake carries a handshake on, and waits for what is done off this goroutine.
func shake(c *Conn) tlsio.Result {
	for {
		if r := c.Handshake(); r.Want != tlsio.WantAsync {
			return r
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (p *pair) handshake() {
	p.t.Helper()
	ends := [2]*Conn{p.client, p.server}
	var done [2]bool
	for i := 0; i < 200000 && !(done[0] && done[1]); i++ {
		for i, c := range ends {
			if !done[i] {
				r := shake(c)
				tlstest.Must(p.t, r.Err)
				done[i] = r.Want == tlsio.WantNone
			}
		}
		p.move(p.client, p.server)
		p.move(p.server, p.client)
	}
	if !done[0] || !done[1] {
		p.t.Fatal("handshake did not end")
	}
}

// handshakeError carries a handshake on until it is done or has failed, and returns the server's error.
func handshakeError(p *pair) error {
	var done [2]bool
	for range 1000 {
		for i, c := range []*Conn{p.client, p.server} {
			if done[i] {
				continue
			}
			r := shake(c)
			if r.Err != nil && c == p.server {
				return r.Err
			}
			done[i] = r.Want == tlsio.WantNone
		}
		if done[0] && done[1] {
			return nil
		}
		p.move(p.client, p.server)
		p.move(p.server, p.client)
	}
	return errors.New("the handshake did not end")
}

// overPipe calls step until it returns true, and carries what c and the peer behind the pipe have to say.
func overPipe(t testing.TB, c *Conn, pipe net.Conn, step func() bool) {
	t.Helper()
	buf := make([]byte, 1<<16)
	for {
		done := step()
		if n := c.Take(buf); n > 0 {
			tlstest.Value(pipe.Write(buf[:n]))(t)
		} else if done {
			return
		} else {
			c.Feed(buf[:tlstest.Value(pipe.Read(buf))(t)])
		}
	}
}

// readWithGo makes a handshake of crypto/tls with a server in engine mode, and lets the client read a byte and what comes before it.
func readWithGo(t *testing.T, sx *Context, cfg *tls.Config) tls.ConnectionState {
	t.Helper()
	server := engineConn(t, sx, ConnConfig{})
	near, far := net.Pipe()
	defer near.Close()
	client := tls.Client(far, cfg)
	ended := tlstest.Later(func() error {
		defer far.Close()
		_, err := client.Read(make([]byte, 1))
		return err
	})
	wrote := false
	overPipe(t, server, near, func() bool {
		r := server.Handshake()
		if r.Err == nil && r.Want == tlsio.WantNone && !wrote {
			r, wrote = server.Write([]byte("x")), true
		}
		tlstest.Must(t, r.Err)
		return wrote
	})
	tlstest.Must(t, tlstest.Receive(t, ended, "the client"))
	return client.ConnectionState()
}

// socketPair is two connected non-blocking sockets, with the smallest buffers that the kernel allows if small.
func socketPair(t testing.TB, network string, small bool) (client, server int) {
	t.Helper()
	set := func(fd, level, option, value int) {
		t.Helper()
		tlstest.Must(t, syscall.SetsockoptInt(fd, level, option, value))
	}
	shrink := func(fd int) {
		if small {
			set(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1)
			// Below 1<<14 TCP's delayed acknowledgements make a test take many seconds.
			set(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, map[string]int{"unix": 1, "tcp": 1 << 14}[network])
		}
	}
	if network == "unix" {
		fds := tlstest.Value(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0))(t)
		client, server = fds[0], fds[1]
	} else {
		l := tlstest.Value(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))(t)
		defer syscall.Close(l)
		shrink(l)
		tlstest.Must(t, syscall.Bind(l, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		tlstest.Must(t, syscall.Listen(l, 1))
		client = tlstest.Value(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))(t)
		shrink(client)
		tlstest.Must(t, syscall.Connect(client, tlstest.Value(syscall.Getsockname(l))(t)))
		var err error
		server, _, err = syscall.Accept4(l, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		tlstest.Must(t, err)
		tlstest.Must(t, syscall.SetNonblock(client, true))
		set(client, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		set(server, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	shrink(client)
	shrink(server)
	return client, server
}

// overSockets makes a client and a server connection over two descriptors.
func overSockets(t testing.TB, cx, sx *Context, cfd, sfd int, c ...ConnConfig) (client, server *Conn) {
	t.Helper()
	c = append(c, ConnConfig{ServerName: "localhost"})
	return socketConn(t, cx, cfd, c[0]), socketConn(t, sx, sfd, ConnConfig{})
}

// socketEnds is a client and a server over sockets; the sockets are closed with the test.
func socketEnds(t testing.TB, network string, small bool, client, server *Context, config ...ConnConfig) (c, s *endpoint) {
	t.Helper()
	cfd, sfd := socketPair(t, network, small)
	t.Cleanup(func() { syscall.Close(cfd); syscall.Close(sfd) })
	cc, sc := overSockets(t, client, server, cfd, sfd, config...)
	return newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
}

// readyEnds is socketEnds after the handshake, when nothing of it is unsent.
func readyEnds(t testing.TB, network string, small bool, client, server *Context) (c, s *endpoint) {
	t.Helper()
	c, s = socketEnds(t, network, small, client, server)
	runSockets(t, c, s, func() bool { return c.established() && s.established() && !s.unsent })
	return c, s
}

func engineEnds(t testing.TB, client, server *Context) (c, s *endpoint) {
	t.Helper()
	p := newPair(t, client, server)
	return newEndpoint(t, "client", p.client), newEndpoint(t, "server", p.server)
}

// await waits until fd can be read.
func await(t testing.TB, fd int) {
	t.Helper()
	for deadline := time.Now().Add(tlstest.Hang); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(deadline).Milliseconds())))
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing arrives: %v", err)
		}
		return
	}
}

func sameBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	t.Fatalf("%s: got %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), i)
}

// send writes all of p. A socket takes it.
func send(t testing.TB, c *Conn, p string) {
	t.Helper()
	if r := c.Write([]byte(p)); r.N != len(p) || r.Unsent && c.fd >= 0 || r.Err != nil {
		t.Fatalf("write: %+v", r)
	}
}

// reads demands that one Read returns p.
func reads(t testing.TB, c *Conn, p string) {
	t.Helper()
	buf := make([]byte, 1<<15)
	if r := c.Read(buf); string(buf[:r.N]) != p || r.Err != nil {
		t.Errorf("read %q (%+v), want %q", buf[:r.N], r, p)
	}
}

// wants demands that an operation waits for this, or has ended without an error.
func wants(t testing.TB, what string, r tlsio.Result, want tlsio.Want) {
	t.Helper()
	if r.Want != want || r.Err != nil {
		t.Fatalf("%s: %+v, want %v", what, r, want)
	}
}

// badState demands ErrState.
func badState(t testing.TB, what string, r tlsio.Result) {
	t.Helper()
	var e *tlsio.Error
	if !errors.As(r.Err, &e) || !errors.Is(e, tlsio.ErrState) {
		t.Errorf("%s: %+v", what, r)
	}
}

// checkConfigError demands a ConfigError of the setting, which says all this.
func checkConfigError(t testing.TB, what string, err error, setting string, says ...string) {
	t.Helper()
	var e *ConfigError
	if !errors.As(err, &e) || e.Setting != setting {
		t.Errorf("%s: %v, want a refusal of %s", what, err, setting)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %v, want %s in it", what, err, s)
		}
	}
}

// checkRefused demands a ConfigError of the setting.
func checkRefused(t testing.TB, name string, server bool, c Config, setting string, says ...string) {
	t.Helper()
	x, err := newContext(&c, server)
	if checkConfigError(t, name, err, setting, says...); err == nil {
		x.Close()
	}
}

// noneMore returns a function which demands that there are as many certificates and Contexts as now.
func noneMore(t testing.TB) func(what string) {
	certs, contexts := live.Certificates(), live.Contexts()
	return func(what string) {
		t.Helper()
		if n, x := live.Certificates(), live.Contexts(); n != certs || x != contexts {
			t.Errorf("%s: %d certificates and %d contexts are left", what, n-certs, x-contexts)
		}
	}
}
