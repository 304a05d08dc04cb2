package link

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// full is whether the long form runs, as `make networks` asks for it.
var full = os.Getenv("NETWORKS") == "full"

var versions = []cssl.TLSVersion{cssl.TLS12, cssl.TLS13}

// TestSlowLink: over a link that is slow, loses packets and changes their order, every byte of every connection comes
// back, in order, in both versions and through KeyUpdates.
func TestSlowLink(t *testing.T) {
	q, conns := quality{rate: 256 << 10, delay: 10 * time.Millisecond, loss: 0.02, reorder: 50}, 4
	if full {
		q, conns = quality{rate: 256 << 10 / 8, delay: 100 * time.Millisecond, loss: 0.02, reorder: 50}, 16
	}
	w := newWorld(t, q, timeouts{})
	const size = 100 << 10
	var all []*client
	for i := range conns {
		c := newClient(i, size)
		c.rekey = 16 << 10
		all = append(all, w.dial(versions[i%2], c))
	}
	for _, c := range all {
		c.finish(t, w)
	}
	st := w.server.Stats()
	updates := st.Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone] + w.loop.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone]
	if w.lost.Load() == 0 || w.late.Load() == 0 || updates == 0 {
		t.Errorf("%d packets lost, %d late, %d KeyUpdates: this proves little", w.lost.Load(), w.late.Load(), updates)
	}
	if full {
		figures.Record(t, "link-slow", "256 kbit/s, 100 ms, 2 %% loss: %d connections, %d KiB each way, "+
			"%d packets lost, %d late, %d KeyUpdates, all bytes right", conns, conns*size>>10, w.lost.Load(), w.late.Load(), updates)
	}
}

// TestCutAndMended: a link is cut while connections are busy in both directions, and mended before TCP
// gives up. All goes on, also an idle connection, and meanwhile nobody spins.
func TestCutAndMended(t *testing.T) {
	size, cut := 200<<10, time.Second
	if full {
		size, cut = 2<<20, 20*time.Second
	}
	w := newWorld(t, quality{rate: 1 << 20, delay: 2 * time.Millisecond}, timeouts{})
	var all []*client
	for i := range 6 {
		all = append(all, w.dial(versions[i%2], newClient(i, size)))
	}
	idle := newClient(99, 1000)
	idle.stays = true
	w.dial(cssl.TLS13, idle)
	tlstest.Until(t, "the idle one's bytes", func() bool { return idle.expect.Load() == 0 })
	for _, c := range all {
		tlstest.Until(t, "a beginning", func() bool { return c.expect.Load() < int64(size) })
	}
	w.cut.Store(true)
	before := w.server.Stats().Turns + w.loop.Stats().Turns
	time.Sleep(cut) // not to wait for something: so long is the link down
	turns := w.server.Stats().Turns + w.loop.Stats().Turns - before
	for i, c := range all {
		if c.expect.Load() == 0 {
			t.Errorf("connection %d was done before the cut", i)
		}
	}
	w.cut.Store(false)
	for _, c := range all {
		c.finish(t, w)
	}
	if len(idle.done) > 0 {
		t.Error("the idle connection ended")
	}
	w.echo.conn(t, idle.port).Close()
	tlstest.IsError(t, "idle", idle.end(t), nil)
	// What was on its way at the cut makes some; a loop that spins makes tens of thousands in a second.
	if turns > 5000 {
		t.Errorf("%d turns of the loops while nothing could pass", turns)
	}
	if full {
		figures.Record(t, "link-cut", "%v without a link: 6 transfers of %d KiB each way and an idle connection went on; "+
			"%d turns of both loops meanwhile", cut, size>>10, turns)
	}
}

// TestCutForGood: what is busy fails with ETIMEDOUT when TCP gives up, what is idle by the idle timeout, and what is in its
// handshake by that one's.
func TestCutForGood(t *testing.T) {
	for _, v := range versions {
		cut := func(name string, to timeouts, want error, begin func(w *world) *client) {
			t.Run(name+"/"+v.String(), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, quality{rate: 1 << 20}, to)
				c := begin(w)
				w.cut.Store(true)
				w.fails(t, c, want)
			})
		}
		cut("busy", timeouts{user: 3000}, syscall.ETIMEDOUT, func(w *world) *client {
			c := w.dial(v, newClient(1, 64<<20))
			tlstest.Until(w.t, "a beginning", func() bool { return c.expect.Load() < 64<<20-100<<10 })
			return c
		})
		cut("idle", timeouts{idle: 3 * time.Second, close: 300 * time.Millisecond}, os.ErrDeadlineExceeded, func(w *world) *client {
			c := newClient(1, 1000)
			c.stays = true
			w.dial(v, c)
			tlstest.Until(w.t, "the echo", func() bool { return c.expect.Load() == 0 })
			return c
		})
		cut("handshake", timeouts{handshake: 3 * time.Second}, os.ErrDeadlineExceeded, func(w *world) *client {
			// The ClientHello does not arrive, but TCP's own handshake does.
			c := w.dial(v, newClient(1, 1000), func(f *flow) { f.noData = true })
			tlstest.Until(w.t, "accept", func() bool { return w.server.Stats().Accepted == 1 })
			return c
		})
	}
}
