package session

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// The tests of this file are the rules of what TLS 1.3 has besides: certificates after the handshake, and early data.

// rekeys asks for a KeyUpdate, and asks for a certificate, which must be taken.
func rekeys(r *rig) { tlstest.Must(r.t, r.KeyUpdate(false)) }
func asks(r *rig)   { tlstest.Must(r.t, r.RequestCertificate()) }

// TestRequestCertificate: the request leaves like a KeyUpdate, and the handler hears of the answer before what was sent after it.
func TestRequestCertificate(t *testing.T) {
	r := openRig(t, Config{})
	asks(r)
	if err := r.RequestCertificate(); err == nil {
		t.Error("two at once")
	}
	r.waits("R run")
	r.ready(0, "A:want_write |").waits("RW")
	r.ready(Writable, "H:ok |").waits("R")
	r.ready(Readable, "R:want_read+in |")
	r.ready(Readable, "R:want_read+in+cert | certificate(nil)")
	r.ready(Readable, "R:5+cert R:want_read | certificate(nil) data(5)")

	// Not while a record is half written.
	r.write("hello").ready(0, "W(hello):want_write |")
	asks(r)
	r.ready(Writable, "W(hello):5 A:ok |")

	// Behind another handshake.
	rekeys(r)
	asks(r)
	r.ready(0, "K:want_write |")
	r.ready(Writable, "H:ok A:ok |")

	// Another operation may take the answer in.
	r.write("hello").ready(0, "W(hello):5+cert | certificate(nil)")
}

// TestRequestCertificateRefused: nothing was asked, the handler hears why, and the connection goes on.
func TestRequestCertificateRefused(t *testing.T) {
	r := openRig(t, Config{})
	asks(r)
	r.ready(0, "A:state | certificate(state)")
	r.write("hello").ready(Readable, "R:3 R:want_read W(hello):5 | data(3)")
	rekeys(r)
	r.ready(0, "K:state | rekey(state)") // which is not a request

	asks(r)
	r.ready(0, "A:err | close(err)").ended()
}

// TestRekeyErrors: the handler hears of a handshake after the first one that was refused, or that the peer ended instead
// of answering, and the connection goes on.
func TestRekeyErrors(t *testing.T) {
	for name, begin := range rekeyings {
		t.Run(name, func(t *testing.T) {
			heard := "rekey"
			if name == "A" {
				heard = "certificate"
			}
			start := func(r *rig, answer string) {
				tlstest.Must(t, begin(&r.Session))
				r.ready(0, name+":"+answer)
			}
			r := openRig(t, Config{})
			start(r, "state | "+heard+"(state)")
			start(r, "want_write |") // another one may follow
			tlstest.IsError(t, "Renegotiate", r.Renegotiate(), ErrRekeying)
			r.ready(Writable, "H:eof | "+heard+"(eof)")
			r.write("hello").ready(0, "W(hello):5 |")

			// The handler may try again.
			r.h.on[heard] = func() { delete(r.h.on, heard); _ = begin(&r.Session) }
			start(r, "state "+name+":ok | "+heard+"(state)")

			// After a Close there is nothing to be done about it.
			start(r, "want_write |")
			r.Close(nil)
			r.ready(Writable, "H:eof S:ok C |")

			r = openRig(t, Config{})
			start(r, "err | close(err)")
			r.ended()
		})
	}
}

// TestCallsInsideOnCertificate: an Abort keeps back the data that came with the answer, a Close discards it, and what is written goes out.
func TestCallsInsideOnCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(r *rig)
		turn string
	}{
		"Abort": {func(r *rig) { r.Abort(errBroken) }, "R:5+cert | certificate(nil) close(err)"},
		"Close": {func(r *rig) { r.Close(nil) }, "R:5+cert S:ok C R:want_read | certificate(nil)"},
		"Write": {func(r *rig) { r.write("hello") }, "R:5+cert R:want_read W(hello):5 | certificate(nil) data(5)"},
		"Pause": {func(r *rig) { r.Pause() }, "R:5+cert | certificate(nil) data(5)"},
		"again": {asks, "R:5+cert A:ok R:want_read | certificate(nil) data(5)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRig(t, Config{})
			r.h.on["certificate"] = func() { delete(r.h.on, "certificate"); tt.do(r) }
			r.ready(Readable, tt.turn)
		})
	}
	r := openRig(t, Config{}) // an answer in the midst of a close is no matter
	r.Close(nil)
	r.ready(Readable, "S:ok C R:5+cert R:want_read |")
}

// TestEarlyData: it comes before OnOpen; then the handshake goes on at once.
func TestEarlyData(t *testing.T) {
	var c Counters
	r := newRig(t, Config{Counters: &c, EarlyData: true})
	r.ExpectPeer()
	r.waits("R")
	r.ready(Readable, "E:want_read+in |").waits("R")
	r.h.on["early"] = func() { r.write("hello") }
	r.ready(Readable, "E:3+in E:want_write |  early(3)").waits("W")
	delete(r.h.on, "early")
	r.ready(Writable, "E:4 E:eof+in H:want_read+out | early(4)").waits("R")
	r.ready(Readable, "H:ok R:want_read W(hello):5 | open")
	if c.BytesRead != 7 || c.Results[tlsio.OpReadEarlyData] != ([tlsio.WantAppRead + 1]uint64{tlsio.WantNone: 2, tlsio.WantRead: 1, tlsio.WantWrite: 1}) {
		t.Errorf("%d bytes, %v", c.BytesRead, c.Results[tlsio.OpReadEarlyData])
	}

	r = newRig(t, Config{EarlyData: true}) // none
	r.ExpectPeer()
	r.ready(Readable, "E:eof H:ok R:want_read | open")

	r = newRig(t, Config{EarlyData: true}) // a client
	r.ready(0, "H:ok R:want_read | open")

	r = newRig(t, Config{}) // not wanted
	r.ExpectPeer()
	r.ready(Readable, "H:ok R:want_read | open")

	r = newRig(t, Config{EarlyData: true}) // an engine that has none
	r.engine = struct{ Engine }{r.e}
	r.ExpectPeer()
	r.ready(Readable, "H:ok R:want_read | open")
}

// TestEarlyDataEnds: what ends a handshake ends it here.
func TestEarlyDataEnds(t *testing.T) {
	for answer, hears := range map[string]string{"err": "close(err)", "fin": "close(fin)", "err+unsent F:ok": "close(err)"} {
		r := newRig(t, Config{EarlyData: true})
		r.ExpectPeer()
		r.ready(Readable, "E:3 E:"+answer+" | early(3) "+hears).ended()
	}
	for name, end := range atOnce {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{EarlyData: true})
			r.ExpectPeer()
			r.h.on["early"] = func() { end(r) }
			r.ready(Readable, "E:3 | early(3) close(err)").ended()
		})
	}
}

// TestEarlyDataTurn: early data that never ends leaves others their turn.
func TestEarlyDataTurn(t *testing.T) {
	r := newRig(t, Config{TurnBytes: 1000, EarlyData: true})
	r.ExpectPeer()
	r.ready(Readable, "E:800 | early(800)").waits("- run")
	r.ready(0, "E:700 E:700 | early(700) early(700)")
}
