package exampletest

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// Echo is what every echo server among the examples must stand, with TLS 1.2 and with TLS 1.3: echo in all its forms, clients that
// end in each way, and its own deadlines.
func Echo(t *testing.T, run Run) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := Start(t, run)
			for _, test := range []struct {
				name string
				f    func(t *testing.T, s *Server, version uint16)
			}{
				{"both ways", bothWays}, {"clients", clients}, {"half close", halfClose}, {"non-reader", nonReader},
				{"vanish", vanish}, {"refused", refused},
			} {
				t.Run(test.name, func(t *testing.T) { test.f(t, s, version) })
			}
			s.Stop()
			t.Run("stop", func(t *testing.T) { stop(t, Start(t, run, "-timeout=1h"), version) })
		})
	}
	t.Run("deadlines", func(t *testing.T) { deadlines(t, Start(t, run, "-timeout=1s")) })
}

// bothWays: several MiB go to and fro at once.
func bothWays(t *testing.T, s *Server, version uint16) {
	if err := Exchange(s.Dial(t, version), 4<<20); err != nil {
		t.Error(err)
	}
}

// clients: many of them at once, none gets what is another's.
func clients(t *testing.T, s *Server, version uint16) {
	const n = 16
	conns := make([]*tls.Conn, n)
	for i := range conns {
		conns[i] = s.Dial(t, version)
	}
	errs := make(chan error)
	for i, c := range conns {
		go func() { errs <- Exchange(c, 200_000+i) }()
	}
	for range conns {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// halfClose: a client that has said close_notify gets the rest of its echo, then close_notify, then a FIN.
func halfClose(t *testing.T, s *Server, version uint16) {
	c := s.Dial(t, version)
	sent := random(1 << 20)
	wrote := tlstest.Later(func() error {
		_, err := c.Write(sent)
		return cmp.Or(err, c.CloseWrite())
	})
	got, err := io.ReadAll(c) // crypto/tls takes an end without close_notify for an error
	if err = cmp.Or(err, <-wrote); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, or others: %v", len(got), len(sent), err)
	}
	if n, err := c.NetConn().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind close_notify: %d, %v, want a FIN", n, err)
	}
}

// nonReader: a client that does not read yet holds up no other, and gets all in the end.
func nonReader(t *testing.T, s *Server, version uint16) {
	late := s.Dial(t, version)
	sent := random(24 << 20) // more than session.Config.MaxQueue
	wrote := tlstest.Later(func() error { _, err := late.Write(sent); return err })
	if err := Exchange(s.Dial(t, version), 1<<20); err != nil {
		t.Error(err)
	}
	got := make([]byte, len(sent))
	n, err := io.ReadFull(late, got)
	if err = cmp.Or(err, <-wrote); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, or others: %v", n, len(sent), err)
	}
}

// vanish: the server lets go of clients that end in each ungraceful way, and serves the next one.
func vanish(t *testing.T, s *Server, version uint16) {
	gone := func(how string) {
		t.Helper()
		tlstest.Until(t, "the end of a client that "+how, func() bool { return live.Conns() == 0 })
	}
	gone("came before")
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // the beginning of a ClientHello
	for _, way := range []struct {
		how    string
		says   []byte
		lasts  bool // it waits for the server's end
		resets bool // its Close does
	}{
		{"says nothing", nil, false, false},
		{"ends in the handshake", hello, false, false},
		{"resets in the handshake", hello, false, true},
		{"speaks no TLS", []byte("this is not TLS, and long enough to be taken for a record\n"), true, false},
	} {
		raw := s.Connect(t)
		raw.Write(way.says)
		if way.lasts {
			io.Copy(io.Discard, raw)
		}
		if way.resets {
			raw.SetLinger(0)
		}
		raw.Close()
		gone(way.how)
	}
	for _, way := range []struct {
		how    string
		says   int
		resets bool
	}{
		{"ends without close_notify", 50_000, false},
		{"resets", 50_000, true},
		{"resets while the server waits to write", 64 << 20, true}, // the server reads no more, for its answers are not read
	} {
		c := s.Dial(t, version)
		c.SetWriteDeadline(time.Now().Add(time.Second / 4))
		c.Write(make([]byte, way.says))
		if way.resets {
			c.NetConn().(*net.TCPConn).SetLinger(0)
		}
		c.NetConn().Close()
		gone(way.how)
	}
	bothWays(t, s, version)
}

// refused: a client of a version that is too old hears why.
func refused(t *testing.T, s *Server, version uint16) {
	_, err := s.TryDial(t, tls.VersionTLS11)
	if err == nil || !strings.Contains(err.Error(), "remote error: tls: protocol version") { // its type is not exported
		t.Errorf("TLS 1.1: %v, want the server's alert protocol_version", err)
	}
}

// stop: a program that is to end says close_notify and then FIN, without waiting for the peer's.
func stop(t *testing.T, s *Server, version uint16) {
	c := s.Dial(t, version)
	if err := Exchange(c, 100_000); err != nil {
		t.Error(err)
	}
	stopped := tlstest.Later(func() bool { s.Stop(); return true })
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the stop: %d, %v, want close_notify", n, err)
	}
	if n, err := c.NetConn().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind close_notify: %d, %v, want a FIN", n, err)
	}
	c.Close()
	<-stopped
}

// deadlines: with -timeout a server lets go of a client that does not carry its handshake on, and only of that
// one; and it ends though a client does not answer its close_notify.
func deadlines(t *testing.T, s *Server) {
	open, err := s.TryDial(t, tls.VersionTLS13)
	for tries := 0; err != nil && tries < 20; tries++ {
		open, err = s.TryDial(t, tls.VersionTLS13) // the machine was too slow for the deadline
	}
	tlstest.Must(t, err)
	silent := s.Connect(t)
	silent.Write([]byte{22})
	if _, err := io.Copy(io.Discard, silent); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a client that does not carry its handshake on is kept")
	}
	if err := Exchange(open, 100_000); err != nil {
		t.Errorf("a connection that is open longer: %v", err)
	}
	s.Stop()
	if n, err := open.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %d, %v, want close_notify", n, err)
	}
}

// Exchange sends n random bytes, reads as many at the same time, and compares.
func Exchange(c *tls.Conn, n int) error {
	sent := random(n)
	wrote := tlstest.Later(func() error { _, err := c.Write(sent); return err })
	got := make([]byte, n)
	_, err := io.ReadFull(c, got)
	if err != nil {
		c.Close() // or Write may wait for the server
	}
	if err = cmp.Or(err, <-wrote); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return errors.New("other bytes came back than were sent")
	}
	return nil
}

// random makes n bytes that differ from call to call.
func random(n int) []byte { return tlstest.Bytes(n, rand.Uint64()) }
