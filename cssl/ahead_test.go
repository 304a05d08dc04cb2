package cssl

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestReadAheadInHandshake: what arrives together with the end of the handshake is received with it, and the next
// reads have it although the socket is quiet. OpenSSL 3.0 keeps it itself; newer ones leave it to the transport.
func TestReadAheadInHandshake(t *testing.T) {
	for _, version := range versions {
		for _, size := range []int{1, 1000, 16384, 40000} {
			for _, ahead := range []bool{true, false} {
				cc, sc := clientConfig(), serverConfig("ecdsa")
				cc.MaxVersion, sc.NoReadAhead = version, !ahead
				cfd, sfd := socketPair(t, "unix", false)
				t.Cleanup(func() { unix.Close(cfd); unix.Close(sfd) })
				c, s := overSockets(t, mustClient(t, cc), mustServer(t, sc), cfd, sfd)
				msg, got, buf := pattern(size, 1), []byte(nil), make([]byte, 16384)
				clientDone := false
				for range 3 {
					if !clientDone {
						clientDone = handshakeStep(t, c)
					}
					if clientDone && len(msg) > 0 {
						for len(msg) > 0 {
							r := c.Write(msg)
							if r.N == 0 {
								t.Fatalf("%+v", r)
							}
							msg = msg[r.N:]
						}
					}
					if handshakeStep(t, s) && clientDone {
						break
					}
				}
				quiet := func() bool {
					_, _, err := unix.Recvfrom(sfd, buf[:1], unix.MSG_PEEK|unix.MSG_DONTWAIT)
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
				if !bytes.Equal(got, pattern(size, 1)) || s.hasPending() || s.Read(buf).Want != tlsio.WantRead {
					t.Errorf("%v, %d bytes, ahead %v: other bytes, or more", version, size, ahead)
				}
			}
		}
	}
}

// handshakeStep reports whether c's handshake is done.
func handshakeStep(t *testing.T, c *Conn) bool {
	t.Helper()
	r := c.Handshake()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Want == tlsio.WantNone
}
