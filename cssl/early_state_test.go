package cssl

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestEarlyDataSequence: calls that make no sense are ErrState, and the connection is as it was.
func TestEarlyDataSequence(t *testing.T) {
	refused := func(what string, r tlsio.Result) {
		t.Helper()
		var e *tlsio.Error
		if !errors.As(r.Err, &e) || !errors.Is(e, tlsio.ErrState) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	cx, sx := mustClient(t, clientConfig()), mustServer(t, earlyServer(1000))
	p := newPair(t, cx, sx)
	refused("a client reads", p.client.ReadEarlyData(p.buf))
	refused("without a session", p.client.WriteEarlyData([]byte("x")))
	refused("a server writes at once", p.server.WriteEarlyData([]byte("x")))
	if r := p.client.WriteEarlyData(nil); r != (tlsio.Result{}) {
		t.Errorf("nothing: %+v", r)
	}
	p.client.Handshake()
	p.server.Handshake()
	refused("after Handshake", p.server.ReadEarlyData(p.buf))
	p.handshake()
	p.finish()
	s := p.client.Session()

	p = earlyPair(t, cx, sx, s)
	p.writeEarly([]byte("early"))
	refused("Write", p.client.Write([]byte("x")))
	p.move(p.client, p.server)
	if r := p.server.ReadEarlyData(p.buf); r.N != 5 {
		t.Fatalf("%+v", r)
	}
	refused("Handshake before the end", p.server.Handshake())
	refused("Read before the end", p.server.Read(p.buf))
	refused("Peek before the end", p.server.Peek(p.buf))
	refused("Write before the end", p.server.Write(p.buf))
	refused("Shutdown before the end", p.server.Shutdown())
	refused("KeyUpdate before the end", p.server.KeyUpdate(false))
	refused("RequestCertificate before the end", p.server.RequestCertificate())
	p.client.Handshake()
	refused("after the client's Handshake", p.client.WriteEarlyData([]byte("x")))
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
	q := newPair(t, cx, sx)
	c := tlstest.Value(cx.NewEngineConn(ConnConfig{ServerName: "other.test", InsecureSkipNameCheck: true, Session: s}))(t)
	defer c.Close()
	q.client = c
	refused("another name", c.WriteEarlyData([]byte("x")))
	q.handshake()

	// No tail, so WriteEarlyData could get stuck half way.
	plain := clientConfig()
	plain.Tail = -1
	cfd, sfd := socketPair(t, "unix", false)
	px := mustClient(t, plain)
	pc := tlstest.Value(px.NewConn(cfd, ConnConfig{ServerName: "localhost", Session: ticketOf(t, px, sx)}))(t)
	defer pc.Close()
	sc := tlstest.Value(sx.NewConn(sfd, ConnConfig{}))(t)
	defer sc.Close()
	refused("without a tail", pc.WriteEarlyData([]byte("x")))
	a, b := newEndpoint(t, "client", pc), newEndpoint(t, "server", sc)
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
		s := ticketOf(t, cx, sx)
		cfd, sfd := socketPair(t, network, true)
		cc := tlstest.Value(cx.NewConn(cfd, ConnConfig{ServerName: "localhost", Session: s}))(t)
		defer cc.Close()
		sc := tlstest.Value(sx.NewConn(sfd, ConnConfig{}))(t)
		defer sc.Close()
		data, buf := tlstest.Bytes(300000, 4), make([]byte, 16384)
		var got []byte
		left, wants := data, 0
		for ended := false; !ended; {
			if len(left) > 0 {
				r := cc.WriteEarlyData(left)
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				if left = left[r.N:]; r.Want == tlsio.WantNone {
					continue
				}
				wants++
			} else if r := cc.Handshake(); r.Err != nil {
				t.Fatal(r.Err)
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
		a, b := newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
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
		p := earlyPair(t, cx, sx, s)
		p.writeEarly([]byte("early"))
		p.readEarly()
		p.handshake()
		p.checkEarly(EarlyDataAccepted)
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
		k := tlstest.Value(c.ExportEarlyKeyingMaterial(label, context, 32))(t)
		return k
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
