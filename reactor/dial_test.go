package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// tally is a Handler that counts what it hears.
type tally struct {
	hooks
	opens, closes atomic.Int64
	ends          chan error
}

func newTally() *tally { return &tally{ends: make(chan error, 1000)} }

func (h *tally) OnOpen(c *Conn) { h.opens.Add(1); h.hooks.OnOpen(c) }

func (h *tally) OnClose(c *Conn, err error) { h.closes.Add(1); h.ends <- err }

// heard wants the numbers of OnOpen and OnClose.
func (h *tally) heard(t *testing.T, opens, closes int64) {
	t.Helper()
	tlstest.Equal(t, "times that OnOpen came", h.opens.Load(), opens)
	tlstest.Equal(t, "times that OnClose came", h.closes.Load(), closes)
}

func dialer(t testing.TB, change func(*cssl.Config)) *Dialer {
	return &Dialer{Context: clientContext(t, change)}
}

// guarded is a context that ends a test which hangs.
func guarded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	t.Cleanup(cancel)
	return ctx
}

// assertNoLeak answers a check that descriptors, SSL objects and goroutines are as many as now.
func assertNoLeak(t *testing.T) (check func()) {
	t.Helper()
	open := func() int { return len(tlstest.Value(os.ReadDir("/proc/self/fd"))(t)) }
	files, ssl, goroutines := open(), live.Conns(), runtime.NumGoroutine()
	return func() {
		t.Helper()
		tlstest.Until(t, fmt.Sprintf("%d descriptors, %d SSL objects and %d goroutines are left", files, ssl, goroutines), func() bool {
			return open() <= files && live.Conns() <= ssl && runtime.NumGoroutine() <= goroutines
		})
	}
}

// TestDial: each network; OnOpen has run before Dial returns, the addresses are right, and
// the connection works and outlives the context.
func TestDial(t *testing.T) {
	for _, tc := range []struct{ network, listen string }{
		{"tcp", "127.0.0.1:0"}, {"tcp4", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"tcp6", "[::1]:0"},
		{"unix", "unix:" + filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(tc.network+" "+tc.listen[:4], func(t *testing.T) {
			sh, seen := opens(echo())
			addr := start(t, &Server{Addr: tc.listen, Handler: sh})
			l, h, echoed := startLoop(t, LoopConfig{}), newTally(), make(chan string, 1)
			h.data = func(c *Conn, p []byte) { echoed <- string(p) + c.Data.(string) }
			d := dialer(t, nil)
			if tc.network == "unix" {
				d.Config = csslLocalhost
			}
			ctx, cancel := context.WithCancel(guarded(t))
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a finalizer must not hide what Dial leaves open
			c := tlstest.Value(d.Dial(ctx, l, tc.network, addr.String(), h, " data"))(t)
			tlstest.Equal(t, "descriptors for the socket", descriptors(t, c.fd), 1)
			h.heard(t, 1, 0)
			cancel()
			tlstest.Equal(t, "RemoteAddr", c.RemoteAddr().String(), addr.String())
			tlstest.Equal(t, "the network of RemoteAddr", c.RemoteAddr().Network(), addr.Network())
			tlstest.Equal(t, "LocalAddr", c.LocalAddr().String(), tlstest.Receive(t, seen, "the server's OnOpen").RemoteAddr().String())
			if tc.network != "unix" {
				keepAliveOf(t, c.fd)
			}
			c.Write([]byte("hello"))
			tlstest.Equal(t, "the echo", tlstest.Receive(t, echoed, "the echo"), "hello data")
			c.Close()
			tlstest.Must(t, tlstest.Receive(t, h.ends, "OnClose"))
			h.heard(t, 1, 1)
		})
	}
}

// descriptors is how many this process has for the same socket as fd.
func descriptors(t *testing.T, fd int) (n int) {
	t.Helper()
	socket := tlstest.Value(os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)))(t)
	for _, e := range tlstest.Value(os.ReadDir("/proc/self/fd"))(t) {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == socket {
			n++
		}
	}
	return n
}

// TestDialHost: the host of the address is what the certificate must be for and what is sent, unless
// Config says another name, also one with a dot, brackets or a zone (P43); what is refused says why.
func TestDialHost(t *testing.T) {
	otherRoot := func(c *cssl.Config) { c.CAFile = testcerts.Path("other-root.pem") }
	named := func(name string) cssl.ConnConfig { return cssl.ConnConfig{ServerName: name} }
	for _, tc := range []struct {
		name, cert, listen, host string
		client                   func(*cssl.Config)
		config                   cssl.ConnConfig
		sent                     string
		want                     string // in the error
	}{
		{name: "IP", cert: "ecdsa"},
		{name: "IP mismatch", cert: "ecdsa", listen: "127.0.0.2:0", want: "IP address mismatch"},
		{name: "IPv4 as IPv6", cert: "ecdsa", host: "[::ffff:127.0.0.1]"},
		{name: "name", cert: "ecdsa", host: "localhost", sent: "localhost"},
		{name: "name mismatch", cert: "wrongname", host: "localhost", want: "hostname mismatch"},
		{name: "another name", cert: "wrongname", config: named("other.test"), sent: "other.test"},
		{name: "another name, mismatch", cert: "ecdsa", config: named("other.test"), want: "hostname mismatch"},
		{name: "a dot", cert: "ecdsa", config: named("localhost."), sent: "localhost"},
		{name: "brackets", cert: "ecdsa", config: named("[::1]")},
		{name: "a zone", cert: "ecdsa", config: named("[::1%lo]")},
		{name: "no name check", cert: "wrongname", config: cssl.ConnConfig{InsecureSkipNameCheck: true}},
		{name: "unknown CA", cert: "ecdsa", client: otherRoot, want: "unable to get local issuer certificate"},
		{name: "unknown CA, not verified", cert: "ecdsa", client: func(c *cssl.Config) { otherRoot(c); c.Verify = cssl.VerifyNone }},
		{name: "expired", cert: "expired", want: "certificate has expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sent := make(chan string, 1)
			sh := &hooks{open: func(c *Conn) { sent <- c.State().ServerName }}
			addr := start(t, &Server{Addr: tc.listen, Handler: sh, Context: serverContext(t, tc.cert, nil)})
			l, h := startLoop(t, LoopConfig{}), newTally()
			d := dialer(t, tc.client)
			d.Config = tc.config
			address := addr.String()
			if tc.host != "" {
				address = fmt.Sprintf("%s:%d", tc.host, addr.(*net.TCPAddr).Port)
			}
			check := assertNoLeak(t)
			c, err := d.Dial(guarded(t), l, "tcp", address, h, nil)
			if tc.want == "" {
				tlstest.Must(t, err)
				tlstest.Equal(t, "the name sent", tlstest.Receive(t, sent, "OnOpen"), tc.sent)
				c.Abort(nil)
				tlstest.Receive(t, h.ends, "OnClose")
				return
			}
			var tlsErr *tlsio.Error
			if wantText(t, "Dial", err, tc.want); c != nil || !errors.As(err, &tlsErr) {
				t.Errorf("Dial answered %v, %T", c, err)
			}
			wantText(t, "Dial", err, addr.String())
			wantOp(t, err, "handshake")
			h.heard(t, 0, 1)
			tlstest.IsError(t, "Dial's error beside OnClose's", err, <-h.ends)
			check()
		})
	}
}

// wantOp wants err to be a *net.OpError of an operation.
func wantOp(t *testing.T, err error, op string) {
	t.Helper()
	var e *net.OpError
	if !errors.As(err, &e) || e.Op != op {
		t.Errorf("%v (%T) is not a *net.OpError of %q", err, err, op)
	}
}

// TestDialResumes: a session of an earlier connection, in Config, is resumed.
func TestDialResumes(t *testing.T) {
	for _, version := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
		t.Run(version.String(), func(t *testing.T) {
			addr := start(t, &Server{Handler: echo()})
			l := startLoop(t, LoopConfig{})
			d := dialer(t, func(c *cssl.Config) { c.MaxVersion = version })
			for i := range 3 {
				var resumed bool
				sessions := make(chan *cssl.Session, 1)
				h := &hooks{
					open: func(c *Conn) { resumed = c.State().Resumed },
					data: func(c *Conn, _ []byte) { sessions <- c.Session() },
				}
				c := tlstest.Value(d.Dial(guarded(t), l, "tcp", addr.String(), h, nil))(t)
				tlstest.Equal(t, "resumed", resumed, i > 0)
				c.Write([]byte("x"))
				d.Config.Session = tlstest.Receive(t, sessions, "a session")
				c.Close()
			}
		})
	}
}

// TestDialMany: 200 at once, some of which cannot succeed; each answers, and nothing is left.
func TestDialMany(t *testing.T) {
	const n, good = 200, 140
	s := &Server{Handler: echo(), Loops: 2}
	addr, mute, refusing := start(t, s).String(), muteListener(t).Addr().String(), refusingAddr(t)
	l := startLoop(t, LoopConfig{})
	d := dialer(t, nil)
	h := newTally()
	check := assertNoLeak(t)
	var wg sync.WaitGroup
	conns := make(chan *Conn, n)
	for i := range n {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
			defer cancel()
			to, want := addr, error(nil)
			switch i % 10 {
			case 0:
				to, want = refusing, unix.ECONNREFUSED
			case 1:
				to, want = mute, context.Canceled
				cancel()
			case 2:
				to, want = mute, context.Canceled
				time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
			}
			c, err := d.Dial(ctx, l, "tcp", to, h, nil)
			if tlstest.IsError(t, to, err, want); c != nil {
				conns <- c
			}
		})
	}
	wg.Wait()
	close(conns)
	tlstest.Equal(t, "connections", len(conns), good)
	tlstest.Equal(t, "times that OnOpen came", h.opens.Load(), good)
	atMost(t, "times that OnClose came before any was closed", h.closes.Load(), n/10)
	for c := range conns {
		c.Close()
	}
	tlstest.Until(t, "all to be gone", func() bool { return s.Stats().Conns+l.Stats().Conns == 0 })
	tlstest.Equal(t, "handshakes that are left", l.Stats().Handshaking, 0)
	atMost(t, "connections that have heard OnClose", good, h.closes.Load())
	check()
}

// TestDialOnLoop: on a loop's goroutine Dial answers an error at once, from however deep.
func TestDialOnLoop(t *testing.T) {
	addr := start(t, &Server{Handler: echo()})
	l, other := startLoop(t, LoopConfig{}), startLoop(t, LoopConfig{})
	d := dialer(t, nil)
	var deep func(int) error
	deep = func(n int) error {
		if n > 0 {
			return errors.Join(deep(n - 1))
		}
		_, err := d.Dial(guarded(t), l, "tcp", addr.String(), newTally(), nil)
		return err
	}
	errs := make(chan error, 4)
	l.Do(func() { errs <- deep(0) })
	other.Do(func() { errs <- deep(0) })
	l.Do(func() { errs <- deep(200) })
	tlstest.Value(d.Dial(guarded(t), l, "tcp", addr.String(), &hooks{open: func(*Conn) { errs <- deep(0) }}, nil))(t)
	for range 4 {
		wantText(t, "Dial", tlstest.Receive(t, errs, "Dial on the loop's goroutine"), "loop's goroutine")
	}
	tlstest.Must(t, deep(200))
}

// TestDialUsage: what is missing is named.
func TestDialUsage(t *testing.T) {
	l, h := startLoop(t, LoopConfig{}), newTally()
	d := dialer(t, nil)
	addr := start(t, &Server{Handler: echo()})
	check := assertNoLeak(t)
	for _, tc := range []struct {
		d                *Dialer
		l                *Loop
		h                Handler
		network, address string
		want             string
	}{
		{&Dialer{}, l, h, "tcp", addr.String(), "Dialer.Context"},
		{d, nil, h, "tcp", addr.String(), "Loop"},
		{d, l, nil, "tcp", addr.String(), "Handler"},
		{d, l, h, "udp", addr.String(), "unknown network udp"},
		{d, l, h, "", addr.String(), "unknown network"},
		{d, l, h, "tcp", "localhost", "missing port"},
		{d, l, h, "unix", "/nonexistent/socket", "no such file"},
		{d, l, h, "tcp", addr.String()[len("127.0.0.1"):], "ServerName"}, // no host: there is nothing to check
	} {
		_, err := tc.d.Dial(guarded(t), tc.l, tc.network, tc.address, tc.h, nil)
		wantText(t, tc.network+" "+tc.address, err, tc.want)
	}
	h.heard(t, 0, 0)
	check()
}

// TestConnect: a client that begins on a loop's own goroutine, over IPv4, IPv6 and IPv4 as
// IPv6; the certificate is checked for the address.
func TestConnect(t *testing.T) {
	for _, tc := range []struct {
		listen string
		mapped bool
	}{{"127.0.0.1:0", false}, {"[::1]:0", false}, {"127.0.0.1:0", true}} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			addr := start(t, &Server{Handler: echo(), Addr: tc.listen}).(*net.TCPAddr).AddrPort()
			to := addr
			if tc.mapped {
				to = netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
			}
			l, x, h, echoed := startLoop(t, LoopConfig{}), clientContext(t, nil), newTally(), make(chan string, 1)
			h.open = func(c *Conn) {
				tlstest.Equal(t, "RemoteAddr", c.RemoteAddr().String(), addr.String())
				tlstest.Equal(t, "Data", c.Data, "data")
				c.Write([]byte("hello"))
			}
			h.data = func(c *Conn, p []byte) { echoed <- string(p); c.Close() }
			check := assertNoLeak(t)
			tlstest.Must(t, onLoopOf(t, l, func() error { return l.Connect(to, x, csslNone, h, "data") }))
			tlstest.Equal(t, "the echo", tlstest.Receive(t, echoed, "the echo"), "hello")
			tlstest.Must(t, tlstest.Receive(t, h.ends, "OnClose"))
			h.heard(t, 1, 1)
			check()
		})
	}
}

// TestConnectFails: what the system says at once is an error, with nothing heard; the rest
// comes to OnClose.
func TestConnectFails(t *testing.T) {
	l, x := startLoop(t, LoopConfig{}), clientContext(t, nil)
	mute, refusing := netip.MustParseAddrPort(muteListener(t).Addr().String()), netip.MustParseAddrPort(refusingAddr(t))
	wrong := start(t, &Server{Handler: echo(), Context: serverContext(t, "wrongname", nil)}).(*net.TCPAddr).AddrPort()
	stopped := startLoop(t, LoopConfig{})
	stopLoop(t, stopped)
	check := assertNoLeak(t)

	h := newTally()
	for to, want := range map[string]string{
		"":                    "not an IP address",
		"[fe80::1%nosuch0]:1": "no such network interface",
		"224.0.0.1:1":         "connect: network is unreachable", // TCP has no multicast
	} {
		addr, _ := netip.ParseAddrPort(to)
		err := l.Connect(addr, x, csslNone, h, nil)
		wantText(t, to, err, want)
		wantOp(t, err, "dial")
	}
	var config *cssl.ConfigError
	if err := l.Connect(mute, x, cssl.ConnConfig{ServerName: "a\x00b"}, h, nil); !errors.As(err, &config) {
		t.Errorf("a bad name: %v", err)
	}
	tlstest.IsError(t, "a stopped loop", stopped.Connect(mute, x, csslNone, h, nil), ErrLoopClosed)
	h.heard(t, 0, 0)

	remote := make(chan net.Addr, 1)
	err := l.Connect(refusing, x, csslNone, &hooks{closed: func(c *Conn, err error) { remote <- c.RemoteAddr(); h.OnClose(c, err) }}, nil)
	if err == nil { // the system may also say it at once
		tlstest.Equal(t, "RemoteAddr", tlstest.Receive(t, remote, "OnClose").String(), refusing.String())
		err = tlstest.Receive(t, h.ends, "OnClose")
	}
	tlstest.IsError(t, "refused", err, unix.ECONNREFUSED)
	if fd, err := startConnect(refusing, 0); err == nil { // it may be refused at once
		connecting, ended := ends(&hooks{})
		tlstest.Must(t, l.Attach(fd, x, csslLocalhost, connecting, nil))
		tlstest.IsError(t, "a socket that is still connecting", tlstest.Receive(t, ended, "OnClose"), unix.ECONNREFUSED)
	}

	h = newTally()
	tlstest.Must(t, l.Connect(wrong, x, csslNone, h, nil))
	wantText(t, "wrong name", tlstest.Receive(t, h.ends, "OnClose"), "IP address mismatch")
	h.heard(t, 0, 1)
	check()
}

// TestAttachConnecting: the address of a peer to which a socket was still connecting when it was attached
// is known in OnOpen.
func TestAttachConnecting(t *testing.T) {
	addr, listener := fullListener(t)
	l := startLoop(t, LoopConfig{})
	h, opened := opens(&hooks{})
	dial(t, l, clientContext(t, nil), addr, h)
	if got := onLoopOf(t, l, func() net.Addr { return l.slots[0].conn.RemoteAddr() }); got.String() != ":0" || got.Network() != "tcp" {
		t.Errorf("RemoteAddr is %v before it is connected; the test needs a socket that is still connecting", got)
	}
	f := os.NewFile(uintptr(listener), "listener")
	nl := tlstest.Value(net.FileListener(f))(t)
	f.Close()
	serveOn(t, &Server{Handler: echo()}, nl) // takes those that wait, so that there is room
	tlstest.Equal(t, "RemoteAddr", tlstest.Receive(t, opened, "OnOpen").RemoteAddr().String(), addr.String())
}
