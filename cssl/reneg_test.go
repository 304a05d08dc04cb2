package cssl

import (
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestRenegotiateBothSides: a client asks for a renegotiation while the server's HelloRequest has come
// in part, with application data behind it. OpenSSL 3.0 alone would take that data for a protocol error.
func TestRenegotiateBothSides(t *testing.T) {
	for _, first := range []int{1, 5, 20, 1000} {
		for _, chunk := range []int{1, 3, 7, 1000} {
			cc, sc := clientConfig(), serverConfig("ecdsa")
			cc.Renegotiation, sc.Renegotiation, cc.MaxVersion = true, true, TLS12
			p := pairOf(t, cc, sc).shaken()
			if r := p.server.Renegotiate(); r.Err != nil {
				t.Fatalf("server: %+v", r)
			}
			p.server.Write([]byte("hello"))
			p.chunk = first
			p.move(p.server, p.client)
			got := string(p.buf[:p.client.Read(p.buf).N])
			if r := p.client.Renegotiate(); r.Err != nil && first < 1000 {
				t.Fatalf("client, after %d bytes: %+v", first, r)
			}
			p.chunk = chunk
			read := func(c *Conn) {
				if r := c.Handshake(); r.Err != nil {
					t.Fatalf("after %d bytes and then %d at a time: handshake: %v", first, chunk, r.Err)
				}
				r := c.Read(p.buf)
				if r.Err != nil {
					t.Fatalf("after %d bytes and then %d at a time: read: %v", first, chunk, r.Err)
				}
				got += string(p.buf[:r.N])
			}
			for moved := 1; moved > 0; {
				moved = p.move(p.server, p.client)
				read(p.client)
				moved += p.move(p.client, p.server)
				read(p.server)
			}
			if got != "hello" {
				t.Errorf("after %d bytes and then %d at a time: got %q", first, chunk, got)
			}
			for _, c := range []*Conn{p.client, p.server} {
				if r := c.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
					t.Errorf("after %d bytes and then %d at a time: a handshake is left: %+v", first, chunk, r)
				}
			}
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
