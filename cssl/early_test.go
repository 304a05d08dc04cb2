package cssl

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// earlyServer accepts n bytes of early data.
func earlyServer(n uint32) Config {
	s := serverConfig("ecdsa")
	s.MaxEarlyData = n
	return s
}

// ticketOf makes a handshake and answers the client's session.
func ticketOf(t testing.TB, cx, sx *Context) *Session {
	t.Helper()
	p := newPair(t, cx, sx)
	p.handshake()
	p.finish()
	s := p.client.Session()
	if s == nil {
		t.Fatal("no session")
	}
	return s
}

// earlyPair is a pair whose client has the session.
func earlyPair(t testing.TB, cx, sx *Context, s *Session) *pair {
	t.Helper()
	p := newPair(t, cx, sx)
	c := tlstest.Value(cx.NewEngineConn(ConnConfig{ServerName: "localhost", Session: s}))(t)
	t.Cleanup(c.Close)
	p.client = c
	return p
}

// writeEarly writes all of data as early data.
func (p *pair) writeEarly(data []byte) {
	p.t.Helper()
	for stuck := 0; len(data) > 0; {
		r := p.client.WriteEarlyData(data)
		if r.Err != nil || r.Want != tlsio.WantNone && r.Want != tlsio.WantWrite {
			p.t.Fatalf("with %d bytes left: %+v", len(data), r)
		}
		data = data[r.N:]
		if stuck++; r.N > 0 {
			stuck = 0
		} else if stuck > 1<<20 {
			p.t.Fatal("the client's early data does not leave")
		}
		if r.Want == tlsio.WantWrite {
			p.move(p.client, p.server)
			p.drainEarly()
		}
	}
}

// drainEarly lets the server read what has come, so that there is room for more.
func (p *pair) drainEarly() {
	p.t.Helper()
	for {
		r := p.server.ReadEarlyData(p.buf)
		p.early = append(p.early, p.buf[:r.N]...)
		if r.Err != nil || r.Want != tlsio.WantNone {
			return
		}
	}
}

// readEarly lets the server read early data until its end, while the client's handshake goes on.
func (p *pair) readEarly() {
	p.t.Helper()
	for range 1 << 20 {
		r := p.server.ReadEarlyData(p.buf)
		p.early = append(p.early, p.buf[:r.N]...)
		if r.Err == io.EOF {
			return
		}
		if r.Err != nil {
			p.t.Fatal(r.Err)
		}
		if r.Want != tlsio.WantNone {
			if r := p.client.Handshake(); r.Err != nil {
				p.t.Fatal(r.Err)
			}
			p.move(p.client, p.server)
			p.move(p.server, p.client)
		}
	}
	p.t.Fatal("early data does not end")
}

// checkEarly demands the same status on both sides.
func (p *pair) checkEarly(want EarlyDataStatus) {
	p.t.Helper()
	if c, s := p.client.State().EarlyData, p.server.State().EarlyData; c != want || s != want {
		p.t.Errorf("early data: the client says %v, the server %v, want %v", c, s, want)
	}
}

// TestEarlyData: what fits is accepted, whole or byte by byte, and the connection goes on after it.
func TestEarlyData(t *testing.T) {
	for _, size := range []int{1, 1000, 8192, 8193, 20000, 200000} {
		for _, chunk := range []int{0, 1, 1000} {
			if chunk == 1 && size > 20000 {
				continue
			}
			cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(200000))
			s := ticketOf(t, cx, sx)
			if s.MaxEarlyData() != 200000 {
				t.Fatalf("the session allows %d bytes", s.MaxEarlyData())
			}
			p := earlyPair(t, cx, sx, s)
			p.chunk = chunk
			data := tlstest.Bytes(size, 1)
			if n := p.client.EarlyDataRoom(); n != 200000 {
				t.Errorf("room for %d", n)
			}
			p.writeEarly(data)
			if n := p.client.EarlyDataRoom(); n != 200000-size {
				t.Errorf("after %d bytes, room for %d", size, n)
			}
			p.readEarly()
			sameBytes(t, "early data", p.early, data)
			if s := p.server.State().EarlyData; s != EarlyDataAccepted {
				t.Errorf("before the handshake is done, the server says %v", s)
			}
			p.handshake()
			p.checkEarly(EarlyDataAccepted)
			if !p.server.State().Resumed {
				t.Error("not resumed")
			}
			p.chunk = 0
			p.pass(p.client, p.server, []byte("after"), p.buf)
			p.pass(p.server, p.client, []byte("after"), p.buf)
			if n := p.client.EarlyDataRoom(); n != 0 {
				t.Errorf("after the handshake, room for %d", n)
			}
		}
	}
}

// TestEarlyDataRejected: each reason leads to a handshake that is as good as any, and to data that the server has not seen.
func TestEarlyDataRejected(t *testing.T) {
	replay := func(t *testing.T, cx, sx *Context, s *Session) {
		p := earlyPair(t, cx, sx, s)
		p.writeEarly([]byte("first"))
		p.readEarly()
		p.handshake()
		p.checkEarly(EarlyDataAccepted)
	}
	for _, tt := range []struct {
		name    string
		issuer  func(*Config)
		later   func(*Config)
		before  func(t *testing.T, cx, sx *Context, s *Session)
		ignore  bool // the server does not ask for early data
		resumed bool
	}{
		{name: "the server does not ask", ignore: true, resumed: true},
		{name: "a second time", before: replay},
		{name: "another server", later: func(c *Config) {}},
		{name: "switched off", issuer: func(c *Config) { c.TicketKeys, c.AllowReplay = [][]byte{ticketKey(1, 80)}, true },
			later: func(c *Config) { c.TicketKeys, c.MaxEarlyData = [][]byte{ticketKey(1, 80)}, 0 }, resumed: true},
		{name: "another group (HelloRetryRequest)", issuer: func(c *Config) { c.TicketKeys, c.AllowReplay = [][]byte{ticketKey(1, 80)}, true },
			later: func(c *Config) { c.TicketKeys, c.AllowReplay, c.Groups = [][]byte{ticketKey(1, 80)}, true, "P-521" }, resumed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := func(f func(*Config)) *Context {
				s := earlyServer(16384)
				if f != nil {
					f(&s)
				}
				return mustServer(t, s)
			}
			cx, sx := mustClient(t, clientConfig()), change(tt.issuer)
			s := ticketOf(t, cx, sx)
			if tt.before != nil {
				tt.before(t, cx, sx, s)
			}
			if tt.later != nil {
				sx = change(tt.later)
			}
			p := earlyPair(t, cx, sx, s)
			if tt.later != nil {
				p.chunk = 100
			}
			data := tlstest.Bytes(16384, 2)
			p.writeEarly(data)
			if !tt.ignore {
				p.readEarly()
			}
			p.handshake()
			p.checkEarly(EarlyDataRejected)
			if len(p.early) > 0 {
				t.Errorf("the server read %d bytes", len(p.early))
			}
			if r := p.server.State().Resumed; r != tt.resumed {
				t.Errorf("resumed: %v", r)
			}
			p.chunk = 0
			p.pass(p.client, p.server, data, p.buf)
			p.pass(p.server, p.client, []byte("answer"), p.buf)
		})
	}
}

// TestEarlyDataReplay sends what was recorded again, byte for byte: the server gives nothing of it out, unless AllowReplay says that it may; and
// even then it gets no further than the early data.
func TestEarlyDataReplay(t *testing.T) {
	for _, allow := range []bool{false, true} {
		c := earlyServer(100)
		c.AllowReplay = allow
		cx, sx := mustClient(t, clientConfig()), mustServer(t, c)
		p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
		p.wire = map[*Conn][]byte{}
		p.writeEarly([]byte("pay 100"))
		p.move(p.client, p.server)
		recorded := p.wire[p.client]
		p.readEarly()
		p.handshake()
		p.checkEarly(EarlyDataAccepted)

		q := newPair(t, cx, sx)
		q.server.Feed(recorded)
		r := q.server.ReadEarlyData(q.buf)
		if allow && (r.N != 7 || q.server.State().EarlyData != EarlyDataAccepted) || !allow && (r.Err != io.EOF || q.server.State().EarlyData != EarlyDataRejected) {
			t.Errorf("allowed %v: %+v, %v", allow, r, q.server.State().EarlyData)
		}
		if allow {
			r = q.server.ReadEarlyData(q.buf)
		} else {
			r = q.server.Handshake()
		}
		if r.Want != tlsio.WantRead {
			t.Errorf("allowed %v: whoever replays cannot go on: %+v", allow, r)
		}
	}
}

// TestTicketAfterAbruptEnd: a ticket is good though nobody has said close_notify, but not after a failure of the protocol.
func TestTicketAfterAbruptEnd(t *testing.T) {
	for _, failed := range []bool{false, true} {
		cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(100))
		p := newPair(t, cx, sx)
		p.handshake()
		p.finish()
		s := p.client.Session()
		if failed {
			p.server.Feed([]byte{23, 3, 3, 0, 20, 20: 0, 24: 0})
			checkAlert(t, p.server.Read(p.buf).Err, tlsio.AlertSent, 20)
		}
		p.client.Close()
		p.server.Close()
		q := earlyPair(t, cx, sx, s)
		q.writeEarly([]byte("early"))
		q.readEarly()
		q.handshake()
		q.checkEarly(map[bool]EarlyDataStatus{false: EarlyDataAccepted, true: EarlyDataRejected}[failed])
	}
}

// TestEarlyDataReplayAllowed: with AllowReplay the same ticket works twice, and at another host.
func TestEarlyDataReplayAllowed(t *testing.T) {
	c := earlyServer(100)
	c.AllowReplay, c.TicketKeys = true, [][]byte{ticketKey(7, 48)}
	cx, sx := mustClient(t, clientConfig()), mustServer(t, c)
	s := ticketOf(t, cx, sx)
	for _, host := range []*Context{sx, sx, mustServer(t, c)} {
		p := earlyPair(t, cx, host, s)
		p.writeEarly([]byte("again"))
		p.readEarly()
		p.handshake()
		p.checkEarly(EarlyDataAccepted)
		if string(p.early) != "again" {
			t.Errorf("%q", p.early)
		}
	}
}

// TestEarlyDataLimit: a client of ours stops at the server's limit; one that does not stop fails the connection.
func TestEarlyDataLimit(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(100))
	p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
	data := tlstest.Bytes(150, 3)
	if r := p.client.WriteEarlyData(data); r.N != 100 || r.Err != nil {
		t.Fatalf("%+v", r)
	}
	if r := p.client.WriteEarlyData(data[100:]); !errors.Is(r.Err, tlsio.ErrState) {
		t.Fatalf("%+v", r)
	}
	p.readEarly()
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.pass(p.client, p.server, data[100:], p.buf)
	sameBytes(t, "early data", p.early, data[:100])

	// The server has become stricter since it made the ticket: it skips up to 16 KiB.
	lax, strict := earlyServer(20000), earlyServer(100)
	for _, c := range []*Config{&lax, &strict} {
		c.AllowReplay, c.TicketKeys = true, [][]byte{ticketKey(7, 48)}
	}
	s := ticketOf(t, cx, mustServer(t, lax))
	p = earlyPair(t, cx, mustServer(t, strict), s)
	p.writeEarly(data)
	p.readEarly()
	p.handshake()
	p.checkEarly(EarlyDataRejected)
	p = earlyPair(t, cx, mustServer(t, strict), s)
	for left := 20000; left > 0; {
		r := p.client.WriteEarlyData(make([]byte, left))
		left -= r.N
		p.move(p.client, p.server)
	}
	if r := p.server.ReadEarlyData(p.buf); r.Err != io.EOF {
		t.Errorf("%+v", r)
	}
	r := p.server.Handshake()
	if !errors.Is(r.Err, tlsio.AlertUnexpectedMessage) || !strings.Contains(r.Err.Error(), "too much early data") {
		t.Errorf("%+v", r)
	}
	p.move(p.server, p.client)
	for r = p.client.Handshake(); r.Err == nil && r.Want == tlsio.WantNone; {
		r = p.client.Read(p.buf)
	}
	if !errors.Is(r.Err, tlsio.AlertUnexpectedMessage) {
		t.Errorf("the client hears %+v", r)
	}
}

// TestEarlyDataAnswer: a server answers before the client's handshake is done.
func TestEarlyDataAnswer(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(100))
	p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
	if r := p.server.WriteEarlyData([]byte("x")); !errors.Is(r.Err, tlsio.ErrState) {
		t.Errorf("before there is a client: %+v", r)
	}
	p.writeEarly([]byte("ask"))
	p.move(p.client, p.server)
	if r := p.server.ReadEarlyData(p.buf); r.N != 3 {
		t.Fatalf("%+v", r)
	}
	if r := p.server.WriteEarlyData([]byte("answer")); r.N != 6 {
		t.Fatalf("%+v", r)
	}
	p.move(p.server, p.client)
	r := p.client.Read(p.buf)
	if string(p.buf[:r.N]) != "answer" {
		t.Fatalf("%+v", r)
	}
	p.readEarly()
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.pass(p.server, p.client, []byte("more"), p.buf)

	p = newPair(t, cx, sx) // without early data there is nobody that it could be for
	p.client.Handshake()
	p.readEarly()
	if r := p.server.WriteEarlyData([]byte("answer")); !errors.Is(r.Err, tlsio.ErrState) {
		t.Errorf("to a client that has not said who it is: %+v", r)
	}
	p.handshake()
}

// TestEarlyDataNone: a server that asks gets io.EOF from clients that send none, and serves them, in each version.
func TestEarlyDataNone(t *testing.T) {
	for _, version := range versions {
		for _, chunk := range []int{0, 1} {
			c := clientConfig()
			c.MaxVersion = version
			cx, sx := mustClient(t, c), mustServer(t, earlyServer(100))
			for _, s := range []*Session{nil, ticketOf(t, cx, sx)} {
				p := earlyPair(t, cx, sx, s)
				p.chunk = chunk
				p.readEarly()
				p.handshake()
				if r := p.server.ReadEarlyData(p.buf); !errors.Is(r.Err, tlsio.ErrState) {
					t.Errorf("after the handshake: %+v", r)
				}
				p.checkEarly(EarlyDataNone)
				p.chunk = 0
				p.pass(p.client, p.server, []byte("ask"), p.buf)
				p.pass(p.server, p.client, []byte("answer"), p.buf)
			}
		}
	}
}

// TestEarlyDataConfig: what cannot be is refused with the setting's name.
func TestEarlyDataConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*Config)
		setting string
	}{
		"shared keys": {func(c *Config) { c.TicketKeys = [][]byte{ticketKey(1, 48)} }, "MaxEarlyData"},
		"no tickets":  {func(c *Config) { c.NoTickets = true }, "MaxEarlyData"},
		"TLS 1.2":     {func(c *Config) { c.MaxVersion = TLS12 }, "MaxEarlyData"},
		"huge":        {func(c *Config) { c.MaxEarlyData = 1 << 31 }, "MaxEarlyData"},
		"replay only": {func(c *Config) { c.MaxEarlyData, c.AllowReplay = 0, true }, "AllowReplay"},
	} {
		c := earlyServer(100)
		tt.change(&c)
		checkRefused(t, name, true, c, tt.setting)
	}
	c := clientConfig()
	c.MaxEarlyData = 1
	checkRefused(t, "a client", false, c, "MaxEarlyData")
}
