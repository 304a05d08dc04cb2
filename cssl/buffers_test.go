package cssl

import (
	"bytes"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestFreeBuffers: the buffers are given back while a connection rests, at whichever point of its life, and
// not while a part of a record is in them; no byte is lost either way. Direct records have no such buffers: there is always something
// to free, the contexts of the ciphers.
func TestFreeBuffers(t *testing.T) {
	for _, version := range versions {
		for _, cut := range []int{0, 1, 4, 5, 6, 100} {
			p := newPair(t, mustClient(t, Config{Verify: VerifyNone, MaxVersion: version}), mustServer(t, serverConfig("ecdsa")))
			for range 10 {
				p.client.Handshake()
				p.client.FreeBuffers()
				p.move(p.client, p.server)
				p.server.Handshake()
				p.server.FreeBuffers()
				p.move(p.server, p.client)
			}
			buf := make([]byte, 1000)
			p.client.Read(buf) // the tickets
			if !p.client.FreeBuffers() || !p.server.FreeBuffers() {
				t.Fatalf("%v: the buffers are in use after the handshake", version)
			}
			want := bytes.Repeat([]byte("record"), 100)
			if r := p.client.Write(want); r.N != len(want) {
				t.Fatalf("%+v", r)
			}
			wire := make([]byte, 4096)
			wire = wire[:p.client.Take(wire)]
			// First a part of the record.
			p.server.Feed(wire[:cut])
			if r := p.server.Read(buf); r.Want != tlsio.WantRead {
				t.Fatalf("%+v", r)
			}
			if freed := p.server.FreeBuffers(); freed != (cut == 0 || testmain.Direct()) {
				t.Errorf("%v: %v with %d bytes of a record", version, freed, cut)
			}
			p.server.Feed(wire[cut:])
			// Then it is given out in parts.
			got := []byte{}
			for len(got) < len(want) {
				r := p.server.Read(buf[:200])
				if r.N == 0 {
					t.Fatalf("%+v", r)
				}
				got = append(got, buf[:r.N]...)
				if freed := p.server.FreeBuffers(); freed != (len(got) == len(want) || testmain.Direct()) {
					t.Errorf("%v: %v after %d bytes", version, freed, len(got))
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%v, cut at %d: %q", version, cut, got)
			}
			p.server.Close()
			if !p.server.FreeBuffers() {
				t.Error("a closed connection has buffers")
			}
		}
	}
}
