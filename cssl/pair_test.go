package cssl

import (
	"bytes"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// serverConfig is a server with one of the test PKI's certificates ("ecdsa", "rsa" …).
func serverConfig(name string) Config {
	return Config{Certificates: []Certificate{{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}}}
}

// clientConfig trusts the test PKI's root.
func clientConfig() Config { return Config{CAFile: testcerts.Path("root.pem")} }

func mustServer(t testing.TB, c Config) *Context {
	t.Helper()
	x, err := NewServerContext(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func mustClient(t testing.TB, c Config) *Context {
	t.Helper()
	x, err := NewClientContext(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

// pair is a client and a server in engine mode, joined by hand.
type pair struct {
	t              testing.TB
	client, server *Conn
	buf            []byte
	chunk          int              // how many bytes of ciphertext pass at a time; 0 is all
	early          []byte           // what the server has read of early data
	wire           map[*Conn][]byte // what each has sent, if that is to be known
	rest           map[*Conn][]byte // what each had no room for
}

func newPair(t testing.TB, client, server *Context) *pair {
	t.Helper()
	c, err := client.NewEngineConn(ConnConfig{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.NewEngineConn(ConnConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	t.Cleanup(s.Close)
	return &pair{t: t, client: c, server: s, buf: make([]byte, 1<<16)}
}

// move carries ciphertext from one to the other, as far as that one has room, and
// returns how much.
func (p *pair) move(from, to *Conn) int {
	n := len(p.buf)
	if p.chunk > 0 {
		n = p.chunk
	}
	if left := p.rest[to]; len(left) > 0 {
		n = to.Feed(left)
		p.rest[to] = left[n:]
		return n
	}
	sent := p.buf[:from.Take(p.buf[:n])]
	if p.wire != nil {
		p.wire[from] = append(p.wire[from], sent...)
	}
	n = to.Feed(sent)
	if n < len(sent) {
		if p.rest == nil {
			p.rest = map[*Conn][]byte{}
		}
		p.rest[to] = bytes.Clone(sent[n:])
	}
	return n
}

// shake carries a handshake on, and waits for what is done off this goroutine.
func shake(c *Conn) tlsio.Result {
	for {
		if r := c.Handshake(); r.Want != tlsio.WantAsync {
			return r
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (p *pair) handshake() {
	p.t.Helper()
	var cs, ss bool
	for i := 0; i < 200000 && !(cs && ss); i++ {
		for _, e := range []struct {
			c    *Conn
			done *bool
		}{{p.client, &cs}, {p.server, &ss}} {
			if *e.done {
				continue
			}
			r := shake(e.c)
			if r.Err != nil {
				p.t.Fatal(r.Err)
			}
			*e.done = r.Want == tlsio.WantNone
		}
		p.move(p.client, p.server)
		p.move(p.server, p.client)
	}
	if !cs || !ss {
		p.t.Fatal("handshake did not end")
	}
}
