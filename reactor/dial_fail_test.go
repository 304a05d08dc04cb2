package reactor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// muteListener takes connections and says nothing.
func muteListener(t *testing.T) net.Listener {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { l.Close() })
	return l
}

// boundSocket is a port that is taken and on which nobody listens yet. The caller closes the descriptor.
func boundSocket(t *testing.T) (addr netip.AddrPort, fd int) {
	t.Helper()
	fd = tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	tlstest.Must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return addrPort(tlstest.Value(unix.Getsockname(fd))(t)), fd
}

// refusingAddr is a port that is taken and on which nobody listens.
func refusingAddr(t *testing.T) string {
	addr, fd := boundSocket(t)
	t.Cleanup(func() { unix.Close(fd) })
	return addr.String()
}

// fullListener is a port whose backlog is full, so that the kernel drops who tries to connect.
// The caller closes the descriptor.
func fullListener(t *testing.T) (addr *net.TCPAddr, fd int) {
	t.Helper()
	port, fd := boundSocket(t)
	addr = net.TCPAddrFromAddrPort(port)
	tlstest.Must(t, unix.Listen(fd, 0))
	// One fits; those after it wait for ever.
	rawDial(t, addr)
	for range 2 {
		more := connect(t, addr, 0)
		t.Cleanup(func() { unix.Close(more) })
	}
	return addr, fd
}

// stages are places where a Dial can get stuck. reached waits until it is there.
func stages(t *testing.T) map[string]func(nd *net.Dialer, l *Loop) (address, op string, reached func()) {
	return map[string]func(nd *net.Dialer, l *Loop) (string, string, func()){
		"resolve": func(nd *net.Dialer, _ *Loop) (string, string, func()) {
			asked := make(chan struct{}, 100)
			nd.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				asked <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			return "name.test:443", "dial", func() { tlstest.Receive(t, asked, "the resolver") }
		},
		"connect": func(nd *net.Dialer, _ *Loop) (string, string, func()) {
			trying := make(chan struct{}, 100)
			nd.Control = func(_, _ string, _ syscall.RawConn) error { trying <- struct{}{}; return nil }
			addr, fd := fullListener(t)
			t.Cleanup(func() { unix.Close(fd) })
			return addr.String(), "dial", func() { tlstest.Receive(t, trying, "the attempt to connect") }
		},
		"handshake": func(_ *net.Dialer, l *Loop) (string, string, func()) {
			return muteListener(t).Addr().String(), "handshake", func() { untilHandshaking(t, l) }
		},
	}
}

// untilHandshaking waits until l has one handshake.
func untilHandshaking(t *testing.T, l *Loop) {
	tlstest.Until(t, "the handshake to begin", func() bool { return l.Stats().Handshaking == 1 })
}

// ofHandshake returns how often OnClose comes for a Dial that ends in op.
func ofHandshake(op string) int64 { return map[string]int64{"handshake": 1}[op] }

// TestDialEnds: the end of the context, its deadline, or a bound of Dialer.Net ends a Dial at each stage.
func TestDialEnds(t *testing.T) {
	for name, stage := range stages(t) {
		for _, by := range []string{"cancel", "context", "Timeout", "Deadline"} {
			t.Run(name+", "+by, func(t *testing.T) {
				l, d := startLoop(t, LoopConfig{}), dialer(t, nil)
				d.Net = new(net.Dialer)
				address, op, reached := stage(d.Net, l)
				check := assertNoLeak(t)
				// A busy machine may need more time to come as far as the stage.
				for timeout := 50 * time.Millisecond; ; timeout *= 2 {
					h, want := newTally(), context.DeadlineExceeded
					ctx, cancel := context.WithCancel(guarded(t))
					switch by {
					case "cancel":
						want = context.Canceled
						go func() { reached(); cancel() }()
					case "context":
						ctx, cancel = context.WithTimeout(ctx, timeout)
					case "Timeout":
						d.Net.Timeout = timeout
					case "Deadline":
						d.Net.Deadline = time.Now().Add(timeout)
					}
					_, err := d.Dial(ctx, l, "tcp", address, h, nil)
					cancel()
					var e *net.OpError
					if !errors.Is(err, want) || !errors.As(err, &e) || e.Timeout() != (by != "cancel") {
						t.Fatalf("%v (%T) is not a *net.OpError with %v, or Timeout is wrong", err, err, want)
					}
					if by == "cancel" {
						wantOp(t, err, op)
						h.heard(t, 0, ofHandshake(op))
						if op == "handshake" {
							tlstest.Equal(t, "OnClose", <-h.ends, want)
						}
						break
					}
					if e.Op == op {
						break
					}
					if timeout > tlstest.Hang {
						t.Fatalf("it ends in %q, want %q", e.Op, op)
					}
				}
				check()
			})
		}
	}
}

// TestDialPeerFails: a peer that refuses, is no TLS server, goes away in the midst, or is silent for longer than
// the loop's own limit.
func TestDialPeerFails(t *testing.T) {
	serve := func(f func(c net.Conn)) func(t *testing.T) string {
		return func(t *testing.T) string {
			nl := muteListener(t)
			go func() {
				c, err := nl.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(tlstest.Hang))
				f(c)
			}()
			return nl.Addr().String()
		}
	}
	answer := func(text string) func(t *testing.T) string {
		return serve(func(c net.Conn) { c.Read(make([]byte, 4096)); io.WriteString(c, text); io.Copy(io.Discard, c) })
	}
	for _, tc := range []struct {
		name  string
		addr  func(t *testing.T) string
		is    error
		text  string        // of the error
		limit time.Duration // of the loop
	}{
		{name: "refused", addr: refusingAddr, is: unix.ECONNREFUSED},
		{name: "closed after the hello", addr: serve(func(c net.Conn) { c.Read(make([]byte, 4096)) }), is: io.ErrUnexpectedEOF},
		{name: "closed at once", addr: serve(func(c net.Conn) { c.(*net.TCPConn).CloseWrite(); io.Copy(io.Discard, c) }), is: io.ErrUnexpectedEOF},
		{name: "reset", addr: serve(func(c net.Conn) { c.Read(make([]byte, 10)); c.(*net.TCPConn).SetLinger(0) }), is: unix.ECONNRESET},
		{name: "not TLS", addr: answer("220 mail.test ESMTP\r\n"), text: "wrong version number"},
		{name: "alert", addr: answer("\x15\x03\x03\x00\x02\x02\x28"), is: tlsio.AlertHandshakeFailure},
		{name: "silence", addr: serve(func(c net.Conn) { io.Copy(io.Discard, c) }), is: ErrHandshakeTimeout, limit: 50 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, h, d := startLoop(t, LoopConfig{Limits: Limits{HandshakeTimeout: tc.limit}}), newTally(), dialer(t, nil)
			_, err := d.Dial(guarded(t), l, "tcp", tc.addr(t), h, nil)
			if wantText(t, "Dial", err, tc.text); tc.is != nil {
				tlstest.IsError(t, "Dial", err, tc.is)
			}
			var e *net.OpError
			tlstest.Equal(t, "a timeout", errors.As(err, &e) && e.Timeout(), tc.limit > 0)
			tlstest.Equal(t, "one of the context", errors.Is(err, context.DeadlineExceeded), false)
			op := "handshake"
			if tc.is == unix.ECONNREFUSED {
				op = "dial"
			}
			wantOp(t, err, op)
			h.heard(t, 0, ofHandshake(op))
		})
	}
}

// TestDialLoopStops: a loop that stops before, or during the handshake, ends the Dial.
func TestDialLoopStops(t *testing.T) {
	nl, d := muteListener(t), dialer(t, nil)
	for _, during := range []int64{0, 1} {
		l, h := startLoop(t, LoopConfig{}), newTally()
		check := assertNoLeak(t)
		if during == 1 {
			go func() { untilHandshaking(t, l); l.Stop() }()
		} else {
			stopLoop(t, l)
		}
		_, err := d.Dial(guarded(t), l, "tcp", nl.Addr().String(), h, nil)
		tlstest.IsError(t, "Dial", err, ErrLoopClosed)
		tlstest.IsError(t, "Dial", err, net.ErrClosed)
		wantOp(t, err, "handshake")
		h.heard(t, 0, during)
		check()
	}
}

// stopLoop returns when l has stopped.
func stopLoop(t *testing.T, l *Loop) {
	l.Stop()
	tlstest.Until(t, "the loop to stop", func() bool { return !l.Do(func() {}) })
}

// TestDialLoopBusy: a context that ends before the loop has taken the connection frees it; the
// handler hears nothing, also when the loop comes to it later, or was never run.
func TestDialLoopBusy(t *testing.T) {
	nl, d, h := muteListener(t), dialer(t, nil), newTally()
	busy := startLoop(t, LoopConfig{})
	idle := tlstest.Value(NewLoop(LoopConfig{}))(t)
	for _, l := range []*Loop{busy, idle} {
		release := func() {}
		if l == busy {
			release = hold(l)
		}
		check := assertNoLeak(t)
		alive := live.Conns()
		ctx, cancel := context.WithCancel(guarded(t))
		go func() {
			tlstest.Until(t, "the connection to be made", func() bool { return live.Conns() > alive })
			cancel()
		}()
		_, err := d.Dial(ctx, l, "tcp", nl.Addr().String(), h, nil)
		tlstest.IsError(t, "Dial", err, context.Canceled)
		check()
		release()
	}
	turn(t, busy)
	idle.Stop()
	tlstest.Must(t, idle.Run())
	h.heard(t, 0, 0)
}

// TestDialOnOpen: what a handler does in OnOpen decides what Dial answers.
func TestDialOnOpen(t *testing.T) {
	addr := start(t, &Server{Handler: echo()})
	d := dialer(t, nil)
	refused := errors.New("not this one")
	for _, tc := range []struct {
		name       string
		open       func(c *Conn)
		want, ends error
	}{
		{"panic", func(*Conn) { panic("boom") }, ErrPanic, ErrPanic},
		{"Abort", func(c *Conn) { c.Abort(refused) }, refused, refused},
		{"Abort without a cause", func(c *Conn) { c.Abort(nil) }, net.ErrClosed, nil},
		{"Close", func(c *Conn) { c.Close() }, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, h := startLoop(t, LoopConfig{}), newTally()
			h.open = tc.open
			check := assertNoLeak(t)
			c, err := d.Dial(guarded(t), l, "tcp", addr.String(), h, nil)
			if !errors.Is(err, tc.want) || (c == nil) != (err != nil) {
				t.Errorf("Dial answered %v, %v; want %v", c, err, tc.want)
			}
			if err != nil {
				wantOp(t, err, "handshake")
				h.heard(t, 1, 1)
			}
			tlstest.Equal(t, "OnClose", tlstest.Receive(t, h.ends, "OnClose"), tc.ends)
			check()
		})
	}
}
