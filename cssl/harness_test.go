package cssl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/testtoken"
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
	demand(p.t, done[0] && done[1], "handshake did not end")
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

// shaken makes the handshake.
func (p *pair) shaken() *pair {
	p.t.Helper()
	p.handshake()
	return p
}

// opened makes the handshake, and lets both sides read what follows it.
func (p *pair) opened() *pair {
	p.t.Helper()
	p.handshake()
	p.finish()
	return p
}

// pairOf is a pair of these settings, and plainPair of none.
func pairOf(t testing.TB, client, server Config) *pair {
	t.Helper()
	return newPair(t, mustClient(t, client), mustServer(t, server))
}

func plainPair(t testing.TB) *pair {
	t.Helper()
	return pairOf(t, clientConfig(), serverConfig("ecdsa"))
}

// finish lets both sides read what follows the handshake, such as tickets.
func (p *pair) finish() {
	p.t.Helper()
	for moved := 1; moved > 0; {
		moved = p.move(p.server, p.client) + p.move(p.client, p.server)
		for _, c := range []*Conn{p.client, p.server} {
			tlstest.Must(p.t, c.Read(p.buf).Err)
		}
	}
}

// again makes a second pair whose client offers the first one's session.
func (p *pair) again(client, server *Context, name string) *pair {
	p.t.Helper()
	return newPair(p.t, client, server, ConnConfig{ServerName: name, Session: p.client.Session()}).opened()
}

// established is a pair that is ready for data.
func established(t testing.TB) *pair {
	t.Helper()
	return plainPair(t).opened()
}

// try drives both ends until each is done or has failed. A client of TLS 1.3 hears
// of the server's refusal only when it reads, so both read once more.
func (p *pair) try() (client, server error) {
	ends := [2]*Conn{p.client, p.server}
	var errs [2]error
	for range 2000 {
		for i, c := range ends {
			if r := shake(c); r.Err != nil && errs[i] == nil {
				errs[i] = r.Err
			} else if r.Want == tlsio.WantNone && r.Err == nil {
				if r := c.Peek(p.buf); r.Err != nil && errs[i] == nil {
					errs[i] = r.Err
				}
			}
		}
		if p.move(p.client, p.server)+p.move(p.server, p.client) == 0 {
			break
		}
	}
	return errs[0], errs[1]
}

// pass writes msg on one side and reads it on the other.
func (p *pair) pass(from, to *Conn, msg, buf []byte) {
	for left := msg; len(left) > 0; {
		r := from.Write(left)
		if r.N == 0 {
			p.t.Fatal(r)
		}
		left = left[r.N:]
	}
	p.move(from, to)
	for n := 0; n < len(msg); {
		r := to.Read(buf)
		if r.N == 0 {
			p.t.Fatal(r)
		}
		n += r.N
	}
}

// talk passes a message each way.
func (p *pair) talk() {
	p.t.Helper()
	p.chunk = 0
	p.pass(p.client, p.server, []byte("ask"), p.buf)
	p.pass(p.server, p.client, []byte("answer"), p.buf)
}

// checkAlerts demands that one side has sent an alert and the other has received it.
func checkAlerts(t testing.TB, sent, received error, alert tlsio.Alert) {
	t.Helper()
	checkAlert(t, sent, tlsio.AlertSent, alert)
	checkAlert(t, received, tlsio.AlertReceived, alert)
}

func checkAlert(t testing.TB, err error, side tlsio.AlertSide, alert tlsio.Alert) {
	t.Helper()
	var e *tlsio.Error
	if !errors.As(err, &e) {
		t.Errorf("got %T %v", err, err)
		return
	}
	check(t, e.Errno == 0 && e.AlertSide == side && e.Alert == alert && errors.Is(err, alert) && len(e.Reasons) != 0,
		"got %v (side %d), want alert %v", err, e.AlertSide, alert)
}

// resumes makes a handshake for localhost that offers a session, and answers whether it was resumed, and how each side failed.
func resumes(t *testing.T, cx, sx *Context, s *Session) (resumed bool, cerr, serr error) {
	t.Helper()
	p, cerr, serr := shakeAs(t, cx, sx, ConnConfig{ServerName: "localhost", Session: s})
	if cerr != nil || serr != nil {
		return false, cerr, serr
	}
	c, s2 := p.client.State().Resumed, p.server.State().Resumed
	check(t, c == s2, "the client says resumed %v, the server %v", c, s2)
	return c, nil, nil
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
	r := c.Write([]byte(p))
	demand(t, r.N == len(p) && (!r.Unsent || c.fd < 0) && r.Err == nil, "write: %+v", r)
}

// writeAll writes all of p, for which there is room.
func writeAll(t testing.TB, c *Conn, p []byte) {
	t.Helper()
	for len(p) > 0 {
		r := c.Write(p)
		demand(t, r.N > 0, "%d bytes are left: %+v", len(p), r)
		p = p[r.N:]
	}
}

// reads demands that one Read returns p.
func reads(t testing.TB, c *Conn, p string) {
	t.Helper()
	buf := make([]byte, 1<<15)
	r := c.Read(buf)
	check(t, string(buf[:r.N]) == p && r.Err == nil, "read %q (%+v), want %q", buf[:r.N], r, p)
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
	tlstest.IsError(t, what, r.Err, tlsio.ErrState)
}

// check fails the test, which goes on, unless ok.
func check(t testing.TB, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Errorf(format, args...)
	}
}

// demand is check that ends the test.
func demand(t testing.TB, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Fatalf(format, args...)
	}
}

// equal fails the test, which goes on, unless got is want. The format names what was compared.
func equal[T comparable](t testing.TB, got, want T, format string, args ...any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", fmt.Sprintf(format, args...), got, want)
	}
}

// fails demands that a call returns an error, whose text has all of this in it:
//
//	fails(NewServerContext(c))(t, "no certificate", "needs Certificates")
func fails[T any](_ T, err error) func(t testing.TB, what string, texts ...string) {
	return func(t testing.TB, what string, texts ...string) {
		t.Helper()
		check(t, err != nil, "%s: no error", what)
		says(t, what, err, texts...)
	}
}

// says demands an error whose text has all of this in it.
func says(t testing.TB, what string, err error, texts ...string) {
	t.Helper()
	for _, s := range texts {
		check(t, err != nil && strings.Contains(err.Error(), s), "%s: %v, want %s in it", what, err, s)
	}
}

// leaf is the certificate that a connection's peer has shown.
func leaf(t testing.TB, c *Conn) *x509.Certificate {
	t.Helper()
	chain := tlstest.Value(c.State().PeerCertificates())(t)
	demand(t, len(chain) > 0, "the peer has shown no certificate")
	return chain[0]
}

// knows is how many certificates a connection's peer has shown.
func knows(t testing.TB, c *Conn) int {
	t.Helper()
	return len(tlstest.Value(c.State().PeerCertificates())(t))
}

// isDirect demands direct records.
func isDirect(t testing.TB, c *Conn) {
	t.Helper()
	st := c.State()
	demand(t, st.Records == RecordsDirect, "records are %v: %s", st.Records, st.RecordsReason)
}

// checkConfigError demands a ConfigError of the setting, which says all this.
func checkConfigError(t testing.TB, what string, err error, setting string, texts ...string) {
	t.Helper()
	var e *ConfigError
	if !errors.As(err, &e) || e.Setting != setting {
		t.Errorf("%s: %v, want a refusal of %s", what, err, setting)
		return
	}
	says(t, what, err, texts...)
}

// checkRefused demands a ConfigError of the setting.
func checkRefused(t testing.TB, name string, server bool, c Config, setting string, texts ...string) {
	t.Helper()
	checkRefusals(t, server, c, []wrongConfig{{name, func(*Config) {}, setting, strings.Join(texts, "|")}})
}

// wrongConfig is a change of a Config that makes it one which is refused.
type wrongConfig struct {
	name    string
	change  func(*Config)
	setting string
	texts   string // all in the error, with | between
}

// checkRefusals demands that each change of base is refused, with the setting and the texts, and leaves nothing. No error shows a secret.
func checkRefusals(t testing.TB, server bool, base Config, rows []wrongConfig, secrets ...string) {
	t.Helper()
	for _, row := range rows {
		none, c := noneMore(t), base
		c.Certificates = slices.Clone(base.Certificates)
		row.change(&c)
		x, err := newContext(&c, server)
		checkConfigError(t, row.name, err, row.setting, strings.Split(row.texts, "|")...)
		for _, s := range secrets {
			check(t, !strings.Contains(fmt.Sprint(err), s), "%s: a secret is shown: %v", row.name, err)
		}
		if err == nil {
			x.Close()
		}
		none(row.name)
	}
}

// noneMore returns a function which demands that there are as many certificates and Contexts as now.
func noneMore(t testing.TB) func(what string) {
	certs, contexts := live.Certificates(), live.Contexts()
	return func(what string) {
		t.Helper()
		n, x := live.Certificates(), live.Contexts()
		check(t, n == certs && x == contexts, "%s: %d certificates and %d contexts are left", what, n-certs, x-contexts)
	}
}

func TestMain(m *testing.M) { testmain.Run(m, testtoken.RemoveSoftHSM) }

// rsaKey is the key in testdata/certs.
func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(testcerts.Read(t, "rsa.key"))
	return tlstest.Value(x509.ParsePKCS8PrivateKey(block.Bytes))(t).(crypto.Signer)
}

// authority signs certificates that testdata/certs does not have.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// newKey makes a P-256 key.
func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	return tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

// newAuthority makes a CA with a key, signed by parent or, if that is nil, by itself.
func newAuthority(t testing.TB, name string, parent *authority, key crypto.Signer) *authority {
	t.Helper()
	a := &authority{t: t, key: key}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if parent == nil {
		parent = &authority{t: t, cert: template, key: key}
	}
	a.cert, a.pem = parent.sign(template, key)
	return a
}

// sign signs a certificate. Serial number and dates are made where there are none.
func (a *authority) sign(template *x509.Certificate, key crypto.Signer) (*x509.Certificate, []byte) {
	a.t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = tlstest.Value(rand.Int(rand.Reader, big.NewInt(1<<62)))(a.t)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour)
	}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))(a.t)
	cert := tlstest.Value(x509.ParseCertificate(der))(a.t)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a leaf with a new key. The certificates of above are sent along with it.
func (a *authority) issue(template x509.Certificate, above ...*authority) Certificate {
	a.t.Helper()
	return a.issueFor(newKey(a.t), template, above...)
}

// issueFor is issue for a key.
func (a *authority) issueFor(key crypto.Signer, template x509.Certificate, above ...*authority) Certificate {
	a.t.Helper()
	_, chain := a.sign(&template, key)
	for _, x := range above {
		chain = append(chain, x.pem...)
	}
	der := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(a.t)
	return Certificate{ChainPEM: chain, KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// revoke makes a list of what the CA has revoked.
func (a *authority) revoke(until time.Time, serials ...*big.Int) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-1000 * time.Hour), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: list.ThisUpdate})
	}
	der := tlstest.Value(x509.CreateRevocationList(rand.Reader, list, a.cert, a.key))(a.t)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
