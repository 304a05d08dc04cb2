package cssl

import (
	"bytes"
	"fmt"
	"io"
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
	p := newPair(t, cx, sx).opened()
	s := p.client.Session()
	demand(t, s != nil, "no session")
	return s
}

// earlyPair is a pair whose client has the session.
func earlyPair(t testing.TB, cx, sx *Context, s *Session) *pair {
	t.Helper()
	return newPair(t, cx, sx, ConnConfig{ServerName: "localhost", Session: s})
}

// earlyReady is a client with a session of a server that accepts n bytes of early data, and that server.
func earlyReady(t testing.TB, n uint32) *pair {
	t.Helper()
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(n))
	return earlyPair(t, cx, sx, ticketOf(t, cx, sx))
}

// sendsEarly is earlyPair after early data and a handshake, with this status of the early data.
func sendsEarly(t testing.TB, cx, sx *Context, s *Session, data string, want EarlyDataStatus) *pair {
	t.Helper()
	p := earlyPair(t, cx, sx, s)
	p.writeEarly([]byte(data))
	p.readEarly()
	p.handshake()
	p.checkEarly(want)
	if want != EarlyDataAccepted {
		data = ""
	}
	equal(t, string(p.early), data, "early data")
	return p
}

// writeEarly writes all of data as early data.
func (p *pair) writeEarly(data []byte) {
	p.t.Helper()
	for stuck := 0; len(data) > 0; {
		r := p.client.WriteEarlyData(data)
		demand(p.t, r.Err == nil && (r.Want == tlsio.WantNone || r.Want == tlsio.WantWrite), "with %d bytes left: %+v", len(data), r)
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
	c, s := p.client.State().EarlyData, p.server.State().EarlyData
	check(p.t, c == want && s == want, "early data: the client says %v, the server %v, want %v", c, s, want)
}

// TestEarlyData: what fits is accepted, whole or byte by byte, and the connection goes on after it.
func TestEarlyData(t *testing.T) {
	for _, size := range []int{1, 1000, 8192, 8193, 20000, 200000} {
		for _, chunk := range []int{0, 1, 1000} {
			if chunk == 1 && size > 20000 {
				continue
			}
			p := earlyReady(t, 200000)
			p.chunk = chunk
			data := tlstest.Bytes(size, 1)
			equal(t, p.client.EarlyDataRoom(), 200000, "room for")
			p.writeEarly(data)
			equal(t, p.client.EarlyDataRoom(), 200000-size, "after %d bytes, room for", size)
			p.readEarly()
			sameBytes(t, "early data", p.early, data)
			equal(t, p.server.State().EarlyData, EarlyDataAccepted, "before the handshake is done, the server")
			p.handshake()
			p.checkEarly(EarlyDataAccepted)
			check(t, p.server.State().Resumed, "not resumed")
			p.talk()
			equal(t, p.client.EarlyDataRoom(), 0, "after the handshake, room for")
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
			issuer, later := earlyServer(16384), earlyServer(16384)
			if tt.issuer != nil {
				tt.issuer(&issuer)
			}
			cx, sx := mustClient(t, clientConfig()), mustServer(t, issuer)
			s := ticketOf(t, cx, sx)
			if tt.replay {
				sendsEarly(t, cx, sx, s, "first", EarlyDataAccepted)
			}
			if tt.later != nil {
				tt.later(&later)
				sx = mustServer(t, later)
			}
			p := earlyPair(t, cx, sx, s)
			p.chunk = 100
			data := tlstest.Bytes(16384, 2)
			p.writeEarly(data)
			if !tt.ignore {
				p.readEarly()
			}
			p.handshake()
			p.checkEarly(EarlyDataRejected)
			equal(t, len(p.early), 0, "bytes that the server read")
			equal(t, p.server.State().Resumed, tt.resumed, "resumed")
			p.chunk = 0
			p.pass(p.client, p.server, data, p.buf)
			p.pass(p.server, p.client, []byte("answer"), p.buf)
		})
	}
}

// TestEarlyDataReplay sends what was recorded again, byte for byte: the server gives nothing of it out, unless
// AllowReplay says that it may; and even then it gets no further than the early data.
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
		r, status := q.server.ReadEarlyData(q.buf), q.server.State().EarlyData
		if allow {
			check(t, r.N == 7 && status == EarlyDataAccepted, "allowed: %+v, %v", r, status)
			r = q.server.ReadEarlyData(q.buf)
		} else {
			check(t, r.Err == io.EOF && status == EarlyDataRejected, "not allowed: %+v, %v", r, status)
			r = q.server.Handshake()
		}
		equal(t, r.Want, tlsio.WantRead, "allowed %v: whoever replays", allow)
	}
}

// TestTicketAfterAbruptEnd: a ticket is good though nobody has said close_notify, but not after a failure of the protocol.
func TestTicketAfterAbruptEnd(t *testing.T) {
	for _, want := range []EarlyDataStatus{EarlyDataAccepted, EarlyDataRejected} {
		cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(100))
		p := newPair(t, cx, sx).opened()
		s := p.client.Session()
		if want == EarlyDataRejected {
			p.server.Feed([]byte{23, 3, 3, 0, 20, 20: 0, 24: 0})
			checkAlert(t, p.server.Read(p.buf).Err, tlsio.AlertSent, 20)
		}
		p.client.Close()
		p.server.Close()
		sendsEarly(t, cx, sx, s, "early", want)
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
	p := earlyReady(t, 100)
	data := tlstest.Bytes(150, 3)
	equal(t, p.client.WriteEarlyData(data).N, 100, "written")
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
	cx := mustClient(t, clientConfig())
	s := ticketOf(t, cx, mustServer(t, lax))
	sendsEarly(t, cx, mustServer(t, strict), s, string(data), EarlyDataRejected)
	p = earlyPair(t, cx, mustServer(t, strict), s)
	for left := 20000; left > 0; {
		r := p.client.WriteEarlyData(make([]byte, left))
		left -= r.N
		p.move(p.client, p.server)
	}
	equal(t, p.server.ReadEarlyData(p.buf).Err, io.EOF, "too much")
	err := p.server.Handshake().Err
	checkAlert(t, err, tlsio.AlertSent, tlsio.AlertUnexpectedMessage)
	says(t, "the server", err, "too much early data")
	p.hearsAlert(tlsio.AlertUnexpectedMessage)
}

// hearsAlert demands that the client gets an alert of the server behind the server's part of the handshake.
func (p *pair) hearsAlert(alert tlsio.Alert) {
	p.t.Helper()
	p.move(p.server, p.client)
	r := p.client.Handshake()
	for r.Err == nil && r.Want == tlsio.WantNone {
		r = p.client.Read(p.buf)
	}
	checkAlert(p.t, r.Err, tlsio.AlertReceived, alert)
}

// TestEarlyDataAnswer: a server answers before the client's handshake is done.
func TestEarlyDataAnswer(t *testing.T) {
	p := earlyReady(t, 100)
	badState(t, "before there is a client", p.server.WriteEarlyData([]byte("x")))
	p.writeEarly([]byte("ask"))
	p.move(p.client, p.server)
	equal(t, p.server.ReadEarlyData(p.buf).N, 3, "read")
	equal(t, p.server.WriteEarlyData([]byte("answer")).N, 6, "written")
	p.move(p.server, p.client)
	reads(t, p.client, "answer")
	p.readEarly()
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.pass(p.server, p.client, []byte("more"), p.buf)

	p = pairOf(t, clientConfig(), earlyServer(100)) // without early data there is nobody that it could be for
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
				p.talk()
			}
		}
	}
}

// TestEarlyDataConfig: what cannot be is refused with the setting's name.
func TestEarlyDataConfig(t *testing.T) {
	checkRefusals(t, true, earlyServer(100), []wrongConfig{
		{"shared keys", func(c *Config) { c.TicketKeys = [][]byte{ticketKey(1, 48)} }, "MaxEarlyData", ""},
		{"no tickets", func(c *Config) { c.NoTickets = true }, "MaxEarlyData", ""},
		{"TLS 1.2", func(c *Config) { c.MaxVersion = TLS12 }, "MaxEarlyData", ""},
		{"huge", func(c *Config) { c.MaxEarlyData = 1 << 31 }, "MaxEarlyData", ""},
		{"replay only", func(c *Config) { c.MaxEarlyData, c.AllowReplay = 0, true }, "AllowReplay", ""},
	})
	checkRefusals(t, false, clientConfig(), []wrongConfig{{"a client", func(c *Config) { c.MaxEarlyData = 1 }, "MaxEarlyData", ""}})
}

// TestEarlyDataSequence: calls that make no sense are ErrState, and the connection is as it was.
func TestEarlyDataSequence(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(1000))
	p := newPair(t, cx, sx)
	badState(t, "a client reads", p.client.ReadEarlyData(p.buf))
	badState(t, "without a session", p.client.WriteEarlyData([]byte("x")))
	badState(t, "a server writes at once", p.server.WriteEarlyData([]byte("x")))
	equal(t, p.client.WriteEarlyData(nil), tlsio.Result{}, "nothing")
	p.client.Handshake()
	p.server.Handshake()
	badState(t, "after Handshake", p.server.ReadEarlyData(p.buf))
	p.opened()

	p = earlyPair(t, cx, sx, p.client.Session())
	p.writeEarly([]byte("early"))
	badState(t, "Write", p.client.Write([]byte("x")))
	p.move(p.client, p.server)
	equal(t, p.server.ReadEarlyData(p.buf).N, 5, "read")
	for i, r := range []tlsio.Result{p.server.Handshake(), p.server.Read(p.buf), p.server.Peek(p.buf), p.server.Write(p.buf),
		p.server.Shutdown(), p.server.KeyUpdate(false), p.server.RequestCertificate()} {
		badState(t, fmt.Sprintf("operation %d before the end", i), r)
	}
	p.client.Handshake()
	badState(t, "after the client's Handshake", p.client.WriteEarlyData([]byte("x")))
	p.readEarly()
	tlstest.Equal(t, "a second end", p.server.ReadEarlyData(p.buf).Err, io.EOF)
	p.handshake()
	p.checkEarly(EarlyDataAccepted)
	p.finish()
	p.pass(p.client, p.server, []byte("ask"), p.buf)

	// The session of another name: OpenSSL would fail.
	cx = mustClient(t, Config{Verify: VerifyNone})
	q := newPair(t, cx, sx, ConnConfig{ServerName: "other.test", InsecureSkipNameCheck: true, Session: ticketOf(t, cx, sx)})
	badState(t, "another name", q.client.WriteEarlyData([]byte("x")))
	q.handshake()

	// No tail, so WriteEarlyData could get stuck half way.
	px := mustClient(t, Config{Verify: VerifyNone, Tail: -1})
	a, b := socketEnds(t, "unix", false, px, sx, ConnConfig{ServerName: "localhost", Session: ticketOf(t, px, sx)})
	badState(t, "without a tail", a.c.WriteEarlyData([]byte("x")))
	runSockets(t, a, b, func() bool { return a.established() && b.established() })
}

// TestEarlyDataBroken: streams that end or are garbled in the midst are errors of the operation that met them, on both sides.
func TestEarlyDataBroken(t *testing.T) {
	for _, at := range []int{0, 1, 100, 400} {
		p := earlyReady(t, 1000)
		p.writeEarly([]byte("early"))
		n := p.client.Take(p.buf)
		p.server.Feed(p.buf[:min(at, n-1)])
		wants(t, fmt.Sprint(at), p.server.ReadEarlyData(p.buf[n:]), tlsio.WantRead)
		p.server.FeedEOF()
		for range 2 {
			tlstest.IsError(t, fmt.Sprint(at), p.server.ReadEarlyData(p.buf).Err, io.ErrUnexpectedEOF)
		}
	}
	p := earlyReady(t, 1000)
	p.writeEarly([]byte("early"))
	n := p.client.Take(p.buf)
	p.buf[n-1] ^= 1
	p.server.Feed(p.buf[:n])
	checkAlert(t, p.server.ReadEarlyData(p.buf).Err, tlsio.AlertSent, tlsio.AlertBadRecordMAC)
	p.hearsAlert(tlsio.AlertBadRecordMAC)
	p.client.Close()
	check(t, p.client.WriteEarlyData([]byte("x")).Err != nil && p.client.EarlyDataRoom() == 0, "early data after Close")
	equal(t, p.client.State().EarlyData, EarlyDataNone, "after Close")
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
			ended = r.Err == io.EOF
			demand(t, ended || r.Err == nil, "%v", r.Err)
		}
		sameBytes(t, network, got, data)
		check(t, wants > 0, "the sockets took everything at once")
		a.out, b.echo = tlstest.Bytes(50000, 5), true
		runSockets(t, a, b, func() bool { return len(a.in) == len(a.out) })
		check(t, bytes.Equal(a.in, a.out) && cc.State().EarlyData == EarlyDataAccepted, "wrong echo, or early data rejected")
	}
}

// TestEarlyDataByName: early data is what both allow, the Context that the connection came to and that of the server name.
func TestEarlyDataByName(t *testing.T) {
	cx := mustClient(t, Config{Verify: VerifyNone})
	for _, tt := range []struct {
		outer, inner uint32
		want         int
	}{{0, 100, 0}, {100, 0, 0}, {1000, 100, 100}, {100, 1000, 100}} {
		c := earlyServer(tt.outer)
		c.SNI = map[string]*Context{"localhost": mustServer(t, earlyServer(tt.inner))}
		sx := mustServer(t, c)
		s := ticketOf(t, cx, sx)
		equal(t, s.MaxEarlyData(), tt.want, "%+v: the ticket allows", tt)
		if tt.want > 0 {
			sendsEarly(t, cx, sx, s, "early", EarlyDataAccepted)
		}
	}
	outer, inner := earlyServer(100), earlyServer(100)
	outer.AllowReplay = true
	outer.SNI = map[string]*Context{"localhost": mustServer(t, inner)}
	equal(t, ticketOf(t, cx, mustServer(t, outer)).MaxEarlyData(), 0, "a name whose Context does not allow replays gets tickets that do")
}

// TestDirectEarlyExporter: both sides derive the same, before the handshake is done and, with direct records too, after it; without early
// data there is nothing to derive from.
func TestDirectEarlyExporter(t *testing.T) {
	openSSLToo(t)
	for _, mode := range []Records{RecordsOpenSSL, RecordsDirect} {
		testEarlyExporter(t, mode)
	}
}

func testEarlyExporter(t *testing.T, mode Records) {
	s := earlyServer(100)
	s.Records = mode
	cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
	p := newPair(t, cx, sx)
	fails(p.client.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 32))(t, "before anything")
	p.opened()
	for _, c := range []*Conn{p.client, p.server} {
		const want = `exporter "EXPORTER-test": there is no early data`
		k, err := c.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 32)
		check(t, err != nil && err.Error() == want, "%x without early data: %v, want %s", k, err, want)
	}
	p = earlyPair(t, cx, sx, p.client.Session())
	p.writeEarly([]byte("early"))
	export := func(c *Conn, label string, context []byte) string {
		t.Helper()
		return string(tlstest.Value(c.ExportEarlyKeyingMaterial(label, context, 32))(t))
	}
	p.move(p.client, p.server)
	p.drainEarly()
	for _, context := range [][]byte{nil, []byte("c")} {
		k := export(p.client, "EXPORTER-test", context)
		equal(t, export(p.server, "EXPORTER-test", context), k, "the server's")
		check(t, k != export(p.server, "EXPORTER-test", []byte("d")), "another context gives the same")
		check(t, k != export(p.server, "EXPORTER-other", context), "another label gives the same")
	}
	for _, n := range []int{-1, 0, 1<<16 + 1} {
		fails(p.client.ExportEarlyKeyingMaterial("EXPORTER-test", nil, n))(t, fmt.Sprint(n, " bytes"))
	}
	p.readEarly()
	p.handshake()
	st := p.server.State()
	equal(t, string(p.early), "early", "early data")
	check(t, st.Records == mode && st.EarlyData == EarlyDataAccepted, "%+v", st)
	equal(t, export(p.server, "EXPORTER-test", nil), export(p.client, "EXPORTER-test", nil), "the server's after the handshake")
	send(t, p.client, "late")
	p.client.Shutdown()
	p.move(p.client, p.server)
	reads(t, p.server, "late")
	equal(t, p.server.Read(p.buf).Err, io.EOF, "the end")
	p.client.Close()
	fails(p.client.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 32))(t, "after Close")
}
