package cssl

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
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
			want := strings.Repeat("record", 100)
			send(t, p.client, want)
			wire := p.buf[:p.client.Take(p.buf)]
			// First a part of the record.
			p.server.Feed(wire[:cut])
			wants(t, "read", p.server.Read(buf), tlsio.WantRead)
			if freed := p.server.FreeBuffers(); freed != (cut == 0 || testmain.Direct()) {
				t.Errorf("%v: %v with %d bytes of a record", version, freed, cut)
			}
			p.server.Feed(wire[cut:])
			// Then it is given out in parts.
			got := ""
			for len(got) < len(want) {
				r := p.server.Read(buf[:200])
				if r.N == 0 {
					t.Fatalf("%+v", r)
				}
				got += string(buf[:r.N])
				if freed := p.server.FreeBuffers(); freed != (len(got) == len(want) || testmain.Direct()) {
					t.Errorf("%v: %v after %d bytes", version, freed, len(got))
				}
			}
			if got != want {
				t.Errorf("%v, cut at %d: %q", version, cut, got)
			}
			if p.server.Close(); !p.server.FreeBuffers() {
				t.Error("a closed connection has buffers")
			}
		}
	}
}

// TestReadAheadInHandshake: what arrives together with the end of the handshake is received with it, and the next
// reads have it although the socket is quiet. OpenSSL 3.0 keeps it itself; newer ones leave it to the transport.
func TestReadAheadInHandshake(t *testing.T) {
	done := func(c *Conn) bool {
		r := c.Handshake()
		tlstest.Must(t, r.Err)
		return r.Want == tlsio.WantNone
	}
	for _, version := range versions {
		for _, size := range []int{1, 1000, 16384, 40000} {
			for _, ahead := range []bool{true, false} {
				sc := serverConfig("ecdsa")
				sc.NoReadAhead = !ahead
				a, b := socketEnds(t, "unix", false, mustClient(t, clientUpTo(version)), mustServer(t, sc))
				c, s, buf := a.c, b.c, a.readBuf
				msg, got := tlstest.Bytes(size, 1), []byte(nil)
				for range 3 {
					clientDone := done(c)
					for left := msg; clientDone && len(left) > 0; {
						r := c.Write(left)
						if r.N == 0 {
							t.Fatalf("%+v", r)
						}
						left = left[r.N:]
					}
					if done(s); clientDone {
						break
					}
				}
				quiet := func() bool {
					_, _, err := unix.Recvfrom(s.fd, buf[:1], unix.MSG_PEEK|unix.MSG_DONTWAIT)
					return err == unix.EAGAIN
				}
				if ahead && version == TLS13 && size <= 1000 && !(quiet() && s.hasPending()) {
					t.Errorf("%v, %d bytes: the socket is quiet: %v, input is pending: %v", version, size, quiet(), s.hasPending())
				}
				for len(got) < size {
					r := s.Read(buf)
					if r.N == 0 {
						t.Fatalf("%v, %d bytes, ahead %v: %d of them, then %+v", version, size, ahead, len(got), r)
					}
					if r.Drained && len(got)+r.N < size {
						t.Errorf("%v, %d bytes, ahead %v: drained after %d", version, size, ahead, len(got)+r.N)
					}
					got = append(got, buf[:r.N]...)
				}
				sameBytes(t, "server", got, msg)
				if s.hasPending() || s.Read(buf).Want != tlsio.WantRead {
					t.Errorf("%v, %d bytes, ahead %v: more than was sent", version, size, ahead)
				}
			}
		}
	}
}
