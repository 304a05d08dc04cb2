package reactor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// smallest asks for socket buffers that the kernel raises to its minimum.
const smallest = 1

// assertTurns fails if a loop made many more turns than events: then it comes back
// for nothing. A turn without an event is one for the ready list or a timer.
func assertTurns(t *testing.T, st Stats) {
	t.Helper()
	events, budgets := st.TurnEvents.Sum, (st.Sessions.BytesRead+st.Sessions.BytesWritten)/(16<<10)+100
	atMost(t, "turns", st.Turns, events+budgets)
	attempts := uint64(0)
	for op, results := range st.Sessions.Results {
		for _, n := range results {
			if tlsio.Op(op) != tlsio.OpHandshake {
				attempts += n
			}
		}
	}
	// Each event can cause an attempt for each operation, and each record another one.
	atMost(t, "operations", attempts, 4*(events+budgets))
}

// TestStreamBothWays (P01, P08, P14): both peers stream at once over the smallest buffers, in
// both versions, to the end, without spinning. The tickets of TLS 1.3 do not fit at the end of the handshake.
func TestStreamBothWays(t *testing.T) {
	const size = 256 << 10
	for _, v := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
		t.Run(v.String(), func(t *testing.T) {
			done := make(chan error, 2)
			side := func() *hooks {
				var in, out tlstest.Stream
				return &hooks{
					open: func(c *Conn) { c.Write(out.Next(size)) },
					data: func(c *Conn, p []byte) {
						if in.Check(p); in.N >= size {
							c.Close()
						}
					},
					closed: func(_ *Conn, err error) {
						if in.N != size {
							err = errors.Join(err, io.ErrShortBuffer)
						}
						done <- errors.Join(err, in.Bad)
					},
				}
			}
			cfg := session.Config{HighWater: 2 * size}
			change := func(c *cssl.Config) { c.MaxVersion = v }
			s := &Server{Handler: side(), Session: cfg, Context: serverContext(t, "ecdsa", func(c *cssl.Config) { change(c); c.Tickets = 8 })}
			ln := smallListener(t, smallest)
			serveOn(t, s, ln)
			l := startLoop(t, LoopConfig{Session: cfg})
			tlstest.Must(t, l.Attach(connect(t, ln.Addr(), smallest), clientContext(t, change), csslLocalhost, side(), nil))
			for range 2 {
				tlstest.Must(t, tlstest.Receive(t, done, "the streams"))
			}
			tlstest.Until(t, "both to be gone", func() bool { return s.Stats().Conns+l.Stats().Conns == 0 })
			assertTurns(t, s.Stats())
			assertTurns(t, l.Stats())
		})
	}
}

// TestLargeChainSmallBuffers (P07): a certificate chain that fits no buffer makes the handshake wait
// for writability, and it goes on.
func TestLargeChainSmallBuffers(t *testing.T) {
	s := &Server{Handler: echo(), Context: serverContext(t, "big", nil)}
	ln := smallListener(t, smallest)
	serveOn(t, s, ln)
	l := startLoop(t, LoopConfig{})
	got := make(chan string, 1)
	tlstest.Must(t, l.Attach(connect(t, ln.Addr(), smallest), clientContext(t, nil), csslLocalhost,
		&hooks{open: func(c *Conn) { c.Write([]byte("hello")) }, data: func(c *Conn, p []byte) { got <- string(p) }}, nil))
	tlstest.Equal(t, "the echo", tlstest.Receive(t, got, "the echo"), "hello")
	r := s.Stats().Sessions.Results
	if r[tlsio.OpHandshake][tlsio.WantWrite]+r[tlsio.OpFlush][tlsio.WantWrite] == 0 {
		t.Error("the handshake never had to wait for writability, so this proves nothing")
	}
	assertTurns(t, s.Stats())
}

// TestSlowReader (P18): against a peer that sends as fast as it can and reads little, the queue stays below
// the high watermark and one turn, nothing is lost, and the loop rests while it is blocked.
func TestSlowReader(t *testing.T) {
	const high, turn, size = 32 << 10, 16 << 10, 256 << 10
	most, drains := 0, 0 // the loop's goroutine alone
	h, ended := ends(&hooks{
		data:  func(c *Conn, p []byte) { c.Write(p); most = max(most, c.Queued()) },
		drain: func(*Conn) { drains++ },
	})
	s := &Server{Handler: h, Session: session.Config{HighWater: high, TurnBytes: turn}}
	ln := smallListener(t, smallest)
	serveOn(t, s, ln)
	client := goDial(t, ln.Addr())
	sent := tlstest.Later(func() error {
		_, err := client.Write(new(tlstest.Stream).Next(size))
		return errors.Join(err, client.CloseWrite())
	})
	// First it reads nothing at all, until everything is full and all is at rest.
	tlstest.Until(t, "the queue to fill", func() bool {
		return onLoopOf(t, s.loops[0], func() int { return most }) >= high
	})
	assertQuiet(t, s.Stats)
	tlstest.Must(t, checkAll(client, size))
	tlstest.Must(t, tlstest.Receive(t, sent, "the writer's end"))
	client.Close()
	tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
	atMost(t, "bytes queued", most, high+turn+tlsio.MaxPlaintext)
	if drains == 0 {
		t.Error("OnDrain never came")
	}
	assertTurns(t, s.Stats())
}

// TestNonReader (P18, P01): a peer that sends and never reads is held at the watermark; the loop
// rests, another connection is served, and Close ends it.
func TestNonReader(t *testing.T) {
	s := &Server{Handler: echo(), Session: session.Config{HighWater: 32 << 10}, Limits: Limits{CloseTimeout: 100 * time.Millisecond}}
	ln := smallListener(t, smallest)
	serveOn(t, s, ln)
	l := startLoop(t, LoopConfig{Session: session.Config{HighWater: 64 << 20}})
	client := dialOpen(t, l, clientContext(t, nil), ln.Addr(), &hooks{})
	client.Pause()
	client.Write(make([]byte, 4<<20))
	assertQuiet(t, s.Stats)
	assertQuiet(t, l.Stats)
	if client.Queued() == 0 {
		t.Fatal("the server took all of it")
	}
	roundTrip(t, goDial(t, ln.Addr()), "and the others?")
	assertTurns(t, s.Stats())
}

// TestQuietStates (P02, P20): a connection that is idle, paused, blocked or half closed makes no turns.
func TestQuietStates(t *testing.T) {
	for name, become := range map[string]func(c *Conn, client *tls.Conn){
		"idle":                func(*Conn, *tls.Conn) {},
		"paused with input":   func(c *Conn, client *tls.Conn) { c.Pause(); io.WriteString(client, "unread") },
		"blocked":             func(c *Conn, _ *tls.Conn) { c.Write(make([]byte, 16<<20)) },
		"half closed by peer": func(_ *Conn, client *tls.Conn) { client.CloseWrite() },
		"half closed by us":   func(c *Conn, _ *tls.Conn) { c.CloseWrite() },
		"paused and back":     func(c *Conn, _ *tls.Conn) { c.Pause(); c.Resume() },
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{Session: session.Config{HalfClose: true}}
			become(serverConn(t, s, &hooks{}))
			assertQuiet(t, s.Stats)
		})
	}
}

// TestHangUpWhilePaused (P20): the peer's FIN, reset or both while reading is paused makes neither a
// spin nor a stall: the loop rests, and after Resume everything comes that was sent before, then the end.
func TestHangUpWhilePaused(t *testing.T) {
	bareFIN := func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() }
	for _, tc := range []struct {
		how  string
		ours bool // we end our side too
		end  func(client *tls.Conn)
		want error
	}{
		{"close_notify and FIN", false, func(c *tls.Conn) { c.Close() }, nil},
		{"bare FIN", false, bareFIN, io.ErrUnexpectedEOF},
		{"reset", false, resetByPeer, syscall.ECONNRESET},
		{"FIN on both sides", true, bareFIN, io.ErrUnexpectedEOF},
	} {
		t.Run(tc.how, func(t *testing.T) {
			const size = 40 << 10
			var in, out tlstest.Stream
			h, ended := ends(&hooks{data: func(_ *Conn, p []byte) { in.Check(p) }})
			s := &Server{}
			c, client := serverConn(t, s, h)
			c.Pause()
			if tc.ours {
				c.CloseWrite()
			}
			tlstest.Value(client.Write(out.Next(size)))(t)
			tc.end(client) // a reset overtakes nothing on loopback
			assertQuiet(t, s.Stats)
			tlstest.Nothing(t, ended, "the end before Resume")
			c.Resume()
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tc.want)
			wantAll(t, &in, size)
			tlstest.Until(t, "it to be gone", func() bool { return s.Conns() == 0 })
			assertQuiet(t, s.Stats)
		})
	}
}

// TestResetWhileBlocked (P20, P28): a reset while a write waits, paused or not, ends the
// connection, and no signal ends the process.
func TestResetWhileBlocked(t *testing.T) {
	for _, paused := range []bool{false, true} {
		h, ended := ends(&hooks{})
		s := &Server{}
		c, client := serverConn(t, s, h)
		if paused {
			c.Pause()
		}
		c.Write(make([]byte, 16<<20))
		assertQuiet(t, s.Stats)
		resetByPeer(client)
		if err := tlstest.Receive(t, ended, "OnClose"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("OnClose got %v", err)
		}
		tlstest.Until(t, "it to be gone", func() bool { return s.Conns() == 0 })
		assertQuiet(t, s.Stats)
	}
}

// resetByPeer ends a connection with a reset.
func resetByPeer(c *tls.Conn) {
	c.NetConn().(*net.TCPConn).SetLinger(0)
	c.NetConn().Close()
}

// TestLastBytesBeforeFIN (P20): a request that comes together with the peer's end is
// delivered, and its answer goes out.
func TestLastBytesBeforeFIN(t *testing.T) {
	const size = 300 << 10
	var in tlstest.Stream
	h, ended := ends(&hooks{data: func(c *Conn, p []byte) { in.Check(p); c.Write(p) }})
	s := &Server{Handler: h}
	client := goDial(t, start(t, s))
	release := hold(s.loops[0]) // so that the loop looks late, when much or all is there
	var out tlstest.Stream
	tlstest.Value(client.Write(out.Next(size)))(t)
	client.CloseWrite()
	release()
	tlstest.Must(t, checkAll(client, size))
	client.Close()
	tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
	wantAll(t, &in, size)
}

// TestReplyNotReset (P13): the server answers and closes without reading what the peer
// goes on sending; the peer still gets the whole answer, since no reset destroys it.
func TestReplyNotReset(t *testing.T) {
	const size = 1 << 20
	h, ended := ends(&hooks{data: func(c *Conn, p []byte) { c.Write(new(tlstest.Stream).Next(size)); c.Close() }})
	client := goDial(t, start(t, &Server{Handler: h}))
	tlstest.Value(client.Write(make([]byte, 200<<10)))(t)
	tlstest.Must(t, checkAll(client, size))
	client.Close()
	tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
}

// TestLingerEnds (P11): a peer that keeps sending after our close does not keep it open for ever.
func TestLingerEnds(t *testing.T) {
	h, ended := ends(&hooks{data: func(c *Conn, p []byte) { c.Close() }})
	client := goDial(t, start(t, &Server{Limits: Limits{CloseTimeout: time.Hour}, Handler: h}))
	go func() {
		for err := error(nil); err == nil; {
			_, err = client.Write(make([]byte, 16<<10))
		}
	}()
	tlstest.Equal(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), session.ErrLinger)
}

// TestDrainAfterQueued: a goroutine that writes until Queued is at the high watermark, and then waits for OnDrain,
// is woken. Queued seen from another goroutine still counts what TLS took in the turn that runs, so the session
// itself may never have had as much.
func TestDrainAfterQueued(t *testing.T) {
	const high, size, piece = 128 << 10, (64 << 20) / tlstest.Scale, 16 << 10
	drained := make(chan struct{}, 1)
	c, client := serverConn(t, &Server{Session: session.Config{HighWater: high}}, &hooks{drain: func(*Conn) {
		select {
		case drained <- struct{}{}:
		default:
		}
	}})
	copied := tlstest.Later(func() error {
		n, err := io.Copy(io.Discard, client)
		if n != size {
			err = errors.Join(err, fmt.Errorf("%d bytes", n))
		}
		return err
	})
	for range size / piece {
		tlstest.Value(c.Write(make([]byte, piece)))(t)
		for c.Queued() >= high {
			tlstest.Receive(t, drained, "OnDrain")
		}
	}
	c.CloseWrite()
	tlstest.Must(t, tlstest.Receive(t, copied, "the peer's end"))
}
