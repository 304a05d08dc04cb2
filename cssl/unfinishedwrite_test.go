package cssl

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// parkWrite makes a server connection over a socketpair with tiny buffers write until
// Write returns WantWrite, with the client not reading. When it reads, all arrives.
func parkWrite(t *testing.T, version TLSVersion, tail int) (c, s *endpoint, arrives func()) {
	t.Helper()
	cx, sx := mode{version: version, tail: tail, ahead: true, cert: "ecdsa"}.contexts(t)
	c, s = readyEnds(t, "unix", true, cx, sx)
	c.turn(readable)
	s.out = tlstest.Bytes(200_000, 5)
	s.turn(0)
	s.wants[tlsio.OpWrite] = s.c.Write(s.out[s.sent:]).Want
	demand(t, s.wants[tlsio.OpWrite] == tlsio.WantWrite, "the write is not parked: %v", s)
	return c, s, func() {
		t.Helper()
		runSockets(t, c, s, func() bool { return len(c.in) == len(s.out) })
		sameBytes(t, "client", c.in, s.out)
	}
}

// TestParkedWriteReadWithoutTail: over a plain socket BIO SSL_read works while an SSL_write is
// unfinished, although the manual does not allow it.
func TestParkedWriteReadWithoutTail(t *testing.T) {
	for _, version := range versions {
		c, s, arrives := parkWrite(t, version, -1)
		send(t, c.c, "hello")
		reads(t, s.c, "hello")
		arrives()
	}
}

// TestParkedWriteKeyUpdateWithoutTail: KeyUpdates while writes are unfinished. Read can be the one
// that has to write, finds another record in the way and fails (P34). This is the
// reason for the tail.
func TestParkedWriteKeyUpdateWithoutTail(t *testing.T) {
	m := mode{version: TLS13, tail: -1, cert: "ecdsa"}
	cx, sx := m.contexts(t)
	var err error
	for range 100 { // how much the kernel takes of a record is its own affair, so not each round comes to it
		// A unix socket takes or refuses a small record as a whole; TCP takes a part.
		c, s := socketEnds(t, "tcp", true, cx, sx)
		c.mayFail, s.mayFail = true, true
		busy(m, c, s, 100_000)
		c.record, s.record = 0, 0
		s.actions = nil
		for i := range c.actions {
			c.actions[i].run = func(c *Conn) tlsio.Result { return c.KeyUpdate(true) }
		}
		err = errorOf(func() { runSockets(t, c, s, finished(c, s)) })
		var e *tlsio.Error
		if errors.As(err, &e) && e.Errno == 0 && e.Err == nil && badRetry(e) {
			return
		}
	}
	t.Errorf("got %v, want bad write retry or bad length", err)
}

// badRetry reports whether OpenSSL found another record unfinished.
func badRetry(e *tlsio.Error) bool {
	return strings.Contains(e.Error(), "bad write retry") || strings.Contains(e.Error(), "bad length")
}

// TestParkedWriteKeyUpdate: with a tail the same works: the answer is kept behind the record,
// every byte comes in order, and the read that follows gets its data (P16, P34).
func TestParkedWriteKeyUpdate(t *testing.T) {
	for _, tail := range []int{1, 0} {
		c, s, arrives := parkWrite(t, TLS13, tail)
		for i := range 5 {
			r := c.c.KeyUpdate(true)
			demand(t, r.Want == tlsio.WantNone && !r.Unsent, "key update: %+v", r)
			send(t, c.c, "hello")
			r = s.c.Read(s.readBuf)
			check(t, r.Want == tlsio.WantNone && string(s.readBuf[:r.N]) == "hello", "read while the write is parked: %+v", r)
			check(t, i != 0 || r.Unsent, "no tail is left: the test shows nothing")
		}
		arrives()
	}
}

// TestParkedKeyUpdate: Handshake carries on with a KeyUpdate that has found the socket full, once the peer has read.
func TestParkedKeyUpdate(t *testing.T) {
	c, s, arrives := parkWrite(t, TLS13, 1)
	r := s.c.KeyUpdate(false)
	for r.Want == tlsio.WantWrite {
		before := len(c.in)
		c.turn(readable)
		r = s.c.Handshake()
		demand(t, r.Want == tlsio.WantNone || r.Out || len(c.in) > before, "the client has read all, and Handshake returns %+v", r)
	}
	tlstest.Must(t, r.Err)
	arrives()
}

// TestParkedWriteRenegotiation counts that both crossings are seen while streams run both ways
// through a TLS 1.2 renegotiation: Read answers WantWrite and Write answers WantRead
// or WantAppRead.
func TestParkedWriteRenegotiation(t *testing.T) {
	var readWantsWrite, writeWantsRead, writeWantsAppRead int
	for _, tail := range []int{1, 0} {
		m := mode{version: TLS12, tail: tail, cert: "big"}
		cx, sx := m.contexts(t)
		c, s := socketEnds(t, "unix", true, cx, sx)
		busy(m, c, s, 100_000)
		runSockets(t, c, s, finished(c, s))
		checkBusy(t, c, s)
		for _, e := range []*endpoint{c, s} {
			readWantsWrite += e.seen[tlsio.OpRead][tlsio.WantWrite]
			writeWantsRead += e.seen[tlsio.OpWrite][tlsio.WantRead]
			writeWantsAppRead += e.seen[tlsio.OpWrite][tlsio.WantAppRead]
		}
	}
	check(t, readWantsWrite != 0 && writeWantsRead+writeWantsAppRead != 0, "not both crossings were seen")
}

// TestParkedWriteRenegotiationWithoutTail: over a plain socket BIO a renegotiation that the peer
// begins while a write is unfinished fails the connection.
func TestParkedWriteRenegotiationWithoutTail(t *testing.T) {
	c, s, _ := parkWrite(t, TLS12, -1)
	tlstest.Must(t, c.c.Renegotiate().Err)
	r := s.c.Read(s.readBuf)
	var e *tlsio.Error
	check(t, errors.As(r.Err, &e) && badRetry(e), "read: %+v, want it to fail with bad write retry or bad length", r)
}

// TestParkedWriteShutdown: Shutdown begins while an own KeyUpdate is half written (P35). It must wait
// for the socket and not fail with "shutdown while in init".
func TestParkedWriteShutdown(t *testing.T) {
	// Without a tail, a socket that is filled by raw bytes to the last one would break
	// the stream, so the transport is filled by the server's own records: with
	// engine mode's smallest tail the KeyUpdate fits only in part.
	cx, sx := mode{version: TLS13, tail: 1, cert: "ecdsa"}.contexts(t)
	p := newPair(t, cx, sx).shaken()
	equal(t, p.server.Write(make([]byte, 16384)).N, 16384, "written")
	update := tlsio.Result{}
	for i := 0; i < 100 && update.Want == tlsio.WantNone && update.Err == nil; i++ {
		update = p.server.KeyUpdate(false)
	}
	wants(t, "key update", update, tlsio.WantWrite)
	for range 3 {
		wants(t, "shutdown while a key update is half written", p.server.Shutdown(), tlsio.WantWrite)
	}
	p.move(p.server, p.client)
	wants(t, "shutdown after the output was taken", p.server.Shutdown(), tlsio.WantNone)
	p.move(p.server, p.client)
	got := 0
	r := p.client.Read(p.buf)
	for ; r.Err == nil && r.Want == tlsio.WantNone; r = p.client.Read(p.buf) {
		got += r.N
	}
	demand(t, r.Err == io.EOF && got == 16384, "client: %+v after %d bytes", r, got)
}

// TestParkedWriteReadMakesStale: a Read takes the bytes that a parked Write waits for; its
// result says so (In), and the Write goes on without another event (P08).
func TestParkedWriteReadMakesStale(t *testing.T) {
	cx, sx := mode{version: TLS12, cert: "ecdsa"}.contexts(t)
	p := newPair(t, cx, sx).shaken()
	wants(t, "renegotiate", p.client.Renegotiate(), tlsio.WantRead)
	wants(t, "write", p.client.Write([]byte("x")), tlsio.WantRead)
	for i := 0; ; i++ {
		p.move(p.client, p.server)
		p.server.Read(p.buf)
		p.move(p.server, p.client)
		r := p.client.Read(p.buf)
		demand(t, r.Err == nil && i <= 10, "read: %+v", r)
		if !r.In {
			continue
		}
		if r := p.client.Write([]byte("x")); r.N == 1 {
			return
		}
	}
}
