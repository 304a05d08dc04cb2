package cssl

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
)

// has35 reports whether OpenSSL 3.5 or newer is linked.
func has35() bool { return linked.Run.series() >= 0x305 }

// need35 skips a test of what only OpenSSL 3.5 can do.
func need35(t testing.TB) {
	t.Helper()
	if !has35() {
		t.Skipf("needs OpenSSL 3.5, %v is linked", linked.Run)
	}
}

// retried makes a handshake and reports whether the server asked for another client hello, which costs a round trip. Such a
// request is a server hello with a certain random (RFC 8446, section 4.1.3).
func (p *pair) retried() bool {
	p.t.Helper()
	special := sha256.Sum256([]byte("HelloRetryRequest"))
	p.client.Handshake()
	p.move(p.client, p.server)
	p.server.Handshake()
	n := p.server.Take(p.buf)
	again := bytes.Contains(p.buf[:n], special[:])
	if p.client.Feed(p.buf[:n]) != n {
		p.t.Fatal("engine takes no input")
	}
	p.handshake()
	return again
}

// TestDefaultKeyShares: the hybrid with ML-KEM is what both sides prefer where there is one, and a peer
// that lacks it costs no round trip more.
func TestDefaultKeyShares(t *testing.T) {
	best := "x25519"
	if has35() {
		best = "X25519MLKEM768"
	}
	for _, tt := range []struct {
		client, server string // the groups; empty: the default
		want           string
		retried        bool
	}{
		{"", "", best, false},
		{"", "X25519", "x25519", false},
		{"X25519", "", "x25519", false},
		{"", "P-256", "secp256r1", true},
		{"P-256", "", "secp256r1", false},
		{"P-384", "", "secp384r1", false},
		{"X25519:P-256", "P-256:X25519", "x25519", false},
	} {
		for _, resumed := range []bool{false, true} {
			c, s := clientConfig(), serverConfig("ecdsa")
			c.Groups, s.Groups = tt.client, tt.server
			cx, sx := mustClient(t, c), mustServer(t, s)
			p := newPair(t, cx, sx)
			if resumed {
				p.opened()
				session := p.client.Session()
				p = newPair(t, cx, sx)
				p.client.Close()
				var err error
				if p.client, err = cx.NewEngineConn(ConnConfig{ServerName: "localhost", Session: session}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.client.Close)
			}
			again := p.retried()
			if g := p.server.State().Group; !strings.EqualFold(g, tt.want) || again != tt.retried || p.server.State().Resumed != resumed {
				t.Errorf("client %q, server %q, resumed %v: %s (%v), retried %v; want %s, %v", tt.client, tt.server, resumed,
					g, p.server.State().Resumed, again, tt.want, tt.retried)
			}
		}
	}
}

// TestPostQuantumGroups: each of OpenSSL 3.5's can be asked for by name, also with the signs of its lists.
func TestPostQuantumGroups(t *testing.T) {
	need35(t)
	for _, name := range []string{"X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "MLKEM512", "MLKEM768", "MLKEM1024"} {
		c, s := clientConfig(), serverConfig("ecdsa")
		c.Groups, s.Groups = name, "?nonsense:X25519/"+name
		p := pairOf(t, c, s).opened()
		if cg, sg := p.client.State().Group, p.server.State().Group; cg != name || sg != name {
			t.Errorf("%s: client %s, server %s", name, cg, sg)
		}
	}
	// A Context that a server name leads to brings its own groups.
	s := serverConfig("ecdsa")
	s.Groups = "MLKEM1024"
	own := mustServer(t, s)
	s.Groups, s.SNI = "", map[string]*Context{"localhost": own}
	c := clientConfig()
	c.Groups = "*X25519:MLKEM1024"
	p := pairOf(t, c, s)
	p.handshake()
	if g := p.server.State().Group; g != "MLKEM1024" {
		t.Errorf("by server name: %s", g)
	}
}
