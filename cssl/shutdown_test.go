package cssl

import (
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestShutdownRefused: the transport refuses close_notify more than once. It must not be lost.
func TestShutdownRefused(t *testing.T) {
	for _, version := range versions {
		cx, sx := mode{version: version, tail: -1, ahead: true, cert: "ecdsa"}.contexts(t)
		c, s := socketEnds(t, "unix", true, cx, sx)
		runSockets(t, c, s, func() bool { return c.established() && s.established() && !s.unsent })
		filled := 0
		for {
			n, err := syscall.Write(s.c.fd, make([]byte, 256))
			if filled += max(n, 0); err == syscall.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if r := s.c.Shutdown(); r.Want != tlsio.WantWrite || r.Out {
				t.Fatalf("%v: shutdown with the transport full: %+v", version, r)
			}
		}
		buf := make([]byte, 1<<20)
		for drained := 0; drained < filled; {
			n := tlstest.Value(syscall.Read(c.c.fd, buf))(t)
			drained += n
		}
		if r := s.c.Shutdown(); r.Want != tlsio.WantNone || r.Err != nil || !r.Out {
			t.Errorf("%v: shutdown: %+v", version, r)
		}
		if n, err := syscall.Read(c.c.fd, buf); err != nil || n < 7 {
			t.Errorf("%v: %d bytes of close_notify came: %v", version, n, err)
		}
	}
}
