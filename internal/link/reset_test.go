package link

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// TestReset: the link resets a connection at each stage of its life. Both sides hear ECONNRESET, once and nothing else, and
// other connections over the same link go on.
func TestReset(t *testing.T) {
	resets := 0
	for _, v := range versions {
		for _, stage := range []struct {
			name string
			run  func(t *testing.T, w *world, c *client)
		}{
			{"handshake, client's side", func(t *testing.T, w *world, c *client) {
				w.dial(v, c, func(f *flow) { f.noData = true }) // the ClientHello does not arrive
				tlstest.Until(t, "accept", func() bool { return w.server.Stats().Accepted == 3 })
				w.resetPort(c.port)
			}},
			{"handshake, server's side", func(t *testing.T, w *world, c *client) { w.resetAfter(t, v, c, 0, 1) }},
			{"stream", func(t *testing.T, w *world, c *client) { w.resetAfter(t, v, c, 0, 40<<10) }},
			{"writes blocked", func(t *testing.T, w *world, c *client) {
				c.paused = true // so the server's writes stop, and then those of the client
				w.dial(v, c)
				server := w.echo.conn(t, c.port)
				tlstest.Until(t, "the server's writes stop", func() bool { return server.Queued() > 0 })
				w.resetPort(c.port)
			}},
			{"paused", func(t *testing.T, w *world, c *client) {
				w.dial(v, c)
				server := w.echo.conn(t, c.port)
				server.Pause()
				tlstest.Until(t, "the client's beginning", func() bool { return c.conn.Load() != nil })
				c.conn.Load().Pause()
				w.resetPort(c.port)
				// One that is paused and has nothing to write waits for nothing, and hears of it afterwards.
				server.Resume()
				c.conn.Load().Resume()
			}},
			{"closing", func(t *testing.T, w *world, c *client) {
				c.paused = true // it does not see the server's close_notify
				w.dial(v, c)
				server := w.echo.conn(t, c.port)
				tlstest.Until(t, "the server's writes stop", func() bool { return server.Queued() > 0 })
				server.Close()
				w.resetPort(c.port)
			}},
		} {
			t.Run(v.String()+"/"+stage.name, func(t *testing.T) {
				w := newWorld(t, quality{rate: 2 << 20, delay: time.Millisecond}, timeouts{})
				var others []*client
				for i := range 2 {
					others = append(others, w.dial(versions[i], newClient(i, 150<<10)))
				}
				const size = 8 << 20
				c := newClient(7, size)
				c.ahead = size
				stage.run(t, w, c)
				w.fails(t, c, syscall.ECONNRESET)
				w.watch(c.port, func(f *flow) {
					if !f.reset || f.refused[0].Load() == 0 || f.refused[1].Load() == 0 {
						t.Error("the link has not reset it")
					}
				})
				resets++
				for _, o := range others {
					o.finish(t, w)
				}
			})
		}
	}
	if full {
		figures.Record(t, "link-reset", "%d connections reset, at 6 stages: ECONNRESET at both ends; "+
			"%d others over the same links untouched", resets, 2*resets)
	}
}

// resetAfter dials c, and resets it as soon as a side has sent so many bytes.
func (w *world) resetAfter(t *testing.T, v cssl.TLSVersion, c *client, side int, bytes int64) {
	t.Helper()
	w.dial(v, c, func(f *flow) {
		f.onData = func(int) {
			if !f.reset && f.data[side] >= bytes {
				w.resetNow(f)
			}
		}
	})
}

func (w *world) resetPort(port uint16) { w.watch(port, w.resetNow) }

// TestLostFIN: where neither close_notify nor FIN gets through any more, Close ends by its timeout, and says so. Where
// close_notify does and the FIN does not, the end is clean.
func TestLostFIN(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			w := newWorld(t, quality{}, timeouts{close: 300 * time.Millisecond})
			for _, noData := range []bool{true, false} {
				c := newClient(1, 1000)
				c.stays = true
				w.dial(v, c)
				server := w.echo.conn(t, c.port)
				tlstest.Until(t, "the echo", func() bool { return c.expect.Load() == 0 })
				w.watch(c.port, func(f *flow) { f.noFIN, f.noData = true, noData })
				server.Close()
				if err := w.echo.end(t, c.port); (noData || err != nil) && !errors.Is(err, reactor.ErrCloseTimeout) {
					t.Errorf("server, without the FIN, without data too %v: %v", noData, err)
				}
			}
		})
	}
}
