package session

import (
	"errors"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// upgradeRig is an open session over an engine that does no more than an Engine must. "clear" was written before an
// Upgrade and "secret" after it. From its begin on, the rig follows the next engine.
func upgradeRig(t *testing.T, begin func(r *rig) error) *rig {
	t.Helper()
	r := &rig{t: t, e: &scripted{t: t}, h: &recorder{t: t, on: map[string]func(){}}}
	r.Init(struct{ Engine }{r.e}, r.h, new(Config))
	r.ready(0, "H:ok R:want_read | open").write("clear").write("sec")
	next := &scripted{t: t}
	tlstest.Must(t, r.Upgrade(next, 3, func() error {
		next.script, r.e.script, r.e = r.e.script, nil, next
		return begin(r)
	}))
	tlstest.IsError(t, "a second Upgrade", r.Upgrade(next, 0, nil), net.ErrClosed)
	return r.write("ret")
}

func atOnceBegin(*rig) error { return nil }

// TestUpgrade: what was written before leaves through the first engine, all of it, then comes the handshake of the
// second, and then what was written after. Nothing is read in between.
func TestUpgrade(t *testing.T) {
	r := upgradeRig(t, func(r *rig) error { r.ExpectPeer(); return nil })
	r.ready(Readable, "W(clear):want_write").waits("W")
	r.ready(Writable, "W(clear):2 W(ear):3").waits("R")
	r.ready(Readable, "H:want_write").waits("W")
	r.ready(Writable, "H:ok R:want_read W(secret):6 | open").waits("R")
	r.ready(Readable, "R:5 R:want_read | data(5)")
}

// TestUpgradeBegins: what begin decides, and how a connection ends meanwhile.
func TestUpgradeBegins(t *testing.T) {
	for _, tc := range []struct {
		name  string
		begin func(*rig) error
		act   func(*rig)
		want  string
	}{
		{"a client", atOnceBegin, nil, "W(clear):5 H:ok R:eof W(secret):6 S:ok C | open close(nil)"},
		{"a server with input", func(r *rig) error { r.ExpectPeer(); r.Ready(Readable); return nil }, nil,
			"W(clear):5 H:ok R:eof W(secret):6 S:ok C | open close(nil)"},
		{"begin fails", func(*rig) error { return errBroken }, nil, "W(clear):5 | close(err)"},
		{"a write fails", atOnceBegin, nil, "W(clear):err | close(err)"},
		{"CloseWrite", atOnceBegin, func(r *rig) { r.CloseWrite() }, "W(clear):5 H:ok W(secret):6 S:ok C R:eof | open close(nil)"},
		{"Close", atOnceBegin, func(r *rig) { r.Close(nil) }, "| close(nil)"},
		{"Abort", atOnceBegin, func(r *rig) { r.Abort(errBroken) }, "| close(err)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := upgradeRig(t, tc.begin)
			if tc.act != nil {
				tc.act(r)
			}
			r.ready(0, tc.want).ended()
		})
	}
}

// TestUpgradeRefused: no Upgrade before the session is open, after the end of a direction and with TLS.
func TestUpgradeRefused(t *testing.T) {
	refused := func(r *rig, want error) { tlstest.IsError(t, "Upgrade", r.Upgrade(r.e, 0, nil), want) }
	refused(newRig(t, Config{}), net.ErrClosed)
	r := openRig(t, Config{})
	refused(r, errors.ErrUnsupported)
	r.CloseWrite()
	refused(r, net.ErrClosed)
	refused(openRig(t, Config{HalfClose: true}).ready(Readable, "R:eof | eof"), net.ErrClosed)
}
