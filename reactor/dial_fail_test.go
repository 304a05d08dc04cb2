package reactor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
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

// refusingAddr is a port that is taken and on which nobody listens.
func refusingAddr(t *testing.T) string {
	t.Helper()
	fd := tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() { unix.Close(fd) })
	tlstest.Must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return localAddr(t, fd)
}

func localAddr(t *testing.T, fd int) string {
	t.Helper()
	return addrPort(tlstest.Value(unix.Getsockname(fd))(t)).String()
}

// fullListener is a port whose backlog is full, so that the kernel drops who tries to connect.
// The caller closes the descriptor.
func fullListener(t *testing.T) (addr string, fd int) {
	t.Helper()
	fd = tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	tlstest.Must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	tlstest.Must(t, unix.Listen(fd, 0))
	addr = localAddr(t, fd)
	tcp := tlstest.Value(net.ResolveTCPAddr("tcp", addr))(t)
	// One fits; those after it wait for ever.
	rawDial(t, tcp)
	for range 2 {
		more := connect(t, tcp, 0)
		t.Cleanup(func() { unix.Close(more) })
	}
	return addr, fd
}

// stages are places where a Dial can get stuck. reached waits until it is there.
func stages(t *testing.T) map[string]func(d *Dialer, l *Loop) (address, op string, reached func()) {
	return map[string]func(d *Dialer, l *Loop) (string, string, func()){
		"resolve": func(d *Dialer, _ *Loop) (string, string, func()) {
			asked := make(chan struct{}, 100)
			d.Net = &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				asked <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}}}
			return "name.test:443", "dial", func() { tlstest.Receive(t, asked, "the resolver") }
		},
		"connect": func(d *Dialer, _ *Loop) (string, string, func()) {
			trying := make(chan struct{}, 100)
			d.Net = &net.Dialer{Control: func(_, _ string, _ syscall.RawConn) error {
				trying <- struct{}{}
				return nil
			}}
			addr, fd := fullListener(t)
			t.Cleanup(func() { unix.Close(fd) })
			return addr, "dial", func() { tlstest.Receive(t, trying, "the attempt to connect") }
		},
		"handshake": func(_ *Dialer, l *Loop) (string, string, func()) {
			return muteListener(t).Addr().String(), "handshake", func() {
				tlstest.Until(t, "the handshake to begin", func() bool { return l.Stats().Handshaking == 1 })
			}
		},
	}
}

// ofHandshake returns how often OnClose comes for a Dial that ends in op.
func ofHandshake(op string) int64 { return map[string]int64{"handshake": 1}[op] }

// TestDialCancel: the end of the context ends a Dial at each stage.
func TestDialCancel(t *testing.T) {
	for name, stage := range stages(t) {
		t.Run(name, func(t *testing.T) {
			l, d, h := startLoop(t, LoopConfig{}), dialer(t, nil), newTally()
			address, op, reached := stage(d, l)
			check := assertNoLeak(t)
			ctx, cancel := context.WithCancel(guarded(t))
			go func() { reached(); cancel() }()
			_, err := d.Dial(ctx, l, "tcp", address, h, nil)
			tlstest.IsError(t, "Dial", err, context.Canceled)
			wantOp(t, err, op)
			h.heard(t, 0, ofHandshake(op))
			if op == "handshake" && <-h.ends != context.Canceled {
				t.Error("OnClose got another error")
			}
			check()
		})
	}
}

// TestDialTimeout: the context's deadline, or a bound of Dialer.Net, ends a Dial
// at each stage.
func TestDialTimeout(t *testing.T) {
	for name, stage := range stages(t) {
		for _, bound := range []string{"context", "Timeout", "Deadline"} {
			t.Run(name+", "+bound, func(t *testing.T) {
				l, d := startLoop(t, LoopConfig{}), dialer(t, nil)
				address, op, _ := stage(d, l)
				check := assertNoLeak(t)
				// A busy machine may need more time to come as far as the stage.
				for timeout := 50 * time.Millisecond; ; timeout *= 2 {
					h := newTally()
					ctx := guarded(t)
					nd := new(net.Dialer)
					if d.Net != nil {
						*nd = *d.Net
					}
					switch bound {
					case "context":
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, timeout)
						defer cancel()
					case "Timeout":
						nd.Timeout = timeout
						d.Net = nd
					case "Deadline":
						nd.Deadline = time.Now().Add(timeout)
						d.Net = nd
					}
					_, err := d.Dial(ctx, l, "tcp", address, h, nil)
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("Dial answered %v", err)
					}
					var e *net.OpError
					if !errors.As(err, &e) || !e.Timeout() {
						t.Fatalf("%v (%T) is not a *net.OpError, or Timeout is false", err, err)
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

// TestDialHandshakeTimeout: the loop's own limit holds for a Dial without one.
func TestDialHandshakeTimeout(t *testing.T) {
	l, h := startLoop(t, LoopConfig{Limits: Limits{HandshakeTimeout: 50 * time.Millisecond}}), newTally()
	_, err := dialer(t, nil).Dial(guarded(t), l, "tcp", muteListener(t).Addr().String(), h, nil)
	var e net.Error
	if !errors.Is(err, ErrHandshakeTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &e) || !e.Timeout() ||
		errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial answered %v", err)
	}
	h.heard(t, 0, 1)
}

// TestDialPeerFails: a peer that refuses, is no TLS server, or goes away in the midst.
func TestDialPeerFails(t *testing.T) {
	serve := func(f func(c net.Conn)) func(t *testing.T) string {
		return func(t *testing.T) string {
			nl := muteListener(t)
			go func() {
				c, err := nl.Accept()
				if err != nil {
					return
				}
				c.SetDeadline(time.Now().Add(tlstest.Hang))
				f(c)
				c.Close()
			}()
			return nl.Addr().String()
		}
	}
	for _, tc := range []struct {
		name string
		addr func(t *testing.T) string
		op   string
		is   error
		text string
	}{
		{"refused", refusingAddr, "dial", unix.ECONNREFUSED, ""},
		{"closed after the hello", serve(func(c net.Conn) { c.Read(make([]byte, 4096)) }), "handshake", io.ErrUnexpectedEOF, ""},
		{"closed at once", serve(func(c net.Conn) { c.(*net.TCPConn).CloseWrite(); io.Copy(io.Discard, c) }), "handshake", io.ErrUnexpectedEOF, ""},
		{"reset", serve(func(c net.Conn) { c.Read(make([]byte, 10)); c.(*net.TCPConn).SetLinger(0) }), "handshake", unix.ECONNRESET, ""},
		{"not TLS", serve(func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "220 mail.test ESMTP\r\n")
			io.Copy(io.Discard, c)
		}), "handshake", nil, "wrong version number"},
		{"alert", serve(func(c net.Conn) {
			c.Read(make([]byte, 4096))
			c.Write([]byte{21, 3, 3, 0, 2, 2, 40})
			io.Copy(io.Discard, c)
		}), "handshake", tlsio.AlertHandshakeFailure, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, h, d := startLoop(t, LoopConfig{}), newTally(), dialer(t, nil)
			_, err := d.Dial(guarded(t), l, "tcp", tc.addr(t), h, nil)
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("Dial answered %v, want %v %s", err, tc.is, tc.text)
			}
			wantOp(t, err, tc.op)
			h.heard(t, 0, ofHandshake(tc.op))
		})
	}
}

// TestDialLoopStops: a loop that stops before, or during the handshake, ends the Dial.
func TestDialLoopStops(t *testing.T) {
	nl, d := muteListener(t), dialer(t, nil)
	for _, during := range []bool{false, true} {
		l, h := startLoop(t, LoopConfig{}), newTally()
		check := assertNoLeak(t)
		if during {
			go func() {
				tlstest.Until(t, "the handshake to begin", func() bool { return l.Stats().Handshaking == 1 })
				l.Stop()
			}()
		} else {
			l.Stop()
			tlstest.Until(t, "the loop to stop", func() bool { return !l.Do(func() {}) })
		}
		_, err := d.Dial(guarded(t), l, "tcp", nl.Addr().String(), h, nil)
		if !errors.Is(err, ErrLoopClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial answered %v", err)
		}
		wantOp(t, err, "handshake")
		if during {
			h.heard(t, 0, 1)
		} else {
			h.heard(t, 0, 0)
		}
		check()
	}
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
		if _, err := d.Dial(ctx, l, "tcp", nl.Addr().String(), h, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial answered %v", err)
		}
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
