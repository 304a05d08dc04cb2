package reactor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// TestStartTLSDrain: what is written while the last bytes in the clear leave makes the queue as long as the high
// watermark, as Queued counts it. OnDrain follows, although the handshake has begun meanwhile.
func TestStartTLSDrain(t *testing.T) {
	const high = 64
	wrote, drained := false, make(chan struct{}, 1)
	h := echo()
	h.drain = func(*Conn) { drained <- struct{}{} }
	s := &Server{Handler: h, Session: session.Config{HighWater: high, LowWater: high / 2},
		Plain: plainFunc(func(c *Conn, p []byte) int {
			c.Write(make([]byte, high-1))
			if err := c.StartTLS(StartTLSConfig{}); err != nil {
				t.Error(err)
			}
			return len(p)
		}),
		Trace: func(c *Conn, op tlsio.Op, _ tlsio.Result, _ session.Event) {
			if op == tlsio.OpWrite && !wrote {
				wrote = true
				c.Write([]byte("behind"))
				if n := c.Queued(); n < high {
					t.Errorf("%d bytes queued: the test needs more", n)
				}
			}
		}}
	rawDial(t, start(t, s)).Write([]byte("a"))
	tlstest.Receive(t, drained, "OnDrain")
}

// TestPlainTurns: many small messages that come at once take many turns, and other connections have theirs in between.
func TestPlainTurns(t *testing.T) {
	const size, turnBytes, most = 60_000, 8 << 10, 200 // calls in a turn
	var l *Loop
	var in tlstest.Stream
	calls, peak, before := map[uint64]int{}, 0, -1
	p := plainFunc(func(c *Conn, p []byte) int {
		if c.server == nil {
			before = in.N
			return len(p)
		}
		in.Check(p[:1])
		calls[l.stats.Turns]++
		peak = max(peak, calls[l.stats.Turns])
		return 1
	})
	s := &Server{Handler: echo(), Plain: p, Session: session.Config{TurnBytes: turnBytes}}
	addr := start(t, s)
	l = s.loops[0]
	near, far := socketPair(t)
	t.Cleanup(func() { unix.Close(far) })
	tlstest.Must(t, l.AttachPlain(near, p, nil, csslNone, echo(), nil))
	raw := rawDial(t, addr)
	tlstest.Until(t, "both", func() bool { return s.Stats().Plain == 2 })
	release := hold(l)
	tlstest.Value(raw.Write(new(tlstest.Stream).Next(size)))(t)
	tlstest.Value(unix.Write(far, []byte("a")))(t)
	release()
	tlstest.Until(t, "all messages", func() bool { return onLoopOf(t, l, func() bool { return in.N >= size }) })
	assertQuiet(t, s.Stats)
	inLoop(t, l, func() {
		wantAll(t, &in, size)
		atMost(t, "messages in a turn", peak, most)
		if atMost(t, "messages before that of the other connection", before, most); before < 0 {
			t.Error("the other connection was not served")
		}
	})
}

// TestPlainReplies: while the peer of many small messages does not read, its replies stop at the high watermark, and the loop
// rests. None is lost or doubled, and its FIN comes behind all.
func TestPlainReplies(t *testing.T) {
	const count, high = 60_000, 8 << 10
	const reply = "%051d\n"
	for _, tc := range []struct {
		name string
		do   func(c *Conn)
		all  bool // are answered
	}{
		{"nothing", func(*Conn) {}, true},
		{"Resume", (*Conn).Resume, true},
		{"Close", func(c *Conn) { c.Close() }, false},
		{"CloseWrite", (*Conn).CloseWrite, false},
		{"StartTLS", func(c *Conn) { c.StartTLS(StartTLSConfig{}) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var calls, most int
			var conn *Conn
			h, ended := ends(&hooks{})
			s := &Server{Handler: h, Session: session.Config{HighWater: high}, Plain: plainFunc(func(c *Conn, _ []byte) int {
				conn = c
				fmt.Fprintf(c, reply, calls)
				calls++
				most = max(most, c.Queued())
				return 1
			})}
			complete(t, s)
			ls := smallListener(t, 4096)
			serveOn(t, s, ls)
			raw := rawDial(t, ls.Addr())
			tlstest.Value(raw.Write(make([]byte, count)))(t)
			raw.(*net.TCPConn).CloseWrite()
			stuck := func() {
				tlstest.Until(t, "the socket to be full", func() bool { return s.Stats().Queued >= high/4 && !spins(t, s.loops[0]) })
				assertQuiet(t, s.Stats)
			}
			stuck()
			answered := onLoopOf(t, s.loops[0], func() int { tc.do(conn); return calls })
			stuck()
			got := string(tlstest.Value(io.ReadAll(raw))(t))
			if tc.all {
				answered = count
			}
			var want strings.Builder
			for i := range answered {
				fmt.Fprintf(&want, reply, i)
			}
			if got != want.String() {
				t.Errorf("%d bytes of replies, want %d, or they differ", len(got), want.Len())
			}
			err := tlstest.Receive(t, ended, "OnClose")
			if tc.name == "StartTLS" {
				tlstest.IsError(t, "OnClose", err, tlsio.ErrPlaintextAfterStartTLS)
			} else if tc.name != "CloseWrite" { // what is left cannot be answered
				tlstest.Must(t, err)
			}
			inLoop(t, s.loops[0], func() { atMost(t, "queued", most, high+len(fmt.Sprintf(reply, 0))) })
		})
	}
}

// TestPlainResume: a Resume inside OnPlain, or on another goroutine before OnPlain returns, is not lost.
func TestPlainResume(t *testing.T) {
	first := true
	s := &Server{Handler: echo(), Plain: plainFunc(func(c *Conn, p []byte) int {
		if first {
			first = false
			c.Pause()
			tlstest.Must(t, tlstest.Receive(t, tlstest.Later(func() error { c.Resume(); return nil }), "Resume"))
			return 0
		}
		c.Write(p)
		return len(p)
	})}
	roundTrip(t, rawDial(t, start(t, s)), "again")
}

// TestPlainLong: more than what may stay unconsumed is no error while OnPlain is not called: the handler has paused, or
// started TLS.
func TestPlainLong(t *testing.T) {
	const size = maxPlain + 100
	for name, first := range map[string]func(*Conn){
		"Pause":    func(c *Conn) { c.Pause() },
		"StartTLS": func(c *Conn) { tlstest.Must(t, c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverDiscard})) },
	} {
		t.Run(name, func(t *testing.T) {
			h, ended := ends(echo())
			whole := make(chan *Conn, 2)
			paused := false
			s := &Server{Handler: h, Plain: plainFunc(func(c *Conn, p []byte) int {
				switch {
				case paused:
					c.Write([]byte("long\n"))
					return len(p)
				case len(p) == size:
					paused = true
					first(c)
					whole <- c
				}
				return 0
			})}
			addr := start(t, s)
			raw := rawDial(t, addr)
			tlstest.Until(t, "the connection", func() bool { return s.Stats().Plain == 1 })
			release := hold(s.loops[0])
			tlstest.Value(raw.Write(make([]byte, size)))(t)
			tlstest.Until(t, "all to arrive", func() bool { n, _ := unread(s.loops[0]); return n == size })
			release()
			c := tlstest.Receive(t, whole, "OnPlain with all")
			turn(t, c.loop)
			if name == "StartTLS" {
				roundTrip(t, goOver(t, raw), "secret")
			} else {
				c.Resume()
				says(t, raw, "long")
			}
			tlstest.Nothing(t, ended, "OnClose")
		})
	}
}

// TestStartTLSTooEarly: there is no StartTLS before OnConnect.
func TestStartTLSTooEarly(t *testing.T) {
	h, ended := ends(&hooks{})
	s := &Server{Handler: h, Plain: &lines{}, Header: func(c *Conn, p []byte) (int, bool, error) {
		return 0, false, errors.Join(c.StartTLS(StartTLSConfig{}), errors.New("no error"))
	}}
	rawDial(t, start(t, s)).Write([]byte("a"))
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tlsio.ErrState)
}

// TestStartTLSRoles: the side that has accepted is the client of TLS, and the side that has connected is its server. The
// ClientHello may come together with the last line in the clear.
func TestStartTLSRoles(t *testing.T) {
	for _, records := range recordKinds {
		t.Run(records.String(), func(t *testing.T) {
			server, client := serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = records }), clientContext(t, nil)
			h, ended := ends(&hooks{open: func(c *Conn) { c.Write([]byte("secret")) }, data: func(c *Conn, p []byte) {
				tlstest.Equal(t, "the echo", string(p), "secret")
				c.Close()
			}})
			s := &Server{Handler: h, Plain: &lines{line: func(c *Conn, _ string) {
				c.Write([]byte("go\n"))
				if err := c.StartTLS(StartTLSConfig{Context: client, Conn: csslLocalhost}); err != nil {
					t.Error(err)
				}
			}}}
			p := &lines{connect: func(c *Conn) { c.Write([]byte("turn\n")) }, line: func(c *Conn, _ string) {
				if err := c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverTLS}); err != nil {
					t.Error(err)
				}
			}}
			near, nearEnded := ends(echo())
			addr := start(t, s).(*net.TCPAddr).AddrPort()
			tlstest.Must(t, startLoop(t, LoopConfig{}).ConnectPlain(addr, p, server, csslNone, near, nil))
			tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
			tlstest.Must(t, tlstest.Receive(t, nearEnded, "OnClose of the side that connected"))
			tlstest.Until(t, "the counts", func() bool { st := s.Stats(); return st.Conns+st.Plain+st.Handshaking == 0 && st.Handshakes == 1 })
		})
	}
}

// TestAttachPlainFails: the loop owns the descriptor, whatever is wrong: it is closed.
func TestAttachPlainFails(t *testing.T) {
	pipe := func(t *testing.T) (int, int) {
		var fds [2]int
		tlstest.Must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
		return fds[0], fds[1]
	}
	alone := func(t *testing.T) (int, int) {
		return tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t), -1
	}
	silent := plainFunc(func(*Conn, []byte) int { return 0 })
	for _, tc := range []struct {
		name  string
		make  func(*testing.T) (fd, other int)
		p     PlainHandler
		stop  bool
		err   error // of AttachPlain
		close error // of OnClose
	}{
		{"the loop has stopped", socketPair, silent, true, ErrLoopClosed, nil},
		{"no descriptor", func(*testing.T) (int, int) { return -1, -1 }, silent, false, unix.EBADF, nil},
		{"not a socket", pipe, silent, false, nil, unix.ENOTSOCK},
		{"not connected", alone, silent, false, nil, unix.ENOTCONN},
		{"no PlainHandler", socketPair, nil, false, nil, ErrPanic},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := startLoop(t, LoopConfig{})
			if tc.stop {
				l.Stop()
				tlstest.Until(t, "the loop to stop", func() bool { return !l.Do(func() {}) })
			}
			h, ended := ends(&hooks{})
			fd, other := tc.make(t)
			tlstest.IsError(t, "AttachPlain", l.AttachPlain(fd, tc.p, nil, csslNone, h, nil), tc.err)
			if tc.err == nil {
				tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tc.close)
			}
			if other >= 0 {
				tlstest.Until(t, "the other end to see the end", func() bool {
					p := []unix.PollFd{{Fd: int32(other)}}
					n, err := unix.Poll(p, 0)
					return err == nil && n == 1 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
				})
				tlstest.Must(t, unix.Close(other))
			}
			tlstest.Nothing(t, ended, "a second OnClose")
		})
	}
}

// TestPlainTrace: Trace gets what happens in plain text and then in TLS.
func TestPlainTrace(t *testing.T) {
	var ops tlstest.Buffer
	last := tlsio.Op(255)
	h, ended := ends(echo())
	s := &Server{Handler: h, Plain: startTLS(t, StartTLSConfig{}), Trace: func(_ *Conn, op tlsio.Op, r tlsio.Result, wait session.Event) {
		if op == tlsio.OpRead && r.Want == tlsio.WantRead && wait != session.Readable && wait != 0 {
			t.Errorf("a read waits for input, and the connection for %v", wait)
		}
		if op != last { // how often a step is tried depends on what comes together
			fmt.Fprint(&ops, op, " ")
		}
		last = op
	}}
	raw := rawDial(t, start(t, s))
	says(t, raw, "hello")
	io.WriteString(raw, "STARTTLS\n")
	says(t, raw, "go ahead")
	c := goOver(t, raw)
	says(t, c, "encrypted")
	tlstest.Must(t, c.Close())
	tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
	tlstest.Equal(t, "operations", ops.String(), "handshake read write read write handshake read write read shutdown ")
}

// TestPlainPlaces: a connection counts for MaxConns in plain text and after, and for MaxHandshakes from StartTLS on: if
// its peer then says nothing, it loses its place to one that waits.
func TestPlainPlaces(t *testing.T) {
	h, ended := ends(echo())
	s := &Server{Handler: h, Plain: startTLS(t, StartTLSConfig{}), Limits: Limits{MaxConns: 2, MaxHandshakes: 1}}
	addr := start(t, s)
	first, second := rawDial(t, addr), rawDial(t, addr)
	says(t, first, "hello")
	says(t, second, "hello")
	wantEnd(t, rawDial(t, addr))
	s.SetLimits(Limits{MaxConns: 3, MaxHandshakes: 1, HandshakeTimeout: tlstest.Hang})
	io.WriteString(first, "STARTTLS\n")
	tlstest.Until(t, "the handshake", func() bool { return s.Stats().Handshaking == 1 })
	third := rawDial(t, addr)
	io.WriteString(second, "NOOP\n") // it is not a handshake
	says(t, second, "NOOP")
	tlstest.Nothing(t, ended, "the end while it has its time")
	pass(t, s.loops[0], tlstest.Hang/patienceShare)
	says(t, third, "hello")
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), ErrHandshakeEvicted)
}

// TestDialPlainEnds: a Dial whose connection does not come to TLS.
func TestDialPlainEnds(t *testing.T) {
	errTest := errors.New("of the test")
	for _, tc := range []struct {
		name       string
		line       func(c *Conn, cancel func())
		fin        bool // of the peer, behind its greeting
		dial, ends error
	}{
		{"Close", func(c *Conn, _ func()) { c.Close() }, false, net.ErrClosed, nil},
		{"Abort", func(c *Conn, _ func()) { c.Abort(errTest) }, false, errTest, errTest},
		{"the peer ends", func(*Conn, func()) {}, true, net.ErrClosed, nil},
		{"given up", func(_ *Conn, cancel func()) { cancel() }, false, context.Canceled, context.Canceled},
		{"given up after StartTLS", func(c *Conn, cancel func()) { c.StartTLS(StartTLSConfig{}); cancel() }, false, context.Canceled, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ls := muteListener(t)
			served := tlstest.Later(func() error {
				raw, err := ls.Accept()
				if err != nil {
					return err
				}
				defer raw.Close()
				io.WriteString(raw, "hello\n")
				if tc.fin {
					raw.(*net.TCPConn).CloseWrite()
				}
				io.ReadAll(raw)
				return nil
			})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			h, ended := ends(&hooks{open: func(*Conn) { t.Error("OnOpen") }})
			d := &Dialer{Context: clientContext(t, nil), Config: csslLocalhost, Plain: &lines{line: func(c *Conn, _ string) { tc.line(c, cancel) }}}
			_, err := d.Dial(ctx, startLoop(t, LoopConfig{}), "tcp", ls.Addr().String(), h, nil)
			tlstest.IsError(t, "Dial", err, tc.dial)
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tc.ends)
			tlstest.Must(t, tlstest.Receive(t, served, "the server"))
		})
	}
}

// TestPlainRace: StartTLS, Write, Close and the rest from goroutines of their own, on both sides, in any order. Then
// Shutdown ends what is left, wherever it is. OnClose comes once for each connection, and nothing is left.
func TestPlainRace(t *testing.T) {
	const conns = 300
	before := live.Conns()
	var wg sync.WaitGroup
	acts := []func(*Conn){
		func(c *Conn) { c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverTLS}) },
		func(c *Conn) { c.StartTLS(StartTLSConfig{}) },
		func(c *Conn) { c.Write([]byte("line\n")) },
		func(c *Conn) { c.Pause(); c.Queued(); c.Resume() },
		func(c *Conn) { c.KeyUpdate(true) },
		func(c *Conn) { c.Close() },
		func(c *Conn) { c.CloseWrite() },
		func(c *Conn) { c.Abort(nil) },
	}
	p := &lines{line: func(*Conn, string) {}, connect: func(c *Conn) {
		first := c.ID() // some have no end of their own
		for i := range uint64(4) {
			wg.Go(func() { acts[(first+i*i)%uint64(len(acts))](c) })
		}
	}}
	var closes, once atomic.Int64
	h := &hooks{closed: func(c *Conn, _ error) {
		closes.Add(1)
		if c.Data == nil {
			once.Add(1)
		}
		c.Data = true
	}}
	s := &Server{Handler: h, Plain: p}
	addr := start(t, s).(*net.TCPAddr).AddrPort()
	l := startLoop(t, LoopConfig{})
	x := clientContext(t, nil)
	for range conns {
		tlstest.Must(t, l.ConnectPlain(addr, p, x, csslLocalhost, h, nil))
	}
	tlstest.Until(t, "all to be accepted", func() bool { return s.Stats().Accepted == conns })
	tlstest.Must(t, s.Shutdown(context.Background()))
	tlstest.Until(t, "the clients to end", func() bool { return l.Stats().Conns == 0 })
	wg.Wait()
	tlstest.Equal(t, "OnClose", closes.Load(), 2*conns)
	tlstest.Equal(t, "first OnClose", once.Load(), 2*conns)
	tlstest.Equal(t, "connections of OpenSSL", live.Conns(), before)
}
