package reactor

import (
	"errors"
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

// TestStartTLSTooEarly: there is no StartTLS before OnConnect.
func TestStartTLSTooEarly(t *testing.T) {
	h, ended := ends(&hooks{})
	s := &Server{Handler: h, Plain: &lines{}, Header: func(c *Conn, p []byte) (int, bool, error) {
		return 0, false, errors.Join(c.StartTLS(StartTLSConfig{}), errors.New("no error"))
	}}
	rawDial(t, start(t, s)).Write([]byte("a"))
	tlstest.IsError(t, "OnClose", tlstest.Receive(t, ended, "OnClose"), tlsio.ErrState)
}
