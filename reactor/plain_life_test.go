package reactor

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestStartTLSDrain: what is written while the last bytes in the clear leave makes the queue as long as the high
// watermark, as Queued counts it. OnDrain follows, although the handshake has begun meanwhile.
func TestStartTLSDrain(t *testing.T) {
	const high = 64
	wrote, drained := false, make(chan struct{}, 1)
	h := echo()
	h.drain = func(*Conn) { drained <- struct{}{} }
	s := &Server{Handler: h, Session: session.Config{HighWater: high, LowWater: high / 2},
		Plain: plainFunc(func(c *Conn, p []byte) int {
			c.Write(make([]byte, high-1))
			if err := c.StartTLS(StartTLSConfig{}); err != nil {
				t.Error(err)
			}
			return len(p)
		}),
		Trace: func(c *Conn, op tlsio.Op, _ tlsio.Result, _ session.Event) {
			if op == tlsio.OpWrite && !wrote {
				wrote = true
				c.Write([]byte("behind"))
				if n := c.Queued(); n < high {
					t.Errorf("%d bytes queued: the test needs more", n)
				}
			}
		}}
	rawDial(t, start(t, s)).Write([]byte("a"))
	tlstest.Receive(t, drained, "OnDrain")
}
