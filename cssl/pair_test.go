package cssl

import (
	"errors"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// What tests do with a pair, beyond the handshake of harness_test.go.

// shaken makes the handshake.
func (p *pair) shaken() *pair {
	p.t.Helper()
	p.handshake()
	return p
}

// opened makes the handshake, and lets both sides read what follows it.
func (p *pair) opened() *pair {
	p.t.Helper()
	p.handshake()
	p.finish()
	return p
}

// pairOf is a pair of these settings, and plainPair of none.
func pairOf(t testing.TB, client, server Config) *pair {
	t.Helper()
	return newPair(t, mustClient(t, client), mustServer(t, server))
}

func plainPair(t testing.TB) *pair {
	t.Helper()
	return pairOf(t, clientConfig(), serverConfig("ecdsa"))
}

// finish lets both sides read what follows the handshake, such as tickets.
func (p *pair) finish() {
	p.t.Helper()
	for moved := 1; moved > 0; {
		moved = p.move(p.server, p.client) + p.move(p.client, p.server)
		for _, c := range []*Conn{p.client, p.server} {
			tlstest.Must(p.t, c.Read(p.buf).Err)
		}
	}
}

// again makes a second pair whose client offers the first one's session.
func (p *pair) again(client, server *Context, name string) *pair {
	p.t.Helper()
	session := p.client.Session()
	q := newPair(p.t, client, server, ConnConfig{ServerName: name, Session: session}).opened()
	return q
}

// established is a pair that is ready for data.
func established(t testing.TB) *pair {
	t.Helper()
	p := plainPair(t).opened()
	return p
}

// try drives both ends until each is done or has failed. A client of TLS 1.3 hears
// of the server's refusal only when it reads, so both read once more.
func (p *pair) try() (client, server error) {
	ends := [2]*Conn{p.client, p.server}
	var errs [2]error
	for range 2000 {
		for i, c := range ends {
			if r := shake(c); r.Err != nil && errs[i] == nil {
				errs[i] = r.Err
			} else if r.Want == tlsio.WantNone && r.Err == nil {
				if r := c.Peek(p.buf); r.Err != nil && errs[i] == nil {
					errs[i] = r.Err
				}
			}
		}
		if p.move(p.client, p.server)+p.move(p.server, p.client) == 0 {
			break
		}
	}
	return errs[0], errs[1]
}

// pass writes msg on one side and reads it on the other.
func (p *pair) pass(from, to *Conn, msg, buf []byte) {
	for left := msg; len(left) > 0; {
		r := from.Write(left)
		if r.N == 0 {
			p.t.Fatal(r)
		}
		left = left[r.N:]
	}
	p.move(from, to)
	for n := 0; n < len(msg); {
		r := to.Read(buf)
		if r.N == 0 {
			p.t.Fatal(r)
		}
		n += r.N
	}
}

// checkAlerts demands that one side has sent an alert and the other has received it.
func checkAlerts(t *testing.T, sent, received error, alert tlsio.Alert) {
	t.Helper()
	checkAlert(t, sent, tlsio.AlertSent, alert)
	checkAlert(t, received, tlsio.AlertReceived, alert)
}

func checkAlert(t *testing.T, err error, side tlsio.AlertSide, alert tlsio.Alert) {
	t.Helper()
	var e *tlsio.Error
	if !errors.As(err, &e) {
		t.Errorf("got %T %v", err, err)
		return
	}
	if e.Errno != 0 || e.AlertSide != side || e.Alert != alert || !errors.Is(err, alert) || len(e.Reasons) == 0 {
		t.Errorf("got %v (side %d), want alert %v", err, e.AlertSide, alert)
	}
}

// resumes makes a handshake for localhost that offers a session, and answers whether it was resumed, and how each side failed.
func resumes(t *testing.T, cx, sx *Context, s *Session) (resumed bool, cerr, serr error) {
	t.Helper()
	p, cerr, serr := shakeAs(t, cx, sx, ConnConfig{ServerName: "localhost", Session: s})
	if cerr != nil || serr != nil {
		return false, cerr, serr
	}
	c, s2 := p.client.State().Resumed, p.server.State().Resumed
	if c != s2 {
		t.Errorf("the client says resumed %v, the server %v", c, s2)
	}
	return c, nil, nil
}
