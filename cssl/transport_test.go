package cssl

import (
	"fmt"
	"testing"

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
		if e.end.Error() != "EOF" {
			t.Errorf("%s: reading ended with %v", e.name, e.end)
		}
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
	if r := p.client.Write([]byte("message")); r.N != 7 {
		t.Fatal(r)
	}
	record := p.buf[:p.client.Take(p.buf)]
	for i, b := range record {
		p.server.Feed([]byte{b})
		if r := p.server.Read(p.buf[len(record):]); !r.In || r.N > 0 != (i == len(record)-1) {
			t.Errorf("after %d of %d bytes: %+v", i+1, len(record), r)
		}
		if r := p.server.Read(p.buf[len(record):]); r.In || r.Want != tlsio.WantRead {
			t.Errorf("after %d of %d bytes, once more: %+v", i+1, len(record), r)
		}
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
		if n := s.c.Unsent(); n > limit || tail >= 0 && n == 0 {
			t.Errorf("tail %d: %d bytes are kept", tail, n)
		}
		if s.sent == len(s.out) || s.wants[tlsio.OpWrite] != tlsio.WantWrite {
			t.Errorf("tail %d: the write does not wait: %v", tail, s)
		}
		runSockets(t, c, s, func() bool { return s.done() && len(c.in) == len(s.out) })
		sameBytes(t, "client", c.in, s.out)
		if n := s.c.Unsent(); n != 0 {
			t.Errorf("tail %d: %d bytes are left", tail, n)
		}
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
				for left := size; left > 0; {
					left -= s.c.Write(make([]byte, left)).N
				}
				got, drained := 0, false
				for got < size {
					r := c.c.Read(c.readBuf)
					if r.Err != nil || r.Want != tlsio.WantNone {
						t.Fatalf("size %d: %+v after %d bytes", size, r, got)
					}
					got += r.N
					drained = r.Drained
					if r.Drained && got < size {
						t.Fatalf("size %d: drained after %d bytes", size, got)
					}
				}
				if ahead && !drained {
					t.Errorf("size %d: the last read does not say that it was the last", size)
				}
				if r := c.c.Read(c.readBuf); r.Want != tlsio.WantRead {
					t.Errorf("size %d: after the last byte %+v", size, r)
				}
			}
		}
	}
}
