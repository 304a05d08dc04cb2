package reactor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// TestConnect: a client that begins on a loop's own goroutine, over IPv4, IPv6 and IPv4 as
// IPv6; the certificate is checked for the address.
func TestConnect(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "mapped"} {
		t.Run(listen, func(t *testing.T) {
			if listen == "[::1]:0" {
				probe, err := net.Listen("tcp6", listen)
				if err != nil {
					t.Skipf("this machine has no IPv6 on loopback: %v", err)
				}
				probe.Close()
			}
			s := &Server{Handler: echo()}
			if listen != "mapped" {
				s.Addr = listen
			}
			addr := start(t, s).(*net.TCPAddr).AddrPort()
			to := addr
			if listen == "mapped" {
				to = netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
			}
			l, x, h := startLoop(t, LoopConfig{}), clientContext(t, nil), newTally()
			echoed := make(chan string, 1)
			h.open = func(c *Conn) {
				if c.RemoteAddr().String() != addr.String() || c.Data != "data" {
					t.Errorf("RemoteAddr %v, Data %v", c.RemoteAddr(), c.Data)
				}
				if v, err := unix.GetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); v == 0 || err != nil {
					t.Errorf("TCP_NODELAY is %d, %v", v, err)
				}
				c.Write([]byte("hello"))
			}
			h.data = func(c *Conn, p []byte) { echoed <- string(p); c.Close() }
			check := assertNoLeak(t)
			l.Do(func() {
				if err := l.Connect(to, x, csslNone, h, "data"); err != nil {
					t.Error(err)
				}
			})
			if got := tlstest.Receive(t, echoed, "the echo"); got != "hello" {
				t.Errorf("echo %q", got)
			}
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
	stopped.Stop()
	tlstest.Until(t, "the loop to stop", func() bool { return !stopped.Do(func() {}) })
	check := assertNoLeak(t)

	for _, tc := range []struct {
		to   netip.AddrPort
		want string
	}{
		{netip.AddrPort{}, "not an IP address"},
		{netip.MustParseAddrPort("[fe80::1%nosuch0]:1"), "no such network interface"},
		{netip.MustParseAddrPort("224.0.0.1:1"), "connect: network is unreachable"}, // TCP has no multicast
	} {
		h := newTally()
		err := l.Connect(tc.to, x, csslNone, h, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.to, err, tc.want)
		}
		wantOp(t, err, "dial")
		h.heard(t, 0, 0)
	}

	h := newTally()
	var config *cssl.ConfigError
	if err := l.Connect(mute, x, cssl.ConnConfig{ServerName: "a\x00b"}, h, nil); !errors.As(err, &config) {
		t.Errorf("a bad name: %v", err)
	}
	if err := stopped.Connect(mute, x, csslNone, h, nil); !errors.Is(err, ErrLoopClosed) {
		t.Errorf("a stopped loop: %v", err)
	}
	h.heard(t, 0, 0)

	remote := make(chan net.Addr, 1)
	err := l.Connect(refusing, x, csslNone, &hooks{closed: func(c *Conn, err error) { remote <- c.RemoteAddr(); h.OnClose(c, err) }}, nil)
	if err == nil { // the system may also say it at once
		if got := tlstest.Receive(t, remote, "OnClose"); got.String() != refusing.String() {
			t.Errorf("RemoteAddr is %v, want %v", got, refusing)
		}
		err = tlstest.Receive(t, h.ends, "OnClose")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}

	h = newTally()
	tlstest.Must(t, l.Connect(wrong, x, csslNone, h, nil))
	if err := tlstest.Receive(t, h.ends, "OnClose"); err == nil || !strings.Contains(err.Error(), "IP address mismatch") {
		t.Errorf("wrong name: %v", err)
	}
	h.heard(t, 0, 1)
	check()
}

// TestAttachConnecting: the address of a peer to which a socket was still connecting when it was attached
// is known in OnOpen.
func TestAttachConnecting(t *testing.T) {
	addr, listener := fullListener(t)
	to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	l, x := startLoop(t, LoopConfig{Limits: Limits{HandshakeTimeout: tlstest.Hang}}), clientContext(t, nil)
	remote := make(chan string, 2)
	h := &hooks{open: func(c *Conn) { remote <- c.RemoteAddr().String() }}
	tlstest.Must(t, l.Attach(connect(t, to, 0), x, csslLocalhost, h, nil))
	before := make(chan net.Addr, 1)
	l.Do(func() { before <- l.slots[0].conn.RemoteAddr() })
	if got := tlstest.Receive(t, before, "the connection"); got.String() != ":0" || got.Network() != "tcp" {
		t.Errorf("RemoteAddr is %v before it is connected; the test needs a socket that is still connecting", got)
	}
	f := os.NewFile(uintptr(listener), "listener")
	nl := tlstest.Value(net.FileListener(f))(t)
	f.Close()
	serveOn(t, &Server{Handler: echo()}, nl) // takes those that wait, so that there is room
	if got := tlstest.Receive(t, remote, "OnOpen"); got != addr {
		t.Errorf("RemoteAddr is %q in OnOpen, want %v", got, addr)
	}
}
