package reactor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// lines is a PlainHandler that is called with each line, without its end.
type lines struct {
	connect func(*Conn)
	line    func(c *Conn, line string)
}

func (h *lines) OnConnect(c *Conn) { call(h.connect, c) }

func (h *lines) OnPlain(c *Conn, p []byte) int {
	line, _, whole := bytes.Cut(p, []byte("\n"))
	if !whole {
		return 0
	}
	h.line(c, string(line))
	return len(line) + 1
}

// plainFunc is a PlainHandler that is one function.
type plainFunc func(c *Conn, p []byte) int

func (plainFunc) OnConnect(*Conn)                 {}
func (f plainFunc) OnPlain(c *Conn, p []byte) int { return f(c, p) }

// startTLS greets, echoes each line, and answers STARTTLS.
func startTLS(t testing.TB, cfg StartTLSConfig) *lines {
	return &lines{
		connect: func(c *Conn) { c.Write([]byte("hello\n")) },
		line: func(c *Conn, line string) {
			if line != "STARTTLS" {
				c.Write([]byte(line + "\n"))
				return
			}
			c.Write([]byte("go ahead\n"))
			if err := c.StartTLS(cfg); err != nil {
				t.Error(err)
			}
			c.Write([]byte("encrypted\n"))
		},
	}
}

// says reads line from c.
func says(t testing.TB, c io.Reader, line string) {
	t.Helper()
	p := make([]byte, len(line)+1)
	n, err := io.ReadFull(c, p)
	if tlstest.Equal(t, "the peer says", string(p[:n]), line+"\n"); err != nil {
		t.Fatal(err)
	}
}

var recordKinds = []cssl.Records{cssl.RecordsOpenSSL, cssl.RecordsDirect}

const injected = "MAIL FROM:<a>\n"

// TestStartTLS: a server, with each kind of records and for each setting of what comes in the clear behind STARTTLS.
// The response to the line before STARTTLS, that to STARTTLS and what is written behind it are queued at once.
func TestStartTLS(t *testing.T) {
	for _, records := range recordKinds {
		for _, tc := range []struct {
			name     string
			behind   string
			leftover tlsio.Leftover
			ends     string // of what OnClose gets instead of TLS
			failure  string // as counted
		}{
			{name: "none"},
			{name: "refuse", behind: injected, ends: tlsio.ErrPlaintextAfterStartTLS.Error(), failure: "plaintext after STARTTLS"},
			{name: "discard", behind: injected, leftover: tlsio.LeftoverDiscard},
			{name: "taken for TLS", behind: injected, leftover: tlsio.LeftoverTLS, ends: "tls: handshake: SSL"},
		} {
			t.Run(records.String()+"/"+tc.name, func(t *testing.T) {
				var data tlstest.Buffer
				h, ended := ends(&hooks{data: func(c *Conn, p []byte) { data.Write(p); c.Write(p) }})
				g := gate{inside: map[netip.AddrPort]int{}}
				s := &Server{Handler: h, Plain: startTLS(t, StartTLSConfig{Leftover: tc.leftover}), Admit: g.admit, Release: g.release,
					Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = records })}
				raw := rawDial(t, start(t, s))
				says(t, raw, "hello")
				io.WriteString(raw, "NOOP\nSTARTTLS\n"+tc.behind)
				if tc.ends != "" {
					wantText(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tc.ends)
					tlstest.Until(t, "the count", func() bool { return tc.failure == "" || s.Stats().HandshakeFailures[tc.failure] == 1 })
					tlstest.Equal(t, "what reached OnData", data.String(), "")
					return
				}
				says(t, raw, "NOOP")
				says(t, raw, "go ahead")
				c := goOver(t, raw)
				says(t, c, "encrypted")
				roundTrip(t, c, "secret")
				tlstest.Equal(t, "admitted", g.state(), fmt.Sprintf("map[%v:1]", raw.LocalAddr()))
				tlstest.Must(t, c.Close())
				tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
				tlstest.Equal(t, "what reached OnData", data.String(), "secret")
				tlstest.Until(t, "the counts", func() bool {
					st := s.Stats()
					return st.Conns+st.Plain+st.Handshaking == 0 && st.Handshakes == 1 && g.state() == "map[]"
				})
			})
		}
	}
}

// drip is a connection whose first write goes byte by byte.
type drip struct {
	net.Conn
	between func()
	done    bool
}

func (d *drip) Write(p []byte) (n int, err error) {
	if d.done {
		return d.Conn.Write(p)
	}
	d.done = true
	for n < len(p) && err == nil {
		size := min(3, len(p)-n)
		if n >= 9 {
			size = len(p) - n
		}
		_, err = d.Conn.Write(p[n : n+size])
		n += size
		d.between()
	}
	return n, err
}

// TestLeftoverTLS: a port that decides after twelve bytes between TLS and plain text, with a ClientHello that comes in
// pieces, and at once.
func TestLeftoverTLS(t *testing.T) {
	for _, records := range recordKinds {
		t.Run(records.String(), func(t *testing.T) {
			decide := plainFunc(func(c *Conn, p []byte) int {
				switch {
				case len(p) < 12:
					return 0
				case p[0] != 0x16:
					c.Write(p)
					return len(p)
				}
				if err := c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverTLS}); err != nil {
					t.Error(err)
				}
				return 0
			})
			s := &Server{Handler: echo(), Plain: decide, Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = records })}
			addr := start(t, s)
			for range 2 {
				roundTrip(t, goDial(t, addr), "secret")
			}
			turns := func() {
				before := s.Stats().Turns
				tlstest.Until(t, "a turn", func() bool { return s.Stats().Turns > before })
			}
			c := tls.Client(&drip{Conn: rawDial(t, addr), between: turns}, goConfig(t))
			roundTrip(t, c, "secret")
			roundTrip(t, rawDial(t, addr), "not encrypted")
		})
	}
}

// TestStartTLSClient: a client of a server that is a script, for each setting of what the server sends too early.
func TestStartTLSClient(t *testing.T) {
	certificate := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	for _, tc := range []struct {
		name     string
		behind   string
		leftover tlsio.Leftover
		ends     error
	}{
		{name: "none"},
		{name: "refuse", behind: injected, ends: tlsio.ErrPlaintextAfterStartTLS},
		{name: "discard", behind: injected, leftover: tlsio.LeftoverDiscard},
	} {
		for _, dialer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/Dialer %v", tc.name, dialer), func(t *testing.T) {
				ls := muteListener(t)
				served := tlstest.Later(func() error {
					raw, err := ls.Accept()
					if err != nil {
						return err
					}
					defer raw.Close()
					raw.SetDeadline(time.Now().Add(tlstest.Hang))
					io.WriteString(raw, "hello\n")
					if _, err := io.ReadFull(raw, make([]byte, len("STARTTLS\n"))); err != nil {
						return err
					}
					io.WriteString(raw, "go ahead\n"+tc.behind)
					if tc.ends != nil {
						_, err := io.ReadAll(raw)
						return err
					}
					return tryRoundTrip(tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{certificate}}), "secret")
				})
				p := &lines{line: func(c *Conn, line string) {
					if line == "hello" {
						c.Write([]byte("STARTTLS\n"))
					} else if err := c.StartTLS(StartTLSConfig{Leftover: tc.leftover}); err != nil {
						t.Error(err)
					}
				}}
				h, ended := ends(echo())
				secure := false // as of OnOpen, before Dial returns
				h.open = func(c *Conn) { secure = c.State().Version != 0 }
				l, x, addr := startLoop(t, LoopConfig{}), clientContext(t, nil), ls.Addr().(*net.TCPAddr)
				if dialer {
					d := &Dialer{Context: x, Plain: p, Config: csslLocalhost}
					_, err := d.Dial(context.Background(), l, "tcp", addr.String(), h, nil)
					tlstest.IsError(t, "Dial", err, tc.ends)
					tlstest.Equal(t, "TLS after Dial", secure, err == nil)
				} else {
					tlstest.Must(t, l.ConnectPlain(addr.AddrPort(), p, x, csslLocalhost, h, nil))
				}
				if tc.ends != nil {
					tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tc.ends)
				}
				tlstest.Must(t, tlstest.Receive(t, served, "the server"))
			})
		}
	}
}

// boundary reads from a connection that begins with lines of eight bytes and goes on with TLS.
type boundary struct {
	net.Conn
	clear int // lines
	bad   error
	tls   []byte // the first bytes of TLS that were read
	begun bool
}

func (b *boundary) Read(p []byte) (int, error) {
	for !b.begun {
		line := make([]byte, 8)
		if _, err := io.ReadFull(b.Conn, line); err != nil {
			return 0, err
		}
		if b.begun = line[0] == 0x16; b.begun {
			b.tls = line
		} else if string(line) != fmt.Sprintf("%07d\n", b.clear) && b.bad == nil {
			b.bad = fmt.Errorf("line %d in the clear is %q", b.clear, line)
		}
		b.clear++
	}
	if n := copy(p, b.tls); n > 0 {
		b.tls = b.tls[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// TestStartTLSOrder: while another goroutine writes, over small sockets: each line leaves in the clear or encrypted,
// none is lost or doubled, and all that is in the clear comes before.
func TestStartTLSOrder(t *testing.T) {
	const count = 20_000 // the last hundred are written after StartTLS
	for range 5 {
		half, begun := make(chan struct{}), make(chan struct{})
		h, opened := opens(echo())
		p := plainFunc(func(c *Conn, p []byte) int {
			if p[0] != 'S' {
				return 0
			}
			wrote := tlstest.Later(func() (err error) {
				for i := 0; i < count && err == nil; i++ {
					switch _, err = fmt.Fprintf(c, "%07d\n", i); i {
					case count / 4:
						close(half)
					case count - 100:
						<-begun
					}
				}
				return err
			})
			go func() {
				<-half
				err := c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverTLS})
				close(begun)
				if err := errors.Join(err, <-wrote); err != nil {
					t.Error(err)
				}
				<-opened
				c.Close() // before OnOpen it would end at once
			}()
			c.Pause()
			return 1
		})
		s := &Server{Handler: h, Plain: p}
		complete(t, s)
		ls := smallListener(t, 4096)
		serveOn(t, s, ls)
		raw := rawDial(t, ls.Addr())
		io.WriteString(raw, "S")
		b := &boundary{Conn: raw}
		c := goOver(t, b)
		lines := strings.SplitAfter(string(tlstest.Value(io.ReadAll(c))(t)), "\n")
		first := b.clear - 1
		tlstest.Must(t, b.bad)
		if tlstest.Equal(t, "lines", first+len(lines)-1, count); first == 0 || len(lines) == 1 {
			t.Errorf("%d lines in the clear, %d encrypted: the test needs some of both", first, len(lines)-1)
		}
		for i, line := range lines[:len(lines)-1] {
			if line != fmt.Sprintf("%07d\n", first+i) {
				t.Fatalf("encrypted line %d is %q", first+i, line)
			}
		}
	}
}

// TestPlainBackpressure: in plain text, a peer that sends 8 MB and reads late has all of it back, while the queue stays
// near the high watermark; OnDrain follows it. Then TLS starts.
func TestPlainBackpressure(t *testing.T) {
	const size, high = 2 << 20, 64 << 10
	var echoed, most, drains int
	p := plainFunc(func(c *Conn, p []byte) int {
		if echoed == size {
			// The ClientHello may have come together with the byte that asks for TLS.
			if err := c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverTLS}); err != nil {
				t.Error(err)
			}
			return 1
		}
		p = p[:min(len(p), size-echoed)]
		if _, err := c.Write(p); err != nil {
			t.Error(err)
		}
		echoed += len(p)
		most = max(most, c.Queued())
		return len(p)
	})
	h := echo()
	h.drain = func(*Conn) { drains++ }
	s := &Server{Handler: h, Plain: p, Session: session.Config{HighWater: high}}
	complete(t, s)
	ls := smallListener(t, 16<<10)
	serveOn(t, s, ls)
	raw := rawDial(t, ls.Addr())
	sent := tlstest.Later(func() error { _, err := raw.Write(new(tlstest.Stream).Next(size)); return err })
	tlstest.Until(t, "a queue", func() bool { return s.Stats().Queued > high/4 })
	assertQuiet(t, s.Stats) // it reads no more
	tlstest.Must(t, checkAll(io.LimitReader(raw, size), size))
	tlstest.Must(t, tlstest.Receive(t, sent, "all to be sent"))
	io.WriteString(raw, "S")
	roundTrip(t, goOver(t, raw), "secret")
	inLoop(t, s.loops[0], func() {
		if atMost(t, "queued", most, high+readBuffer); drains == 0 {
			t.Error("OnDrain was not called")
		}
	})
}

// TestPlainEnds: each way in which a connection ends without TLS, before StartTLS and after. OnClose and Release are
// called once, and nothing is left.
func TestPlainEnds(t *testing.T) {
	type world struct {
		s   *Server
		raw net.Conn
	}
	send := func(text string) func(*testing.T, world) {
		return func(_ *testing.T, w world) { io.WriteString(w.raw, text) }
	}
	later := func(d time.Duration) func(*testing.T, world) {
		return func(t *testing.T, w world) { pass(t, w.s.loops[0], d) }
	}
	end := func(_ *testing.T, w world) { w.raw.(*net.TCPConn).CloseWrite() }
	reset := func(_ *testing.T, w world) { w.raw.(*net.TCPConn).SetLinger(0); w.raw.Close() }
	// stuck is a response that the peer does not read.
	stuck := func(c *Conn) { c.Write(make([]byte, 8<<20)) }
	fills := func(t *testing.T, w world) {
		tlstest.Until(t, "the socket to be full", func() bool { return w.s.Stats().Queued > 1<<20 && !spins(t, w.s.loops[0]) })
		assertQuiet(t, w.s.Stats)
	}
	resume := func(t *testing.T, w world) {
		inLoop(t, w.s.loops[0], func() {
			for _, s := range w.s.loops[0].slots {
				if s.conn != nil {
					s.conn.Resume()
				}
			}
		})
	}
	shakes := func(t *testing.T, w world) {
		tlstest.Until(t, "the handshake", func() bool { return w.s.Stats().Handshaking == 1 })
	}
	startTLS := func(c *Conn, _ string) { c.StartTLS(StartTLSConfig{Leftover: tlsio.LeftoverDiscard}) }
	startStuck := func(c *Conn, line string) { stuck(c); startTLS(c, line) }
	shutdown := func(t *testing.T, w world) { tlstest.Must(t, w.s.Shutdown(context.Background())) }
	for _, tc := range []struct {
		name   string
		limits Limits
		half   bool // half-close, and StartTLS in OnEOF
		line   func(*Conn, string)
		do     []func(*testing.T, world)
		ends   error
		text   string // of the error, instead
		closes string // what it is counted as
	}{
		{name: "the peer ends", do: []func(*testing.T, world){end}, closes: "clean"},
		{name: "the peer ends in the midst of a line", do: []func(*testing.T, world){send("half a"), end}, ends: io.ErrUnexpectedEOF},
		{name: "a reset", do: []func(*testing.T, world){send("a\n"), reset}, ends: unix.ECONNRESET, closes: "reset by peer"},
		{name: "a peer that says nothing", do: []func(*testing.T, world){later(2 * tlstest.Hang)}, ends: ErrHandshakeTimeout},
		{name: "a peer that says nothing any more", limits: Limits{IdleTimeout: time.Hour, CloseTimeout: time.Second},
			do: []func(*testing.T, world){send("a\n"), func(t *testing.T, w world) { says(t, w.raw, "a") }, later(2 * time.Hour), end}, ends: ErrIdleTimeout},
		{name: "no ClientHello", line: startTLS, do: []func(*testing.T, world){send("a\n"), shakes, later(2 * tlstest.Hang)},
			ends: ErrHandshakeTimeout, closes: "timeout: handshake"},
		{name: "no ClientHello, after SetLimits", line: startTLS, do: []func(*testing.T, world){
			func(t *testing.T, w world) {
				w.s.SetLimits(Limits{HandshakeTimeout: tlstest.Hang / 4})
				turn(t, w.s.loops[0])
			},
			send("a\n"), shakes, later(tlstest.Hang / 2)}, ends: ErrHandshakeTimeout, closes: "timeout: handshake"},
		{name: "a peer that does not read", limits: Limits{WriteTimeout: time.Hour}, line: func(c *Conn, _ string) { stuck(c) },
			do: []func(*testing.T, world){send("a\n"), fills, later(2 * time.Hour)}, ends: ErrWriteTimeout, closes: "timeout: write"},
		{name: "a peer that does not read after StartTLS", limits: Limits{WriteTimeout: time.Hour, HandshakeTimeout: 3 * time.Hour}, line: startStuck,
			do: []func(*testing.T, world){send("a\n"), fills, later(2 * time.Hour)}, ends: ErrWriteTimeout, closes: "timeout: write"},
		{name: "what is left in the clear is not sent", line: startStuck,
			do: []func(*testing.T, world){send("a\n"), fills, later(2 * tlstest.Hang)}, ends: ErrHandshakeTimeout, closes: "timeout: handshake"},
		{name: "what is left in the clear is not sent, and Resume", line: startStuck,
			do: []func(*testing.T, world){send("a\nrest\n"), fills, resume, later(2 * tlstest.Hang)}, ends: ErrHandshakeTimeout},
		{name: "a reset after StartTLS", line: startStuck, do: []func(*testing.T, world){send("a\n"), fills, reset}, ends: unix.ECONNRESET},
		{name: "Close", line: func(c *Conn, _ string) { c.Write([]byte("bye\n")); c.Close() },
			do: []func(*testing.T, world){send("a\nb\n"), func(t *testing.T, w world) { says(t, w.raw, "bye"); wantEnd(t, w.raw) }, end}},
		{name: "Close after StartTLS", line: func(c *Conn, _ string) { c.StartTLS(StartTLSConfig{}); c.Close() },
			do: []func(*testing.T, world){send("a\n"), func(t *testing.T, w world) { wantEnd(t, w.raw) }}},
		{name: "CloseWrite", line: func(c *Conn, _ string) { c.Write([]byte("bye\n")); c.CloseWrite() },
			do: []func(*testing.T, world){send("a\n"), func(t *testing.T, w world) { says(t, w.raw, "bye"); wantEnd(t, w.raw) }, end}},
		{name: "Shutdown", do: []func(*testing.T, world){send("a\n"), func(t *testing.T, w world) {
			says(t, w.raw, "a")
			done := tlstest.Later(func() error { return w.s.Shutdown(context.Background()) })
			wantEnd(t, w.raw)
			tlstest.Nothing(t, done, "Shutdown before the peer's end")
			end(t, w)
			tlstest.Must(t, tlstest.Receive(t, done, "Shutdown"))
		}}},
		{name: "Shutdown after StartTLS", line: startStuck, do: []func(*testing.T, world){send("a\n"), fills, shutdown}, closes: "clean"},
		{name: "Shutdown before the ClientHello", line: startTLS, do: []func(*testing.T, world){send("a\n"), shakes, shutdown}, closes: "clean"},
		{name: "Server.Close", line: startTLS, do: []func(*testing.T, world){send("a\n"), shakes, func(t *testing.T, w world) {
			tlstest.Must(t, w.s.Close())
		}}, ends: ErrLoopClosed},
		{name: "a panic", line: func(*Conn, string) { panic("of the test") }, do: []func(*testing.T, world){send("a\nb\n")}, ends: ErrPanic,
			closes: "handler panicked"},
		{name: "an endless line", do: []func(*testing.T, world){send(strings.Repeat("x", maxPlain+1))}, ends: ErrPlainTooLong},
		{name: "a wrong length", line: func(c *Conn, _ string) { c.Data = "wrong" }, do: []func(*testing.T, world){send("a\n")},
			text: "OnPlain returned -1 for 2 bytes"},
		{name: "StartTLS after the peer's end", half: true, do: []func(*testing.T, world){end}, ends: io.ErrUnexpectedEOF},
		{name: "plaintext in place of a ClientHello", line: func(c *Conn, _ string) { c.Write([]byte("go\n")); c.StartTLS(StartTLSConfig{}) },
			do:   []func(*testing.T, world){send("a\n"), func(t *testing.T, w world) { says(t, w.raw, "go") }, send("GET / HTTP/1.0\r\n\r\n")},
			text: "http request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, ended := ends(&hooks{open: func(*Conn) { t.Error("OnOpen") }, data: func(*Conn, []byte) { t.Error("OnData") }})
			p := &lines{line: tc.line}
			if p.line == nil {
				p.line = func(c *Conn, line string) { c.Write([]byte(line + "\n")) }
			}
			h.eof = func(c *Conn) { c.StartTLS(StartTLSConfig{}) }
			g := gate{inside: map[netip.AddrPort]int{}}
			s := &Server{Handler: h, Admit: g.admit, Release: g.release, Limits: tc.limits, Session: session.Config{HalfClose: tc.half}, Plain: plainFunc(func(c *Conn, b []byte) int {
				if n := p.OnPlain(c, b); c.Data == nil {
					return n
				}
				return -1
			})}
			w := world{s: s, raw: rawDial(t, start(t, s))}
			tlstest.Until(t, "the connection", func() bool { return s.Stats().Plain == 1 })
			tlstest.Equal(t, "admitted", g.state(), fmt.Sprintf("map[%v:1]", w.raw.LocalAddr()))
			for _, f := range tc.do {
				f(t, w)
			}
			err := tlstest.Receive(t, ended, "OnClose")
			if tc.text != "" {
				wantText(t, "OnClose", err, tc.text)
			} else {
				tlstest.IsError(t, "OnClose", err, tc.ends)
			}
			tlstest.Until(t, "the counts", func() bool {
				st := s.Stats()
				return st.Conns+st.Plain+st.Handshaking+s.Conns() == 0 && g.state() == "map[]"
			})
			if tc.closes != "" {
				tlstest.Equal(t, "closes", s.Stats().Closes[tc.closes], 1)
			}
			tlstest.Nothing(t, ended, "a second OnClose")
		})
	}
}

// TestPlainConn: what the methods of a Conn do in plain text, and a StartTLS from another goroutine: what came behind
// a Pause is passed on by Resume.
func TestPlainConn(t *testing.T) {
	rekeys := make(chan error, 1)
	h := echo()
	h.rekey = func(_ *Conn, err error) { rekeys <- err }
	conns := make(chan *Conn, 2)
	s := &Server{Handler: h, Plain: &lines{line: func(c *Conn, line string) {
		if line == "second" {
			c.Write([]byte("heard\n"))
		}
		if st := c.State(); st.Version != 0 || c.Session() != nil {
			t.Errorf("%+v", st)
		}
		_, err := c.ExportKeyingMaterial("x", nil, 8)
		tlstest.IsError(t, "ExportKeyingMaterial", err, tlsio.ErrState)
		tlstest.Must(t, c.KeyUpdate(false))
		c.Pause()
		conns <- c
	}}}
	raw := rawDial(t, start(t, s))
	io.WriteString(raw, "first\nsecond\n")
	c := tlstest.Receive(t, conns, "the first line")
	tlstest.IsError(t, "OnRekeyError", tlstest.Receive(t, rekeys, "OnRekeyError"), errors.ErrUnsupported)
	turn(t, c.loop)
	tlstest.Nothing(t, conns, "OnPlain after Pause")
	c.Resume()
	tlstest.Receive(t, conns, "the second line")
	says(t, raw, "heard")
	tlstest.Must(t, c.StartTLS(StartTLSConfig{}))
	tlstest.IsError(t, "StartTLS again", c.StartTLS(StartTLSConfig{}), tlsio.ErrState)
	c.Abort(nil)
	tlstest.IsError(t, "StartTLS after Abort", c.StartTLS(StartTLSConfig{}), net.ErrClosed)
}

// TestStartTLSRefused: a StartTLS that fails changes nothing.
func TestStartTLSRefused(t *testing.T) {
	s := &Server{Handler: echo(), Plain: &lines{line: func(c *Conn, line string) {
		err := c.StartTLS(StartTLSConfig{Context: clientContext(t, nil)})
		c.Write([]byte(fmt.Sprintln(err)))
	}}}
	raw := rawDial(t, start(t, s))
	for range 2 {
		io.WriteString(raw, "a\n")
		p := make([]byte, 500)
		n := tlstest.Value(raw.Read(p))(t)
		wantText(t, "StartTLS", errors.New(string(p[:n])), "ServerName")
	}
}

// TestPlainWithoutContext: a server that never has TLS, and a header in front. The greeting waits for the header.
func TestPlainWithoutContext(t *testing.T) {
	remote := netip.MustParseAddrPort("192.0.2.1:25")
	s := &Server{Handler: echo(), Loops: 1, Limits: Limits{HandshakeTimeout: tlstest.Hang},
		Plain: &lines{
			connect: func(c *Conn) { fmt.Fprintf(c, "hello %s\n", c.RemoteAddr()) },
			line:    func(c *Conn, line string) { fmt.Fprintln(c, line, c.StartTLS(StartTLSConfig{})) },
		},
		Header: func(c *Conn, p []byte) (int, bool, error) { c.SetRemote(remote); return 2, len(p) >= 2, nil }}
	ls := muteListener(t)
	served := tlstest.Later(func() error { return s.Serve(ls) })
	raw := rawDial(t, ls.Addr())
	io.WriteString(raw, "P\n")
	says(t, raw, "hello 192.0.2.1:25")
	io.WriteString(raw, "a\n")
	says(t, raw, "a reactor: StartTLS without a Context")
	tlstest.Must(t, s.Close())
	tlstest.Equal(t, "Serve", tlstest.Receive(t, served, "Serve"), ErrServerClosed)
}

// TestPlainHeaderFirst: Header is asked before the peer has sent anything, so that a server can greet a peer that sends no
// header. Admit has its say, and a bad outcome ends the connection.
func TestPlainHeaderFirst(t *testing.T) {
	errTest := errors.New("of the test")
	for _, tc := range []struct {
		name   string
		header func(c *Conn, p []byte) (int, bool, error)
		admit  error
		ends   error // nil: it is greeted
	}{
		{name: "no header", header: func(*Conn, []byte) (int, bool, error) { return 0, true, nil }},
		{"not admitted", func(*Conn, []byte) (int, bool, error) { return 0, true, nil }, errTest, errTest},
		{"an error", func(*Conn, []byte) (int, bool, error) { return 0, false, errTest }, nil, ErrHeader},
		{"too long", func(_ *Conn, p []byte) (int, bool, error) { return len(p) + 1, true, nil }, nil, ErrHeader},
		{"a panic", func(*Conn, []byte) (int, bool, error) { panic("Header") }, nil, ErrPanic},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, ended := ends(echo())
			g := gate{inside: map[netip.AddrPort]int{}}
			s := &Server{Handler: h, Plain: startTLS(t, StartTLSConfig{}), Header: tc.header, Admit: g.admit, Release: g.release}
			if tc.admit != nil {
				s.Admit = func(netip.AddrPort) error { return tc.admit }
			}
			addr := start(t, s)
			release := hold(s.loops[0]) // a reset must not come before the dial is over
			raw := rawDial(t, addr)
			if release(); tc.ends == nil {
				says(t, raw, "hello")
				tlstest.Equal(t, "admitted", g.state(), fmt.Sprintf("map[%v:1]", raw.LocalAddr()))
				io.WriteString(raw, "STARTTLS\n")
				says(t, raw, "go ahead")
				c := goOver(t, raw)
				says(t, c, "encrypted")
				roundTrip(t, c, "secret")
				c.Close()
			} else {
				wantEnd(t, raw)
			}
			tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tc.ends)
			tlstest.Until(t, "the counts", func() bool {
				st := s.Stats()
				return st.Conns+st.Plain+st.Handshaking+s.Conns() == 0 && g.state() == "map[]" && (tc.admit == nil || st.Refusals[errTest.Error()] == 1)
			})
		})
	}
}

// TestConnectPlain: to a port where nobody listens.
func TestConnectPlain(t *testing.T) {
	ls := muteListener(t)
	addr := ls.Addr().(*net.TCPAddr).AddrPort()
	ls.Close()
	h, ended := ends(&hooks{})
	l := startLoop(t, LoopConfig{})
	p := &lines{connect: func(*Conn) { t.Error("OnConnect") }}
	tlstest.Must(t, l.ConnectPlain(addr, p, nil, csslNone, h, nil))
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), unix.ECONNREFUSED)
}
