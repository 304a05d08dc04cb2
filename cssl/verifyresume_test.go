package cssl

import (
	"errors"
	"testing"
)

// TestVerifyPeerResumed: nobody is asked about a session that is resumed, and where there is nobody to ask, or somebody else, it is not resumed.
func TestVerifyPeerResumed(t *testing.T) {
	for _, v := range versions {
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
		session := ticketOf(t, cx, sx)
		for name, x := range map[string]*Context{"the same": sx, "another one": other, "one that does not ask": plain} {
			asked = 0
			if resumed, cerr, serr := resumes(t, cx, x, session); cerr != nil || serr != nil || resumed != (x != plain) || asked != 0 {
				t.Errorf("%v, %s: resumed %v, asked %d times, %v, %v", v, name, resumed, asked, cerr, serr)
			}
		}
		session = ticketOf(t, cx, strict)
		if resumed, cerr, serr := resumes(t, cx, strict, session); cerr != nil || serr != nil || !resumed {
			t.Errorf("%v, the same name: resumed %v, %v, %v", v, resumed, cerr, serr)
		}
		p, _, err := shakeAs(t, cx, strict, ConnConfig{InsecureSkipNameCheck: true, Session: session})
		if p.server.State().Resumed || !errors.Is(err, mine) {
			t.Errorf("%v, another name: resumed %v, %v", v, p.server.State().Resumed, err)
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
		p := pairOf(t, client, server).opened()
		answered, cerr, serr := p.request()
		if answered != (c.err == nil) || !errors.Is(serr, c.err) || c.err == nil && cerr != nil {
			t.Errorf("%s: answered %v, client %v, server %v", name, answered, cerr, serr)
		}
		if r := p.server.Read(p.buf); c.err != nil && !errors.Is(r.Err, c.err) {
			t.Errorf("%s: does not stick: %v", name, r)
		}
	}
}
