package reactor

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// TestBadPeers (P10, P12, P25): garbage, plain HTTP, half a hello, a peer that vanishes and one that is
// too old: each is counted by its reason, and where there is something to say an alert
// reaches the peer. A connection on the same loop goes on through all of it.
func TestBadPeers(t *testing.T) {
	hello, garbage := clientHello(t), bytes.Repeat([]byte{0x16, 3, 3, 0, 5, 1, 2, 3, 4, 5}, 3)
	for _, tc := range []struct {
		name   string
		send   []byte
		end    bool   // the peer sends a FIN
		reset  bool   // the peer sends a RST
		reason string // as counted; "" is any
		alert  bool   // the peer reads an alert record
	}{
		{name: "garbage", send: bytes.Repeat([]byte("\x99garbage"), 200)}, // to which OpenSSL has nothing to say
		{name: "plain HTTP", send: []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), reason: "http request"},
		{name: "half a hello", send: hello[:len(hello)/2], end: true, reason: "closed by peer"},
		{name: "nothing", end: true, reason: "closed by peer"},
		{name: "a reset", send: hello[:10], reset: true, reason: unix.ECONNRESET.Error()},
		{name: "a hello, then garbage", send: append(bytes.Clone(hello), garbage...)}, // whose alert is encrypted
		{name: "a record of an impossible length", send: []byte{0x16, 3, 1, 0xff, 0xff, 1}, alert: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, opened := opens(echo())
			h, ended := ends(h)
			s := &Server{Handler: h}
			addr := start(t, s)
			good := goDial(t, addr)
			roundTrip(t, good, "before")
			tlstest.Receive(t, opened, "the good one's OnOpen")
			bad := rawDial(t, addr).(*net.TCPConn)
			bad.Write(tc.send)
			if tc.reset {
				tlstest.Until(t, "the connection", func() bool { return s.Stats().Handshaking == 1 })
				bad.SetLinger(0)
				bad.Close()
			} else {
				if tc.end {
					bad.CloseWrite()
				}
				answer := tlstest.Value(io.ReadAll(bad))(t)
				if tc.alert && !bytes.Contains(answer, []byte{21, 3}) {
					t.Errorf("the peer got no alert: %x", answer)
				}
			}
			if tlstest.Receive(t, ended, "OnClose") == nil || len(opened) > 0 {
				t.Errorf("OnClose got no error, or %d connections were opened", len(opened))
			}
			var st Stats
			tlstest.Until(t, "the count", func() bool { st = s.Stats(); return len(st.HandshakeFailures) == 1 && st.Conns == 1 })
			if tc.reason != "" && st.HandshakeFailures[tc.reason] != 1 {
				t.Errorf("counted as %v, want %q", st.HandshakeFailures, tc.reason)
			}
			roundTrip(t, good, "after")
			assertQuiet(t, s.Stats)
			assertTurns(t, s.Stats())
		})
	}
}

// clientHello is what Go's client sends first.
func clientHello(t *testing.T) []byte {
	a, b := net.Pipe()
	defer b.Close()
	go tls.Client(a, goConfig(t)).Handshake()
	buf := make([]byte, 4096)
	n := tlstest.Value(b.Read(buf))(t)
	a.Close()
	return buf[:n]
}

// TestAlertSides: each side learns whose alert ended the handshake, and which.
func TestAlertSides(t *testing.T) {
	hs, server := ends(&hooks{})
	hc, client := ends(&hooks{})
	addr := start(t, &Server{Handler: hs, Context: serverContext(t, "expired", nil)})
	l := startLoop(t, LoopConfig{})
	dial(t, l, clientContext(t, nil), addr, hc)
	for _, side := range []struct {
		ch   chan error
		want tlsio.AlertSide
	}{{server, tlsio.AlertReceived}, {client, tlsio.AlertSent}} {
		err := tlstest.Receive(t, side.ch, "OnClose")
		var e *tlsio.Error
		if !errors.As(err, &e) || e.AlertSide != side.want || !errors.Is(err, tlsio.AlertCertificateExpired) {
			t.Errorf("OnClose got %v", err)
		}
	}
	tlstest.Until(t, "the count", func() bool { return l.Stats().HandshakeFailures["certificate verify failed"] == 1 })
}

// TestAttachAfterStop (P32): the descriptor is closed, the error says why, and a
// goroutine that still holds a connection harms nobody's descriptor.
func TestAttachAfterStop(t *testing.T) {
	l := tlstest.Value(NewLoop(LoopConfig{}))(t)
	done := tlstest.Later(l.Run)
	s := &Server{Handler: echo()}
	addr := start(t, s)
	x := clientContext(t, nil)
	h, ended := ends(&hooks{})
	c := dialOpen(t, l, x, addr, h)
	// One goroutine writes all the while. Its wake-up must not hit a number that is used anew.
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for !stop.Load() {
			c.Write([]byte("x"))
			l.Do(func() {})
		}
	})
	l.Stop()
	tlstest.Must(t, tlstest.Receive(t, done, "Run"))
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), ErrLoopClosed)
	fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))(t)
	defer unix.Close(fds[1])
	tlstest.IsError(t, "Attach after Stop", l.Attach(fds[0], x, csslLocalhost, &hooks{}, nil), ErrLoopClosed)
	if n, err := unix.Read(fds[1], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("Attach after Stop left the descriptor open (%d, %v)", n, err)
	}
	if l.Do(func() {}) {
		t.Error("Do after Stop answered true")
	}
	stop.Store(true)
	writer.Wait()
	if fd := l.poller.FD(); fd >= 0 {
		t.Errorf("the poller still knows descriptor %d, which it has closed", fd)
	}
}
