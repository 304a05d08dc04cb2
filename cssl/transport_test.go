package cssl

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// versions pins both sides to one protocol version.
var versions = []TLSVersion{TLS12, TLS13}

// mode is a combination of the settings that change how bytes pass.
type mode struct {
	version TLSVersion
	tail    int
	ahead   bool
	release bool
	cert    string
}

func (m mode) String() string {
	return fmt.Sprintf("%v/tail=%d/ahead=%v/release=%v/%s", m.version, m.tail, m.ahead, m.release, m.cert)
}

func (m mode) contexts(t testing.TB) (client, server *Context) {
	t.Helper()
	c, s := clientConfig(), serverConfig(m.cert)
	for _, x := range []*Config{&c, &s} {
		x.MinVersion, x.MaxVersion = m.version, m.version
		x.Tail, x.NoReadAhead, x.ReleaseBuffers = m.tail, !m.ahead, m.release
		x.Renegotiation = true
	}
	return mustClient(t, c), mustServer(t, s)
}

// busy gives two endpoints work: n bytes both ways, crossed by KeyUpdates or
// renegotiations that both sides begin, and a shutdown.
func busy(m mode, c, s *endpoint, n int) {
	c.out, s.out = tlstest.Bytes(n, 1), tlstest.Bytes(n, 2)
	c.record, s.record = 7001, 2003
	c.close, s.close = true, true
	// Who has sent close_notify in TLS 1.2 ignores handshakes, so the server goes last.
	c.expect, s.expect, s.last = n, n, true
	for i, e := range []*endpoint{c, s} {
		for k := 1; k <= 3; k++ {
			at := n * (2*k - 1 + i) / 8
			if m.version == TLS12 {
				e.actions = append(e.actions, action{at, tlsio.OpRenegotiate, (*Conn).Renegotiate})
				continue
			}
			e.actions = append(e.actions, action{at, tlsio.OpKeyUpdate, func(c *Conn) tlsio.Result { return c.KeyUpdate(k%2 == 1) }})
		}
	}
}

func finished(c, s *endpoint) func() bool { return func() bool { return c.done() && s.done() } }

func checkBusy(t *testing.T, c, s *endpoint) {
	t.Helper()
	sameBytes(t, "server", s.in, c.out)
	sameBytes(t, "client", c.in, s.out)
	for _, e := range []*endpoint{c, s} {
		check(t, e.end.Error() == "EOF", "%s: reading ended with %v", e.name, e.end)
	}
}

// TestEngineChunks lets few bytes pass at a time through the handshake (also with a
// chain of 90 kB, P07), streams both ways with renegotiations or KeyUpdates from
// both sides in their midst (P16), and the shutdown.
func TestEngineChunks(t *testing.T) {
	for _, chunk := range []int{1, 2, 7, 1000, 1 << 16} {
		for _, version := range versions {
			for _, tail := range []int{1, 100, 16384, 0} {
				if chunk < 1000 && (tail == 100 || tail == 16384) {
					continue
				}
				m := mode{version, tail, chunk%2 == 1 || tail == 0, tail != 0, "ecdsa"}
				n := 100_000
				if chunk <= 2 && tail == 1 {
					n = 20_000
				}
				if chunk == 7 && tail == 0 {
					m.cert = "big"
				}
				t.Run(fmt.Sprintf("%d/%v", chunk, m), func(t *testing.T) {
					cx, sx := m.contexts(t)
					c, s := engineEnds(t, cx, sx)
					busy(m, c, s, n)
					if tail == 0 {
						c.record, s.record = 0, 0 // whole Writes, in full records
					}
					runEngine(t, c, s, chunk, finished(c, s))
					checkBusy(t, c, s)
				})
			}
		}
	}
}

// TestEngineReadsParts: a Read that finds new bytes of a record says that input has moved, and one that finds none does not.
func TestEngineReadsParts(t *testing.T) {
	p := established(t)
	send(t, p.client, "message")
	record := p.buf[:p.client.Take(p.buf)]
	for i, b := range record {
		p.server.Feed([]byte{b})
		r := p.server.Read(p.buf[len(record):])
		check(t, r.In && r.N > 0 == (i == len(record)-1), "after %d of %d bytes: %+v", i+1, len(record), r)
		r = p.server.Read(p.buf[len(record):])
		check(t, !r.In && r.Want == tlsio.WantRead, "after %d of %d bytes, once more: %+v", i+1, len(record), r)
	}
}

// TestSockets is the same over real sockets with the smallest buffers.
func TestSockets(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, version := range versions {
			for _, tail := range []int{1, 16384, 0} { // TestParkedWrite… shows why not -1
				for i, cert := range []string{"ecdsa", "big"} {
					m := mode{version, tail, i == 0, tail > 1, cert}
					t.Run(network+"/"+m.String(), func(t *testing.T) {
						t.Parallel()
						cx, sx := m.contexts(t)
						c, s := socketEnds(t, network, true, cx, sx)
						n := 100_000
						if network == "tcp" {
							n = 20_000 // the kernel delays what does not fill a tiny window
						}
						busy(m, c, s, n)
						runSockets(t, c, s, finished(c, s))
						checkBusy(t, c, s)
					})
				}
			}
		}
	}
}

// TestSocketsWithoutTail streams both ways over plain socket BIOs in TLS 1.3, where
// nothing but application data is written.
func TestSocketsWithoutTail(t *testing.T) {
	for _, cert := range []string{"ecdsa", "big"} {
		cx, sx := mode{TLS13, -1, true, false, cert}.contexts(t)
		c, s := socketEnds(t, "unix", true, cx, sx)
		c.out, s.out = tlstest.Bytes(100_000, 1), tlstest.Bytes(100_000, 2)
		c.close, s.close = true, true
		runSockets(t, c, s, finished(c, s))
		checkBusy(t, c, s)
	}
}

// TestTailIsBounded: what a connection keeps for a peer that does not read never
// exceeds Config.Tail, and is given back when it has been sent.
func TestTailIsBounded(t *testing.T) {
	for _, tail := range []int{-1, 1, 100, 16384, 0} {
		cx, sx := mode{TLS13, tail, true, false, "ecdsa"}.contexts(t)
		c, s := socketEnds(t, "unix", true, cx, sx)
		runSockets(t, c, s, func() bool { return c.established() && s.established() && !s.unsent })
		s.out = tlstest.Bytes(1<<20, 4)
		s.turn(readable | writable)
		limit := max(tail, minTail)
		switch {
		case tail < 0:
			limit = 0
		case tail == 0:
			limit = DefaultTail
		}
		n := s.c.Unsent()
		check(t, n <= limit && (tail < 0 || n != 0), "tail %d: %d bytes are kept", tail, n)
		check(t, s.sent != len(s.out) && s.wants[tlsio.OpWrite] == tlsio.WantWrite, "tail %d: the write does not wait: %v", tail, s)
		runSockets(t, c, s, func() bool { return s.done() && len(c.in) == len(s.out) })
		sameBytes(t, "client", c.in, s.out)
		equal(t, s.c.Unsent(), 0, "tail %d", tail)
	}
}

// TestDrainedIsTrue: a Read that said Drained is followed by one that answers WantRead,
// with and without a peer that has sent several records.
func TestDrainedIsTrue(t *testing.T) {
	for _, version := range versions {
		for _, ahead := range []bool{false, true} {
			cc, sc := clientUpTo(version), serverConfig("ecdsa")
			cc.NoReadAhead = !ahead
			c, s := socketEnds(t, "unix", false, mustClient(t, cc), mustServer(t, sc))
			runSockets(t, c, s, func() bool { return c.established() && s.established() })
			c.turn(readable)
			for _, size := range []int{1, 100, 16384, 40000} {
				writeAll(t, s.c, make([]byte, size))
				got, drained := 0, false
				for got < size {
					r := c.c.Read(c.readBuf)
					demand(t, r.Err == nil && r.Want == tlsio.WantNone, "size %d: %+v after %d bytes", size, r, got)
					got += r.N
					drained = r.Drained
					demand(t, !r.Drained || got >= size, "size %d: drained after %d bytes", size, got)
				}
				check(t, !ahead || drained, "size %d: the last read does not say that it was the last", size)
				wants(t, fmt.Sprintf("size %d: after the last byte", size), c.c.Read(c.readBuf), tlsio.WantRead)
			}
		}
	}
}

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
			demand(t, p.client.FreeBuffers() && p.server.FreeBuffers(), "%v: the buffers are in use after the handshake", version)
			want := strings.Repeat("record", 100)
			send(t, p.client, want)
			wire := p.buf[:p.client.Take(p.buf)]
			// First a part of the record.
			p.server.Feed(wire[:cut])
			wants(t, "read", p.server.Read(buf), tlsio.WantRead)
			freed := p.server.FreeBuffers()
			check(t, freed == (cut == 0 || testmain.Direct()), "%v: %v with %d bytes of a record", version, freed, cut)
			p.server.Feed(wire[cut:])
			// Then it is given out in parts.
			got := ""
			for len(got) < len(want) {
				r := p.server.Read(buf[:200])
				demand(t, r.N != 0, "%+v", r)
				got += string(buf[:r.N])
				freed := p.server.FreeBuffers()
				check(t, freed == (len(got) == len(want) || testmain.Direct()), "%v: %v after %d bytes", version, freed, len(got))
			}
			check(t, got == want, "%v, cut at %d: %q", version, cut, got)
			p.server.Close()
			check(t, p.server.FreeBuffers(), "a closed connection has buffers")
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
					if clientDone {
						writeAll(t, c, msg)
					}
					if done(s); clientDone {
						break
					}
				}
				quiet := func() bool {
					_, _, err := unix.Recvfrom(s.fd, buf[:1], unix.MSG_PEEK|unix.MSG_DONTWAIT)
					return err == unix.EAGAIN
				}
				if ahead && version == TLS13 && size <= 1000 {
					check(t, quiet() && s.hasPending(), "%d bytes: the socket is quiet: %v, pending: %v", size, quiet(), s.hasPending())
				}
				for len(got) < size {
					r := s.Read(buf)
					demand(t, r.N != 0, "%v, %d bytes, ahead %v: %d of them, then %+v", version, size, ahead, len(got), r)
					check(t, !r.Drained || len(got)+r.N >= size,
						"%v, %d bytes, ahead %v: drained after %d", version, size, ahead, len(got)+r.N)
					got = append(got, buf[:r.N]...)
				}
				sameBytes(t, "server", got, msg)
				check(t, !s.hasPending() && s.Read(buf).Want == tlsio.WantRead,
					"%v, %d bytes, ahead %v: more than was sent", version, size, ahead)
			}
		}
	}
}
