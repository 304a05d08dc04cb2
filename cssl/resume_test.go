package cssl

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

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

// again makes a second pair whose client offers the first one's session.
func (p *pair) again(client, server *Context, name string) *pair {
	p.t.Helper()
	session := p.client.Session()
	q := newPair(p.t, client, server, ConnConfig{ServerName: name, Session: session}).opened()
	return q
}

// TestResumption resumes by ticket and by the server's cache, with and without client certificates (P22).
func TestResumption(t *testing.T) {
	tests := []struct {
		name   string
		change func(c, s *Config)
		want   [2]bool // TLS 1.2, 1.3
	}{
		{"ticket", func(c, s *Config) {}, [2]bool{true, true}},
		{"no tickets", func(c, s *Config) { s.NoTickets = true }, [2]bool{false, false}},
		{"no tickets for the client", func(c, s *Config) { c.NoTickets = true }, [2]bool{false, true}},
		{"cache", func(c, s *Config) { s.NoTickets, s.SessionCache = true, 10 }, [2]bool{true, false}},
		{"mTLS", func(c, s *Config) {
			s.CAFile, s.Verify = testcerts.Path("root.pem"), VerifyRequire
			c.Certificates = serverConfig("client").Certificates
		}, [2]bool{true, true}},
	}
	for _, tt := range tests {
		for i, version := range versions {
			t.Run(tt.name+"/"+version.String(), func(t *testing.T) {
				c, s := clientConfig(), serverConfig("ecdsa")
				c.MaxVersion = version
				tt.change(&c, &s)
				cx, sx := mustClient(t, c), mustServer(t, s)
				p := newPair(t, cx, sx).opened()
				if p.client.State().Resumed || p.server.State().Resumed {
					t.Error("the first handshake is said to be resumed")
				}
				q := p.again(cx, sx, "localhost")
				if q.client.State().Resumed != tt.want[i] || q.server.State().Resumed != tt.want[i] {
					t.Errorf("client resumed %v, server %v, want %v", q.client.State().Resumed, q.server.State().Resumed, tt.want[i])
				}
				chain, err := q.server.State().PeerCertificates()
				if err != nil || (len(chain) > 0) != (tt.name == "mTLS") {
					t.Errorf("the server knows %d certificates after the resumption: %v", len(chain), err)
				}
				if q.client.State().VerifyError != nil || q.server.State().VerifyError != nil {
					t.Errorf("verify results: %v, %v", q.client.State().VerifyError, q.server.State().VerifyError)
				}
			})
		}
	}
}

// TestTicketCount: a server sends as many tickets as it is told to, each in a record of its own behind the handshake.
func TestTicketCount(t *testing.T) {
	for want, change := range map[int]func(*Config){
		0: func(c *Config) { c.NoTickets = true },
		1: func(c *Config) {},
		2: func(c *Config) { c.Tickets = 2 },
		4: func(c *Config) { c.Tickets = 4 },
	} {
		s := serverConfig("ecdsa")
		change(&s)
		p := newPair(t, mustClient(t, clientConfig()), mustServer(t, s))
		p.client.Handshake()
		p.move(p.client, p.server)
		p.server.Handshake()
		p.move(p.server, p.client)
		p.client.Handshake()
		p.move(p.client, p.server)
		if r := p.server.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
			t.Fatalf("the handshake is not done: %+v", r)
		}
		n := 0
		for left := p.buf[:p.server.Take(p.buf)]; len(left) > 5; n++ { // a record: type, version, length, content
			left = left[5+(int(left[3])<<8|int(left[4])):]
		}
		if n != want {
			t.Errorf("%d tickets, want %d", n, want)
		}
	}
}

// TestNoTicketsNoGrowth: with NoTickets and a cache, sessions of TLS 1.3 are not put into the cache,
// which would grow without a bound (P24, CVE-2024-2511).
func TestNoTicketsNoGrowth(t *testing.T) {
	s := serverConfig("ecdsa")
	s.NoTickets, s.SessionCache = true, 1000
	cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
	for range 20 {
		p := newPair(t, cx, sx).opened()
		if p.client.Session() != nil {
			t.Fatal("a session can be resumed")
		}
	}
	if n := sx.cached(); n != 0 {
		t.Errorf("%d sessions are cached", n)
	}
}

// TestCacheIsBounded: the cache for TLS 1.2 holds no more than it was given (P24).
func TestCacheIsBounded(t *testing.T) {
	s := serverConfig("ecdsa")
	s.NoTickets, s.SessionCache, s.MaxVersion = true, 3, TLS12
	cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
	for range 20 {
		newPair(t, cx, sx).handshake()
	}
	if n := sx.cached(); n < 1 || n > 3 {
		t.Errorf("%d sessions are cached, want 1 to 3", n)
	}
}

// TestNoResumptionAcrossNames: a session with one name, offered for another name, must
// not make the client believe that it talks to the other (P22).
func TestNoResumptionAcrossNames(t *testing.T) {
	for _, version := range versions {
		for _, verify := range []VerifyMode{VerifyDefault, VerifyNone} {
			c := clientConfig()
			c.MaxVersion, c.Verify = version, verify
			cx := mustClient(t, c)
			other := mustServer(t, serverConfig("wrongname")) // is for other.test
			s := serverConfig("ecdsa")
			s.SNI = map[string]*Context{"other.test": other}
			sx := mustServer(t, s)
			p := newPair(t, cx, sx).opened()
			q := p.again(cx, sx, "other.test")
			if q.client.State().Resumed {
				t.Errorf("%v: the session is resumed for another name", version)
			}
			if chain, err := q.client.State().PeerCertificates(); err != nil || len(chain) == 0 || chain[0].VerifyHostname("other.test") != nil {
				t.Errorf("%v: other.test has the identity %v", version, chain)
			}
			// The same server without a choice of names: only the client can tell.
			cc := engineConn(t, cx, ConnConfig{ServerName: "other.test", Session: p.client.Session()})
			r := newPair(t, cx, mustServer(t, serverConfig("ecdsa")))
			r.client = cc
			if cerr, _ := r.try(); (cerr == nil) != (verify == VerifyNone) {
				t.Errorf("%v: the handshake for another name: %v", version, cerr)
			}
		}
	}
}

// TestNoResumptionAcrossDemands: a session that was made without checks does not help past them.
func TestNoResumptionAcrossDemands(t *testing.T) {
	for _, version := range versions {
		lax := Config{Verify: VerifyNone, MaxVersion: version}
		sx := mustServer(t, serverConfig("ecdsa"))
		p := newPair(t, mustClient(t, lax), sx).opened()
		strict := clientConfig()
		strict.MaxVersion = version
		if q := p.again(mustClient(t, strict), sx, "localhost"); q.client.State().Resumed {
			t.Errorf("%v: resumed", version)
		}
	}
}

// TestRenegotiationSetting: off, the peer is told so and Renegotiate is refused without harm; on, both sides can begin.
func TestRenegotiationSetting(t *testing.T) {
	for _, version := range versions {
		for _, on := range []bool{false, true} {
			c, s := clientConfig(), serverConfig("ecdsa")
			c.Renegotiation, s.Renegotiation, c.MaxVersion = on, on, version
			p := pairOf(t, c, s).opened()
			for _, x := range []*Conn{p.client, p.server} {
				r := x.Renegotiate()
				if allowed := on && version == TLS12; allowed != (r.Err == nil) {
					t.Errorf("%v, %v: %+v", version, on, r)
				}
				p.finish()
				p.finish()
			}
			for _, x := range []*Conn{p.client, p.server} {
				if r := x.Write([]byte("x")); r.N != 1 {
					t.Errorf("%v, %v: write afterwards: %+v", version, on, r)
				}
			}
		}
	}
}
