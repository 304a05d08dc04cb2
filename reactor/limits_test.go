package reactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
)

// gate is an Admit and a Release that count.
type gate struct {
	mu     sync.Mutex
	inside map[netip.AddrPort]int
	reason error
}

// locked calls f alone.
func (g *gate) locked(f func()) { g.mu.Lock(); defer g.mu.Unlock(); f() }

func (g *gate) admit(a netip.AddrPort) (reason error) {
	g.locked(func() {
		if reason = g.reason; reason == nil {
			g.inside[a]++
		}
	})
	return reason
}

func (g *gate) release(a netip.AddrPort) {
	g.locked(func() {
		if g.inside[a]--; g.inside[a] == 0 {
			delete(g.inside, a)
		}
	})
}

func (g *gate) refuse(reason error) { g.locked(func() { g.reason = reason }) }

// state is what is inside, each with how many times.
func (g *gate) state() (s string) { g.locked(func() { s = fmt.Sprint(g.inside) }); return s }

// TestAdmit: each connection is asked about by its peer's address, who is refused hears nothing, and each that was
// let in is released once, however it ends.
func TestAdmit(t *testing.T) {
	g := gate{inside: map[netip.AddrPort]int{}}
	s := &Server{Handler: echo(), Admit: g.admit, Release: g.release}
	addr := start(t, s)
	c := goDial(t, addr)
	roundTrip(t, c, "hello")
	tlstest.Equal(t, "inside", g.state(), fmt.Sprintf("map[%v:1]", c.LocalAddr()))
	g.refuse(errors.New("not today"))
	wantEnd(t, rawDial(t, addr))
	g.refuse(nil)
	vanished := rawDial(t, addr)
	tlstest.Until(t, "the second one", func() bool { return s.Stats().Conns == 2 })
	vanished.Close()
	c.Close()
	tlstest.Until(t, "the end", func() bool { return g.state() == "map[]" && s.Conns() == 0 })
	if st := s.Stats(); st.Refusals["not today"] != 1 || len(st.Refusals) != 1 || st.Accepted != 2 {
		t.Errorf("refusals %v, %d accepted", st.Refusals, st.Accepted)
	}
}

// lineHeader is a header that ends with a newline and names the peer's address; "bad" is refused, "panic" panics.
func lineHeader(c *Conn, p []byte) (int, bool, error) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return 0, false, nil
	}
	switch line := string(p[:i]); line {
	case "bad":
		return 0, false, errors.New("it is bad")
	case "panic":
		panic("Header")
	case "too much":
		return len(p) + 1, true, nil
	default:
		a, err := netip.ParseAddrPort(strings.TrimLeft(line, " "))
		if err == nil {
			c.SetRemote(a)
		}
		return i + 1, true, err
	}
}

// TestHeader: what stands in front of TLS is taken away to the byte, in whichever pieces it comes, also with the
// hello in one segment. It changes the peer's address, by which Admit and the handler know the connection.
func TestHeader(t *testing.T) {
	const header = "192.0.2.1:99\n"
	for name, pieces := range map[string][]string{
		"whole": {header}, "two": {header[:9], header[9:]}, "bytes": strings.Split(header, ""), "long": {strings.Repeat(" ", 40_000), header},
		"with the hello": {},
	} {
		t.Run(name, func(t *testing.T) {
			g := gate{inside: map[netip.AddrPort]int{}}
			h, opened := opens(echo())
			s := &Server{Handler: h, Header: lineHeader, Admit: g.admit, Release: g.release}
			raw := &corked{Conn: rawDial(t, start(t, s))}
			if len(pieces) == 0 {
				raw.kept = []byte(header)
			}
			left := func() int { n, _ := unread(s.loops[0]); return n }
			for _, p := range pieces {
				tlstest.Until(t, "the piece before to be read", func() bool { return onLoopOf(t, s.loops[0], left) == 0 })
				tlstest.Value(io.WriteString(raw, p))(t)
			}
			c := goOver(t, raw)
			roundTrip(t, c, "hello")
			tlstest.Equal(t, "the peer", tlstest.Receive(t, opened, "OnOpen").RemoteAddr().String(), "192.0.2.1:99")
			tlstest.Equal(t, "inside", g.state(), "map[192.0.2.1:99:1]")
			c.Close()
			tlstest.Until(t, "the end", func() bool { return g.state() == "map[]" })
		})
	}
}

// TestBadHeader: each ends its own connection, with a cause that says what it was, and is counted.
func TestBadHeader(t *testing.T) {
	unwelcome := errors.New("unwelcome")
	for send, tt := range map[string]struct {
		is              error
		outcome, reason string
	}{
		"bad\n":                          {ErrHeader, "header", "header"},
		"too much\n":                     {ErrHeader, "header", "header"},
		"no address\n":                   {ErrHeader, "header", "header"},
		"panic\n":                        {ErrPanic, "handler panicked", "handler panicked"},
		strings.Repeat("x", maxHeader+1): {ErrHeader, "header", "header"},
		"192.0.2.9:9\n":                  {unwelcome, "refused", "refused"},
		"192.0.2.1:99":                   {io.ErrUnexpectedEOF, "header", "header"}, // and then nothing
		"":                               {io.ErrUnexpectedEOF, "closed without close_notify", "closed by peer"},
	} {
		t.Run(send[:min(len(send), 20)], func(t *testing.T) {
			g := gate{inside: map[netip.AddrPort]int{}}
			if tt.is == unwelcome {
				g.refuse(unwelcome)
			}
			h, ended := ends(&hooks{})
			s := &Server{Handler: h, Header: lineHeader, Admit: g.admit, Release: g.release}
			raw := rawDial(t, start(t, s))
			go func() { io.WriteString(raw, send); raw.(*net.TCPConn).CloseWrite() }()
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tt.is)
			tlstest.Until(t, "the count", func() bool { return s.Stats().Closes[tt.outcome] == 1 })
			st := s.Stats()
			tlstest.Equal(t, "failures for this reason", st.HandshakeFailures[tt.reason], 1)
			tlstest.Equal(t, "inside", g.state(), "map[]")
			tlstest.Equal(t, "refused", st.Refusals["unwelcome"] == 1, tt.outcome == "refused")
		})
	}
}

// flooder is a handler that queues n bytes at once.
func flooder(n int) (*hooks, chan error) {
	return ends(&hooks{open: func(c *Conn) {
		for range n / (64 << 10) {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				c.Abort(err)
				return
			}
		}
	}})
}

// TestWriteTimeout: a peer that takes nothing is cut off; one that takes a little now and then is not.
func TestWriteTimeout(t *testing.T) {
	h, ended := flooder(12 << 20)
	s := &Server{Handler: h, Limits: Limits{WriteTimeout: 4 * tlstest.Hang}}
	ln := smallListener(t, 16<<10) // so that all but a little stays queued
	serveOn(t, s, ln)
	c, l := goDial(t, ln.Addr()), s.loops[0]
	for range 5 {
		for before := s.Stats().Sessions.Sends; s.Stats().Sessions.Sends == before; {
			tlstest.Value(io.ReadFull(c, make([]byte, 16<<10)))(t)
		}
		pass(t, l, 3*tlstest.Hang)
	}
	tlstest.Nothing(t, ended, "the end while it reads")
	// The socket may take a little more at first.
	tlstest.Until(t, "the end", func() bool { pass(t, l, 5*tlstest.Hang); return len(ended) > 0 })
	tlstest.IsError(t, "OnClose", <-ended, ErrWriteTimeout)
	tlstest.Until(t, "the count", func() bool { return s.Stats().Closes["timeout: write"] == 1 && s.Stats().Queued == 0 })
}

// TestWriteTimeoutOfIdle: nothing is queued, so nothing is late.
func TestWriteTimeoutOfIdle(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{WriteTimeout: tlstest.Hang}}
	c := goDial(t, start(t, s))
	for range 3 {
		roundTrip(t, c, "hello")
		pass(t, s.loops[0], 3*tlstest.Hang)
	}
}

// TestMaxQueued: what is queued is counted over all connections, the Write that would pass the limit is refused,
// and the count goes back to nothing.
func TestMaxQueued(t *testing.T) {
	h, ended := flooder(6 << 20)
	s := &Server{Handler: h, Limits: Limits{MaxQueued: 14 << 20, CloseTimeout: 100 * time.Millisecond}, Loops: 2}
	s.Session.MaxQueue = 64 << 20
	l := smallListener(t, 16<<10) // so that all but a little stays in the queues
	serveOn(t, s, l)
	addr := l.Addr()
	clients := []net.Conn{goDial(t, addr), goDial(t, addr)}
	tlstest.Until(t, "both to be queued", func() bool { return s.Stats().Queued > 8<<20 })
	goDial(t, addr)
	err := tlstest.Receive(t, ended, "OnClose")
	tlstest.IsError(t, "OnClose", err, errServerQueueFull)
	tlstest.IsError(t, "OnClose", err, session.ErrQueueFull)
	for _, c := range clients {
		tlstest.Value(io.CopyN(io.Discard, c, 6<<20))(t)
	}
	tlstest.Until(t, "the queues to be empty", func() bool { return s.Stats().Queued == 0 })
	goDial(t, addr) // there is room again
	tlstest.Until(t, "more", func() bool { return s.Stats().Queued > 0 })
	s.Close()
	tlstest.Equal(t, "bytes queued after all has ended", s.Stats().Queued, 0)
}

// TestSetLimits: a running server takes new limits, of which that of the queue holds for connections that live.
func TestSetLimits(t *testing.T) {
	wrote := make(chan error, 10)
	h, ended := ends(&hooks{data: func(c *Conn, p []byte) { _, err := c.Write(p); wrote <- err }})
	s := &Server{Handler: h, Limits: Limits{MaxConns: 1}}
	addr := start(t, s)
	first := goDial(t, addr)
	if _, err := tryDial(addr, goConfig(t)); err == nil {
		t.Error("a second one gets in")
	}
	s.SetLimits(Limits{MaxConns: 2, IdleTimeout: 2 * tlstest.Hang})
	roundTrip(t, goDial(t, addr), "hello")
	tlstest.Until(t, "the idle one's end", func() bool { pass(t, s.loops[0], 3*tlstest.Hang); return len(ended) > 0 })
	tlstest.IsError(t, "OnClose", <-ended, ErrIdleTimeout)
	s.SetLimits(Limits{})
	roundTrip(t, first, "hello") // its deadline was set before there was one
	d := onLoopOf(t, s.loops[0], func() time.Duration { return s.loops[0].cfg.HandshakeTimeout })
	tlstest.Equal(t, "the default", d, 10*time.Second)
	for range len(wrote) {
		tlstest.Must(t, <-wrote)
	}
	for most, want := range map[int]error{4: session.ErrQueueFull, 5: nil} {
		s.SetLimits(Limits{MaxQueue: most})
		io.WriteString(first, "hello")
		tlstest.Equal(t, fmt.Sprintf("at most %d", most), tlstest.Receive(t, wrote, "OnData"), want)
	}
}

// TestPing: it waits for all loops, and no longer than ctx.
func TestPing(t *testing.T) {
	s := &Server{Handler: echo(), Loops: 2}
	start(t, s)
	tlstest.Must(t, s.Ping(context.Background()))
	release := hold(s.loops[1])
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	tlstest.IsError(t, "with a loop that is stuck", s.Ping(ctx), context.DeadlineExceeded)
	release()
	tlstest.Must(t, s.Ping(context.Background()))
	s.Close()
	tlstest.IsError(t, "after Close", s.Ping(context.Background()), ErrServerClosed)
}

// TestStopAccepting: connections and a handshake that is under way go on, nobody else gets in, and Shutdown ends
// the rest.
func TestStopAccepting(t *testing.T) {
	s := &Server{Handler: echo()}
	addr := start(t, s)
	open, half := goDial(t, addr), rawDial(t, addr)
	tlstest.Until(t, "both", func() bool { return s.Stats().Conns == 2 })
	s.StopAccepting()
	tlstest.Until(t, "the listener to go", func() bool { return refused(addr) })
	for _, c := range []net.Conn{open, goOver(t, half)} {
		roundTrip(t, c, "still here")
		go func() { io.Copy(io.Discard, c); c.Close() }()
	}
	tlstest.Must(t, s.Shutdown(context.Background()))
}

// corked keeps what is written while it is corked, for the next Write.
type corked struct {
	net.Conn
	corked bool
	kept   []byte
}

func (k *corked) Write(p []byte) (int, error) {
	k.kept = append(k.kept, p...)
	if k.corked {
		return len(p), nil
	}
	_, err := k.Conn.Write(k.kept)
	k.kept = nil
	return len(p), err
}
