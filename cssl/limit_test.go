package cssl

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestLimits floods one side with post-handshake messages: it answers ErrLimit, and the
// flooder gets a close_notify (P36).
func TestLimits(t *testing.T) {
	limited := func(c *Config) { c.MaxMessages, c.MaxRenegotiations, c.Renegotiation = 5, 3, true }
	tests := []struct {
		name    string
		version TLSVersion
		change  func(c, s *Config)
		victim  string
		flood   func(p *pair) tlsio.Result
	}{
		{"key updates", TLS13, func(c, s *Config) { limited(s) }, "server", func(p *pair) tlsio.Result { return p.client.KeyUpdate(false) }},
		{"key updates with request", TLS13, func(c, s *Config) { limited(c) }, "client", func(p *pair) tlsio.Result { return p.server.KeyUpdate(true) }},
		{"tickets", TLS13, func(c, s *Config) { limited(c); s.Tickets = 20 }, "client", func(p *pair) tlsio.Result { return tlsio.Result{} }},
		{"renegotiations of the client", TLS12, func(c, s *Config) { c.Renegotiation = true; limited(s) }, "server", func(p *pair) tlsio.Result { return p.client.Renegotiate() }},
		{"renegotiations of the server", TLS12, func(c, s *Config) { s.Renegotiation = true; limited(c) }, "client", func(p *pair) tlsio.Result { return p.server.Renegotiate() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := clientUpTo(tt.version), serverConfig("ecdsa")
			tt.change(&c, &s)
			p := pairOf(t, c, s).shaken()
			victim, flooder := p.server, p.client
			if tt.victim == "client" {
				victim, flooder = p.client, p.server
			}
			var err error
			rounds := 0
			for ; err == nil && rounds < 50; rounds++ {
				tt.flood(p) // refused while an earlier one is under way
				for range 6 {
					p.move(flooder, victim)
					if r := victim.Read(p.buf); r.Err != nil {
						err = r.Err
						break
					}
					p.move(victim, flooder)
					flooder.Peek(p.buf)
				}
			}
			if _, ok := errors.AsType[*tlsio.Error](err); !ok || !errors.Is(err, tlsio.ErrLimit) {
				t.Fatalf("after %d rounds: %v", rounds, err)
			}
			p.move(victim, flooder)
			r := flooder.Read(p.buf)
			for r.N > 0 {
				r = flooder.Read(p.buf)
			}
			if r.Err != io.EOF && !errors.Is(r.Err, tlsio.AlertNoRenegotiation) {
				t.Errorf("the flooder hears %+v", r)
			}
		})
	}
}

// TestLimitEndsInput: what stands behind the message that is one too many is neither given out nor, but for what was read
// ahead, taken from the socket. Direct records are always read ahead.
func TestLimitEndsInput(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	s.MaxMessages = 5
	for _, ahead := range []bool{true, false} {
		s.NoReadAhead = !ahead
		a, b := readyEnds(t, "unix", false, mustClient(t, c), mustServer(t, s))
		cc, sc := a.c, b.c
		for range 6 {
			if r := cc.KeyUpdate(false); r.Err != nil || r.Want != tlsio.WantNone {
				t.Fatalf("%+v", r)
			}
		}
		send(t, cc, "data")
		if r := sc.Read(b.readBuf); !errors.Is(r.Err, tlsio.ErrLimit) || r.N != 0 {
			t.Errorf("read ahead %v: %+v", ahead, r)
		}
		left, err := unix.IoctlGetInt(sc.fd, unix.TIOCINQ)
		if err != nil || (left == 0) != (ahead || testmain.Direct()) {
			t.Errorf("read ahead %v: %d bytes are left in the socket (%v)", ahead, left, err)
		}
	}
}

// TestOwnRenegotiationsAreNotCounted: the limit is for what the peer begins.
func TestOwnRenegotiationsAreNotCounted(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.Renegotiation, s.Renegotiation, c.MaxVersion, s.MaxRenegotiations = true, true, TLS12, 2
	p := pairOf(t, c, s).shaken()
	for i := range 6 {
		if r := p.server.Renegotiate(); r.Err != nil {
			t.Fatalf("%d: %+v", i, r)
		}
		for range 3 {
			p.finish()
		}
	}
}

// TestEmptyRecords: OpenSSL ends a flood of empty records itself, after 32 in a row (P36).
func TestEmptyRecords(t *testing.T) {
	p := newRecordPeers(t, gcmSuites[0]).connect(t, mustServer(t, serverConfig("ecdsa")))
	var r tlsio.Result
	n := 0
	for ; n < 1000 && r.Err == nil; n++ {
		p.server.Feed(p.data(""))
		r = p.server.Read(p.buf)
	}
	if e, ok := errors.AsType[*tlsio.Error](r.Err); !ok || e.Errno != 0 || e.Err != nil || e.AlertSide != tlsio.AlertSent || n != 33 {
		t.Errorf("after %d empty records: %+v", n, r)
	}
}

// TestHugeHello: a hello that announces more than OpenSSL takes (131,396 bytes) is refused when its header has come, and one
// of that size is not. This bounds what a peer makes a server allocate before anything is known of it.
func TestHugeHello(t *testing.T) {
	for _, tc := range []struct {
		announced int
		refused   bool
	}{{131396, false}, {131397, true}, {1<<24 - 1, true}} {
		c := engineConn(t, mustServer(t, serverConfig("ecdsa")), ConnConfig{})
		n := tc.announced
		c.Feed([]byte{22, 3, 1, 0, 5, 1, byte(n >> 16), byte(n >> 8), byte(n), 3})
		r := c.Handshake()
		var e *tlsio.Error
		if refused := errors.As(r.Err, &e); refused != tc.refused || !refused && r.Want != tlsio.WantRead {
			t.Errorf("a hello of %d bytes: %+v", n, r)
		} else if refused && (e.AlertSide != tlsio.AlertSent || e.Reasons[0].Text != "excessive message size") {
			t.Errorf("a hello of %d bytes: %v", n, e)
		}
	}
}

// TestHugeChain: a client's certificate chain of more than 100 KiB is refused, before any of it is checked.
func TestHugeChain(t *testing.T) {
	leaf, other := testcerts.Read(t, "client.pem"), testcerts.Read(t, "root.pem")
	for _, tc := range []struct {
		extra   int
		refused bool
	}{{20, false}, {300, true}} {
		c, s := clientConfig(), serverConfig("ecdsa")
		c.Certificates = []Certificate{{ChainPEM: append(bytes.Clone(leaf), bytes.Repeat(other, tc.extra)...), KeyPEM: testcerts.Read(t, "client.key")}}
		s.Verify, s.CAPEM = VerifyRequire, other
		p := pairOf(t, c, s)
		var err error
		for done := false; !done && err == nil; {
			if r := p.client.Handshake(); r.Err != nil {
				t.Fatalf("client: %v", r.Err)
			}
			// A little at a time, since the server takes no more when it has refused.
			if n := p.client.Take(p.buf[:1000]); n > 0 {
				if p.server.Feed(p.buf[:n]) != n {
					t.Fatal("the server takes no more input")
				}
			}
			r := p.server.Handshake()
			err, done = r.Err, r.Want == tlsio.WantNone
			if n := p.server.Take(p.buf); n > 0 {
				p.client.Feed(p.buf[:n])
			}
		}
		var e *tlsio.Error
		if refused := errors.As(err, &e); refused != tc.refused {
			t.Errorf("a chain with %d more certificates: %v", tc.extra, err)
		} else if refused && e.Reasons[0].Text != "excessive message size" {
			t.Errorf("a chain with %d more certificates: %v", tc.extra, e)
		}
	}
}
