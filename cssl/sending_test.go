package cssl

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// readAll reads from a socket until stop returns true for what has come, or until the end of the stream.
func readAll(t *testing.T, c *endpoint, stop func(got int) bool) (got []byte) {
	t.Helper()
	for !stop(len(got)) {
		r := c.c.Read(c.readBuf)
		got = append(got, c.readBuf[:r.N]...)
		if r.Want == tlsio.WantRead {
			await(t, c.c.fd)
		} else if r.Err == io.EOF {
			break
		}
		tlstest.Must(t, r.Err)
	}
	return got
}

// oneSegment calls send until it makes the kernel send one segment. The kernel
// waits 200 ms for more, and a machine may stand still for longer.
func oneSegment(t *testing.T, send func() (fd int, send func())) {
	t.Helper()
	segments := func(fd int) uint32 {
		return tlstest.Value(unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO))(t).Segs_out
	}
	for range 20 {
		fd, f := send()
		before := segments(fd)
		if f(); segments(fd) == before+1 {
			return
		}
	}
	t.Error("they left one by one")
}

// TestWriteMore: records of which each says that another follows leave in one segment, with the one that does not.
// What a write that is never followed left in the kernel arrives all the same.
func TestWriteMore(t *testing.T) {
	cx, sx := plain(t)
	c, s := readyEnds(t, "tcp", false, cx, sx)
	s.c.Flush()
	var want []byte
	write := func(more bool) {
		t.Helper()
		r := s.c.WriteBuffers([][]byte{[]byte("record")}, more)
		demand(t, r.N == 6 && !r.Unsent, "%+v", r)
		want = append(want, "record"...)
	}
	oneSegment(t, func() (int, func()) {
		return s.c.fd, func() {
			write(true)
			write(true)
			send(t, s.c, "record")
			want = append(want, "record"...)
		}
	})
	write(true)
	sameBytes(t, "client", readAll(t, c, func(n int) bool { return n >= len(want) }), want)
}

// TestShutdownMore: data, close_notify and FIN leave in one segment.
func TestShutdownMore(t *testing.T) {
	cx, sx := plain(t)
	var c, s *endpoint
	oneSegment(t, func() (int, func()) {
		c, s = readyEnds(t, "tcp", false, cx, sx)
		s.c.Flush()
		return s.c.fd, func() {
			r := s.c.WriteBuffers([][]byte{[]byte("end")}, true)
			demand(t, r.N == 3 && !r.Unsent, "%+v", r)
			r = s.c.ShutdownMore()
			demand(t, r.Err == nil && r.Want == tlsio.WantNone && !r.Unsent, "%+v", r)
			tlstest.Must(t, s.c.CloseWrite())
		}
	})
	sameBytes(t, "client", readAll(t, c, func(int) bool { return false }), []byte("end"))
}

// TestTicketsGoWithTheAnswer: a TLS 1.3 server's tickets are held after the handshake
// until something is written, which then takes them along, or Flush is called. They are
// held, not unsent (nobody need wait for the socket), and not lost (P14).
func TestTicketsGoWithTheAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		request bool
		then    func(*testing.T, *Conn)
	}{
		"an answer": {true, func(t *testing.T, s *Conn) {
			reads(t, s, "request")
			r := s.Write([]byte("answer"))
			check(t, r.N == 6 && r.Out && !r.Unsent, "write: %+v", r)
		}},
		"a read that finds nothing, and a flush": {false, func(t *testing.T, s *Conn) {
			r := s.Read(make([]byte, 100))
			check(t, r.Want == tlsio.WantRead && !r.Out && r.Held, "read: %+v", r)
			s.Flush()
		}},
		"a request without an answer": {true, func(t *testing.T, s *Conn) {
			r := s.Read(make([]byte, 100))
			check(t, r.N == 7 && r.Held, "read: %+v", r)
			r = s.Flush()
			check(t, r.Want == tlsio.WantNone && r.Out && !r.Held, "flush: %+v", r)
		}},
		"a flush": {false, func(t *testing.T, s *Conn) {
			r := s.Flush()
			check(t, r.Want == tlsio.WantNone && r.Out, "flush: %+v", r)
		}},
		"nobody there": {true, func(t *testing.T, s *Conn) {
			// A peer that has gone without its tickets has still sent a request.
			wants(t, "flush", s.Flush(), tlsio.WantNone)
			reads(t, s, "request")
			tlstest.IsError(t, "write", s.Write([]byte("answer")).Err, syscall.EPIPE)
		}},
		"a shutdown": {false, func(t *testing.T, s *Conn) {
			r := s.Shutdown()
			check(t, r.Want == tlsio.WantNone && r.Out, "shutdown: %+v", r)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cx, sx := plain(t)
			a, b := socketEnds(t, "unix", false, cx, sx)
			c, s, buf := a.c, b.c, a.readBuf
			c.Handshake()
			s.Handshake()
			wants(t, "client", c.Handshake(), tlsio.WantNone)
			if test.request {
				send(t, c, "request")
			}
			r := s.Handshake()
			demand(t, r.Want == tlsio.WantNone && r.Err == nil && !r.Unsent && r.Held, "server: %+v", r)
			n, _, err := syscall.Recvfrom(c.fd, buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			demand(t, err == syscall.EAGAIN, "%d bytes were sent before anything else was tried: %v", n, err)
			if name == "nobody there" {
				syscall.Shutdown(c.fd, syscall.SHUT_RD) // the peer's sends fail from here on
				test.then(t, s)
				return
			}
			test.then(t, s)
			r = c.Read(buf)
			check(t, (name != "an answer" || string(buf[:r.N]) == "answer") && r.In, "client's read: %+v", r)
			check(t, c.Session() != nil, "the client has no ticket")
		})
	}
}

// TestUnsentFlight: a side whose send fails while recv finds nothing (here for its own direction was shut down) does
// not wait for the answer to what was never sent: whatever finds nothing left to read says why.
func TestUnsentFlight(t *testing.T) {
	buf := make([]byte, 100)
	broken := func(t *testing.T, c *Conn) { tlstest.Must(t, syscall.Shutdown(c.fd, syscall.SHUT_WR)) }
	fails := func(t *testing.T, r tlsio.Result) {
		t.Helper()
		check(t, errors.Is(r.Err, syscall.EPIPE), "%+v, want EPIPE", r)
	}
	for _, version := range versions {
		cx, sx := mode{version: version, ahead: true, cert: "ecdsa"}.contexts(t)
		run := func(name string, test func(t *testing.T, c, s *endpoint)) {
			t.Run(version.String()+" "+name, func(t *testing.T) {
				c, s := socketEnds(t, "unix", false, cx, sx)
				test(t, c, s)
			})
		}
		run("client's hello", func(t *testing.T, c, s *endpoint) {
			broken(t, c.c)
			fails(t, c.c.Handshake())
		})
		run("server's answer", func(t *testing.T, c, s *endpoint) {
			c.c.Handshake()
			broken(t, s.c)
			fails(t, s.c.Handshake())
		})
		run("last flight", func(t *testing.T, c, s *endpoint) {
			c.c.Handshake()
			s.c.Handshake()
			last := c.c
			if version == TLS12 {
				c.c.Handshake()
				last = s.c
			}
			broken(t, last)
			wants(t, "handshake", last.Handshake(), tlsio.WantNone)
			fails(t, last.Read(buf))
		})
		if version != TLS13 {
			continue
		}
		run("tickets", func(t *testing.T, c, s *endpoint) {
			c.c.Handshake()
			s.c.Handshake()
			c.c.Handshake()
			send(t, c.c, "data")
			r := s.c.Handshake()
			demand(t, r.Held, "handshake: %+v", r)
			broken(t, s.c)
			s.c.Flush()
			r = s.c.Read(buf)
			check(t, string(buf[:r.N]) == "data" && !r.Drained, "read: %+v", r)
			fails(t, s.c.Read(buf))
		})
		run("answer to a KeyUpdate after the end", func(t *testing.T, c, s *endpoint) {
			runSockets(t, c, s, func() bool { return c.established() && s.established() })
			wants(t, "shutdown", s.c.Shutdown(), tlsio.WantNone)
			tlstest.Must(t, s.c.CloseWrite())
			for _, msg := range []string{"one", "two"} {
				c.c.KeyUpdate(true)
				send(t, c.c, msg)
				reads(t, s.c, msg)
				// Nothing of ours is missing, so reading goes on.
				wants(t, "read with nothing there", s.c.Read(buf), tlsio.WantRead)
			}
		})
	}
}

// TestUnsentAfterCloseWrite: in engine mode too, what OpenSSL writes after our FIN goes nowhere, and nobody waits for
// it to be taken. OpenSSL puts the answer to a KeyUpdate off, even until after close_notify.
func TestUnsentAfterCloseWrite(t *testing.T) {
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))).shaken()
	ask := func(request bool) tlsio.Result {
		t.Helper()
		wants(t, "key update", p.client.KeyUpdate(request), tlsio.WantNone)
		p.move(p.client, p.server)
		return p.server.Read(p.buf)
	}
	ask(true)
	wants(t, "shutdown", p.server.Shutdown(), tlsio.WantNone)
	before := p.server.Unsent()
	tlstest.Must(t, p.server.CloseWrite())
	check(t, before > 0 && p.server.Unsent() == before, "%d bytes to be taken before CloseWrite, %d after it", before, p.server.Unsent())
	p.move(p.server, p.client)
	for _, request := range []bool{false, true} {
		r := ask(request)
		check(t, r.Want == tlsio.WantRead && r.In && !r.Unsent, "read: %+v", r)
		equal(t, p.server.Unsent(), 0, "bytes that wait to be taken after the FIN")
	}
}

// TestReadAfterCloseWrite: ending our direction leaves the other one as it is, over either transport.
func TestReadAfterCloseWrite(t *testing.T) {
	cx, sx := plain(t)
	check := func(name string, reader, writer *Conn, move func()) {
		t.Helper()
		tlstest.Must(t, reader.CloseWrite())
		for range 3 {
			tlstest.Must(t, writer.Write([]byte("hello")).Err)
			move()
			reads(t, reader, "hello")
			wants(t, name+": read with nothing there", reader.Read(make([]byte, 100)), tlsio.WantRead)
		}
		tlstest.IsError(t, name+": write", reader.Write([]byte("x")).Err, syscall.EPIPE)
	}
	p := newPair(t, cx, sx).shaken()
	check("engine", p.server, p.client, func() { p.move(p.client, p.server) })
	c, s := readyEnds(t, "unix", false, cx, sx)
	check("socket", s.c, c.c, func() {})
}

// TestWriteBuffers: what WriteBuffers says it wrote arrives once and in order, whatever the socket and the tail have
// room for, and though what stands behind the first buffer changes after a want.
func TestWriteBuffers(t *testing.T) {
	const seed = 18
	sizes := []int{0, 1, 100, 16383, tlsio.MaxPlaintext, 40_000, 100_000}
	for _, records := range []Records{RecordsOpenSSL, RecordsDirect} {
		for _, tail := range []int{-1, 1, 40_000, 0} {
			if tail < 0 && (records == RecordsDirect || testmain.Direct()) {
				continue // which need one
			}
			for _, version := range versions {
				r := rand.New(rand.NewPCG(seed, uint64(tail)))
				sc := serverConfig("ecdsa")
				sc.Records, sc.Tail, sc.MaxVersion = records, tail, version
				c, s := readyEnds(t, "unix", true, mustClient(t, clientConfig()), mustServer(t, sc))
				want, at, first, waits, most := tlstest.Bytes(1<<20, 3), 0, 0, 0, 0
				for at < len(want) {
					var bufs [][]byte
					rest := want[at:]
					for i := range 1 + r.IntN(5) {
						n := sizes[r.IntN(len(sizes))]
						if i == 0 && first > 0 {
							n = first
						}
						n = min(n, len(rest))
						bufs = append(bufs, rest[:n])
						rest = rest[n:]
					}
					got := s.c.WriteBuffers(bufs, r.IntN(2) == 0)
					n := 0
					for _, b := range bufs[:min(len(bufs), 4)] {
						n += len(b)
					}
					demand(t, got.Err == nil && got.N <= n && (got.N > 0) == (got.Want == tlsio.WantNone && n > 0),
						"%v, tail %d, %v: %+v of %d bytes", records, tail, version, got, n)
					at, most = at+got.N, max(most, got.N)
					if first = 0; got.Want == tlsio.WantNone {
						continue
					}
					waits++
					first = len(bufs[slices.IndexFunc(bufs, func(b []byte) bool { return len(b) > 0 })])
					c.turn(readable)
				}
				for s.c.Flush().Want != tlsio.WantNone || len(c.in) < len(want) {
					c.turn(readable)
				}
				sameBytes(t, "client", c.in, want)
				check(t, waits != 0 && (tail != 0 || most >= 2*tlsio.MaxPlaintext),
					"%v, tail %d, %v: %d writes waited, none took more than %d bytes", records, tail, version, waits, most)
			}
		}
	}
}
