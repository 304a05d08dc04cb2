package cssl

import (
	"errors"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// resumedWith makes a handshake with a session and answers whether it was resumed, or how the server failed.
func resumedWith(t *testing.T, cx, sx *Context, cfg ConnConfig) (bool, error) {
	t.Helper()
	p := newPair(t, cx, sx)
	c, err := cx.NewEngineConn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p.client = c
	for {
		cr, sr := p.client.Handshake(), p.server.Handshake()
		switch {
		case sr.Err != nil:
			return false, sr.Err
		case cr.Err != nil:
			t.Fatal(cr.Err)
		case cr.Want == tlsio.WantNone && sr.Want == tlsio.WantNone:
			return p.server.State().Resumed, nil
		}
		p.move(p.client, p.server)
		p.move(p.server, p.client)
	}
}

// TestVerifyPeerResumed: nobody is asked about a session that is resumed, and where there is nobody to ask, or somebody else, it is not resumed.
func TestVerifyPeerResumed(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		asked, mine := 0, errors.New("not here")
		server, client := mutual(v)
		server.TicketKeys = [][]byte{ticketKey(1, 80)}
		plain := mustServer(t, server)
		server.VerifyPeer = func(v *PeerVerification) { asked++; go v.Accept() }
		sx, other := mustServer(t, server), mustServer(t, server)
		server.VerifyPeer = func(v *PeerVerification) { v.Refuse(mine) }
		server.SNI = map[string]*Context{"localhost": sx}
		strict := mustServer(t, server)
		cx := mustClient(t, client)
		named := ConnConfig{ServerName: "localhost", Session: ticketOf(t, cx, sx)}
		for name, x := range map[string]*Context{"the same": sx, "another one": other, "one that does not ask": plain} {
			asked = 0
			resumed, err := resumedWith(t, cx, x, named)
			if err != nil || resumed != (x != plain) || asked != 0 {
				t.Errorf("%v, %s: resumed %v, asked %d times, %v", v, name, resumed, asked, err)
			}
		}
		named.Session = ticketOf(t, cx, strict)
		if resumed, err := resumedWith(t, cx, strict, named); err != nil || !resumed {
			t.Errorf("%v, the same name: resumed %v, %v", v, resumed, err)
		}
		nameless := ConnConfig{InsecureSkipNameCheck: true, Session: named.Session}
		if resumed, err := resumedWith(t, cx, strict, nameless); resumed || !errors.Is(err, mine) {
			t.Errorf("%v, another name: resumed %v, %v", v, resumed, err)
		}
	}
}

// TestVerifyPeerAfterHandshake: VerifyPeer decides about a certificate that was asked for later, at once.
func TestVerifyPeerAfterHandshake(t *testing.T) {
	mine := errors.New("not this one")
	for name, c := range map[string]struct {
		decide func(v *PeerVerification)
		err    error
	}{
		"accepts": {func(v *PeerVerification) { v.Accept() }, nil},
		"refuses": {func(v *PeerVerification) { v.Refuse(mine) }, mine},
		"waits":   {func(v *PeerVerification) {}, errCannotWait},
		"panics":  {func(v *PeerVerification) { panic("oops") }, ErrCallbackPanic},
	} {
		client, server := authConfigs("client", VerifyRequire)
		server.VerifyPeer = c.decide
		p := newPair(t, mustClient(t, client), mustServer(t, server))
		p.handshake()
		p.finish()
		answered, cerr, serr := p.request()
		if answered != (c.err == nil) || !errors.Is(serr, c.err) || c.err == nil && cerr != nil {
			t.Errorf("%s: answered %v, client %v, server %v", name, answered, cerr, serr)
		}
		if r := p.server.Read(p.buf); c.err != nil && !errors.Is(r.Err, c.err) {
			t.Errorf("%s: does not stick: %v", name, r)
		}
	}
}
