package cssl

import (
	"bytes"
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
	return newPair(t, cx, sx, ConnConfig{ServerName: "localhost", Session: s})
}

// sendsEarly is earlyPair after early data and a handshake, with this status of the early data.
func sendsEarly(t testing.TB, cx, sx *Context, s *Session, data string, want EarlyDataStatus) *pair {
	t.Helper()
	p := earlyPair(t, cx, sx, s)
	p.writeEarly([]byte(data))
	p.readEarly()
	p.handshake()
	p.checkEarly(want)
	if want == EarlyDataAccepted && string(p.early) != data || want != EarlyDataAccepted && len(p.early) > 0 {
		t.Errorf("the server read %q as early data", p.early)
	}
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
		tlstest.Must(p.t, r.Err)
		if r.Want != tlsio.WantNone {
			tlstest.Must(p.t, p.client.Handshake().Err)
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
	withKey := func(n uint32, groups string) func(*Config) {
		return func(c *Config) {
			c.TicketKeys, c.MaxEarlyData, c.AllowReplay, c.Groups = [][]byte{ticketKey(1, 80)}, n, n > 0, groups
		}
	}
	for _, tt := range []struct {
		name    string
		issuer  func(*Config)
		later   func(*Config)
		replay  bool
		ignore  bool // the server does not ask for early data
		resumed bool
	}{
		{name: "the server does not ask", ignore: true, resumed: true},
		{name: "a second time", replay: true},
		{name: "another server", later: func(c *Config) {}},
		{name: "switched off", issuer: withKey(16384, ""), later: withKey(0, ""), resumed: true},
		{name: "another group (HelloRetryRequest)", issuer: withKey(16384, ""), later: withKey(16384, "P-521"), resumed: true},
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
			if tt.replay {
				sendsEarly(t, cx, sx, s, "first", EarlyDataAccepted)
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
		sendsEarly(t, cx, sx, s, "early", map[bool]EarlyDataStatus{false: EarlyDataAccepted, true: EarlyDataRejected}[failed])
	}
}

// TestEarlyDataReplayAllowed: with AllowReplay the same ticket works twice, and at another host.
func TestEarlyDataReplayAllowed(t *testing.T) {
	c := earlyServer(100)
	c.AllowReplay, c.TicketKeys = true, [][]byte{ticketKey(7, 48)}
	cx, sx := mustClient(t, clientConfig()), mustServer(t, c)
	s := ticketOf(t, cx, sx)
	for _, host := range []*Context{sx, sx, mustServer(t, c)} {
		sendsEarly(t, cx, host, s, "again", EarlyDataAccepted)
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
	badState(t, "more", p.client.WriteEarlyData(data[100:]))
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
	sendsEarly(t, cx, mustServer(t, strict), s, string(data), EarlyDataRejected)
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
	badState(t, "before there is a client", p.server.WriteEarlyData([]byte("x")))
	p.writeEarly([]byte("ask"))
	p.move(p.client, p.server)
	if r := p.server.ReadEarlyData(p.buf); r.N != 3 {
		t.Fatalf("%+v", r)
	}
	if r := p.server.WriteEarlyData([]byte("answer")); r.N != 6 {
		t.Fatalf("%+v", r)
	}
	p.move(p.server, p.client)
	reads(t, p.client, "answer")
	p.readEarly()
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.pass(p.server, p.client, []byte("more"), p.buf)

	p = newPair(t, cx, sx) // without early data there is nobody that it could be for
	p.client.Handshake()
	p.readEarly()
	badState(t, "to a client that has not said who it is", p.server.WriteEarlyData([]byte("answer")))
	p.handshake()
}

// TestEarlyDataNone: a server that asks gets io.EOF from clients that send none, and serves them, in each version.
func TestEarlyDataNone(t *testing.T) {
	for _, version := range versions {
		for _, chunk := range []int{0, 1} {
			cx, sx := mustClient(t, clientUpTo(version)), mustServer(t, earlyServer(100))
			for _, s := range []*Session{nil, ticketOf(t, cx, sx)} {
				p := earlyPair(t, cx, sx, s)
				p.chunk = chunk
				p.readEarly()
				p.handshake()
				badState(t, "after the handshake", p.server.ReadEarlyData(p.buf))
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

// TestEarlyDataSequence: calls that make no sense are ErrState, and the connection is as it was.
func TestEarlyDataSequence(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(1000))
	p := newPair(t, cx, sx)
	badState(t, "a client reads", p.client.ReadEarlyData(p.buf))
	badState(t, "without a session", p.client.WriteEarlyData([]byte("x")))
	badState(t, "a server writes at once", p.server.WriteEarlyData([]byte("x")))
	if r := p.client.WriteEarlyData(nil); r != (tlsio.Result{}) {
		t.Errorf("nothing: %+v", r)
	}
	p.client.Handshake()
	p.server.Handshake()
	badState(t, "after Handshake", p.server.ReadEarlyData(p.buf))
	p.handshake()
	p.finish()
	s := p.client.Session()

	p = earlyPair(t, cx, sx, s)
	p.writeEarly([]byte("early"))
	badState(t, "Write", p.client.Write([]byte("x")))
	p.move(p.client, p.server)
	if r := p.server.ReadEarlyData(p.buf); r.N != 5 {
		t.Fatalf("%+v", r)
	}
	badState(t, "Handshake before the end", p.server.Handshake())
	badState(t, "Read before the end", p.server.Read(p.buf))
	badState(t, "Peek before the end", p.server.Peek(p.buf))
	badState(t, "Write before the end", p.server.Write(p.buf))
	badState(t, "Shutdown before the end", p.server.Shutdown())
	badState(t, "KeyUpdate before the end", p.server.KeyUpdate(false))
	badState(t, "RequestCertificate before the end", p.server.RequestCertificate())
	p.client.Handshake()
	badState(t, "after the client's Handshake", p.client.WriteEarlyData([]byte("x")))
	p.readEarly()
	if r := p.server.ReadEarlyData(p.buf); r.Err != io.EOF {
		t.Errorf("a second end: %+v", r)
	}
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.finish()
	p.pass(p.client, p.server, []byte("ask"), p.buf)

	// The session of another name: OpenSSL would fail.
	wild := clientConfig()
	wild.Verify = VerifyNone
	cx = mustClient(t, wild)
	s = ticketOf(t, cx, sx)
	q := newPair(t, cx, sx, ConnConfig{ServerName: "other.test", InsecureSkipNameCheck: true, Session: s})
	badState(t, "another name", q.client.WriteEarlyData([]byte("x")))
	q.handshake()

	// No tail, so WriteEarlyData could get stuck half way.
	plain := clientConfig()
	plain.Tail = -1
	px := mustClient(t, plain)
	a, b := socketEnds(t, "unix", false, px, sx, ConnConfig{ServerName: "localhost", Session: ticketOf(t, px, sx)})
	badState(t, "without a tail", a.c.WriteEarlyData([]byte("x")))
	runSockets(t, a, b, func() bool { return a.established() && b.established() })
}

// TestEarlyDataBroken: streams that end or are garbled in the midst are errors of the operation that met them, on both sides.
func TestEarlyDataBroken(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(1000))
	for _, at := range []int{0, 1, 100, 400} {
		p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
		p.writeEarly([]byte("early"))
		n := p.client.Take(p.buf)
		p.server.Feed(p.buf[:min(at, n-1)])
		if r := p.server.ReadEarlyData(p.buf[n:]); r.Want != tlsio.WantRead {
			t.Fatalf("%d: %+v", at, r)
		}
		p.server.FeedEOF()
		for range 2 {
			r := p.server.ReadEarlyData(p.buf)
			if !errors.Is(r.Err, io.ErrUnexpectedEOF) {
				t.Errorf("after %d bytes: %+v", at, r)
			}
		}
	}
	p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
	p.writeEarly([]byte("early"))
	n := p.client.Take(p.buf)
	p.buf[n-1] ^= 1
	p.server.Feed(p.buf[:n])
	r := p.server.ReadEarlyData(make([]byte, 100))
	var e *tlsio.Error
	if !errors.As(r.Err, &e) || e.Errno != 0 || e.Err != nil || e.Alert != 20 || e.AlertSide != tlsio.AlertSent {
		t.Errorf("%+v", r)
	}
	p.move(p.server, p.client)
	for r = p.client.Handshake(); r.Err == nil && r.Want == tlsio.WantNone; {
		r = p.client.Read(p.buf) // the server's part of the handshake was fine
	}
	if !errors.Is(r.Err, tlsio.AlertBadRecordMAC) {
		t.Errorf("the client hears %+v", r)
	}
	p.client.Close()
	if r := p.client.WriteEarlyData([]byte("x")); r.Err == nil || p.client.EarlyDataRoom() != 0 || p.client.State().EarlyData != EarlyDataNone {
		t.Errorf("after Close: %+v", r)
	}
}

// TestEarlyDataSockets: over sockets with the smallest buffers, where everything is refused in the midst.
func TestEarlyDataSockets(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(1<<20))
	for _, network := range []string{"unix", "tcp"} {
		a, b := socketEnds(t, network, true, cx, sx, ConnConfig{ServerName: "localhost", Session: ticketOf(t, cx, sx)})
		cc, sc := a.c, b.c
		data, buf := tlstest.Bytes(300000, 4), make([]byte, 16384)
		var got []byte
		left, wants := data, 0
		for ended := false; !ended; {
			if len(left) > 0 {
				r := cc.WriteEarlyData(left)
				tlstest.Must(t, r.Err)
				if left = left[r.N:]; r.Want == tlsio.WantNone {
					continue
				}
				wants++
			} else {
				tlstest.Must(t, cc.Handshake().Err)
			}
			cc.Flush()
			r := sc.ReadEarlyData(buf)
			got = append(got, buf[:r.N]...)
			if ended = r.Err == io.EOF; !ended && r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if sameBytes(t, network, got, data); wants == 0 {
			t.Error("the sockets took everything at once")
		}
		a.out, b.echo = tlstest.Bytes(50000, 5), true
		runSockets(t, a, b, func() bool { return len(a.in) == len(a.out) })
		if !bytes.Equal(a.in, a.out) || cc.State().EarlyData != EarlyDataAccepted {
			t.Error("wrong echo, or early data rejected")
		}
	}
}

// TestEarlyDataByName: early data is what both allow, the Context that the connection came to and that of the server name.
func TestEarlyDataByName(t *testing.T) {
	named := clientConfig()
	named.Verify = VerifyNone
	cx := mustClient(t, named)
	for _, tt := range []struct {
		outer, inner uint32
		want         int
	}{{0, 100, 0}, {100, 0, 0}, {1000, 100, 100}, {100, 1000, 100}} {
		c := earlyServer(tt.outer)
		c.SNI = map[string]*Context{"localhost": mustServer(t, earlyServer(tt.inner))}
		sx := mustServer(t, c)
		s := ticketOf(t, cx, sx)
		if n := s.MaxEarlyData(); n != tt.want {
			t.Errorf("%+v: the ticket allows %d", tt, n)
		}
		if tt.want == 0 {
			continue
		}
		sendsEarly(t, cx, sx, s, "early", EarlyDataAccepted)
	}
	outer, inner := earlyServer(100), earlyServer(100)
	outer.AllowReplay = true
	outer.SNI = map[string]*Context{"localhost": mustServer(t, inner)}
	if n := ticketOf(t, cx, mustServer(t, outer)).MaxEarlyData(); n != 0 {
		t.Errorf("a name whose Context does not allow replays gets tickets that do: %d", n)
	}
}

// TestEarlyExporter: both sides derive the same, before the handshake is done; without early data there is nothing to derive from.
func TestEarlyExporter(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(100))
	p := newPair(t, cx, sx)
	if k, err := p.client.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 32); err == nil {
		t.Errorf("%x before anything", k)
	}
	p.handshake()
	for _, c := range []*Conn{p.client, p.server} {
		const want = `exporter "EXPORTER-test": there is no early data`
		if k, err := c.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 32); err == nil || err.Error() != want {
			t.Errorf("%x without early data: %v, want %s", k, err, want)
		}
	}
	p.finish()
	p = earlyPair(t, cx, sx, p.client.Session())
	p.writeEarly([]byte("early"))
	export := func(c *Conn, label string, context []byte) []byte {
		t.Helper()
		return tlstest.Value(c.ExportEarlyKeyingMaterial(label, context, 32))(t)
	}
	k := export(p.client, "EXPORTER-test", []byte("c"))
	p.move(p.client, p.server)
	p.server.ReadEarlyData(p.buf)
	if !bytes.Equal(k, export(p.server, "EXPORTER-test", []byte("c"))) || bytes.Equal(k, export(p.server, "EXPORTER-test", []byte("d"))) ||
		bytes.Equal(k, export(p.server, "EXPORTER-other", []byte("c"))) {
		t.Error("the sides differ, or contexts or labels do not")
	}
	for _, n := range []int{-1, 0, 1<<16 + 1} {
		if _, err := p.client.ExportEarlyKeyingMaterial("EXPORTER-test", nil, n); err == nil {
			t.Errorf("%d bytes", n)
		}
	}
	p.client.Close()
	if _, err := p.client.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 32); err == nil {
		t.Error("after Close")
	}
}
