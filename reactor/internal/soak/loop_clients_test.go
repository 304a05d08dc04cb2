package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// clients are those that a reactor.Loop drives.
type clients struct {
	loop    *reactor.Loop
	ran     <-chan error
	context *cssl.Context
	session atomic.Pointer[cssl.Session] // one to resume
}

func newClients(t *testing.T) *clients {
	cfg := cssl.Config{Verify: cssl.VerifyNone, ALPN: []string{loops}, Renegotiation: true, ReleaseBuffers: true}
	x := tlstest.Value(cssl.NewClientContext(cfg))(t)
	limits := reactor.Limits{HandshakeTimeout: tlstest.Hang, CloseTimeout: tlstest.Hang}
	l := tlstest.Value(reactor.NewLoop(reactor.LoopConfig{Limits: limits, Logger: slog.New(slog.DiscardHandler)}))(t)
	return &clients{loop: l, context: x, ran: tlstest.Later(l.Run)}
}

func (k *clients) stop(t *testing.T) {
	k.loop.Stop()
	if err := <-k.ran; err != nil {
		t.Error(err)
	}
	k.context.Close()
}

// caller is a client's handler: it sends a stream in pieces of all sizes and wants it back.
type caller struct {
	reactor.BaseHandler
	s       *soak
	out, in tlstest.Stream
	total   int
	// leaves is after how many bytes it resets the connection; 0: never.
	leaves int
	ended  chan error
	left   error // why it has reset the connection
}

var errLeft = errors.New("left")

func newCaller(s *soak) *caller {
	h := &caller{s: s, total: mrand.IntN(1 << mrand.IntN(21)), ended: make(chan error, 1)}
	if mrand.IntN(8) == 0 {
		h.leaves = 1 + mrand.IntN(h.total+1)
	}
	return h
}

func (h *caller) more(c *reactor.Conn) {
	if n := min(h.total-h.out.N, 1+mrand.IntN(1<<mrand.IntN(18))); n > 0 {
		c.Write(h.out.Next(n))
		return
	}
	if mrand.IntN(2) == 0 {
		c.Close()
	} else {
		c.CloseWrite() // and the server's end follows
	}
}

// side is what messages call these clients.
const side = "a loop's client"

func (h *caller) OnOpen(c *reactor.Conn) { h.s.lives.hears(c, side, "OnOpen", nil); h.more(c) }

func (h *caller) OnData(c *reactor.Conn, p []byte) {
	h.s.lives.hears(c, side, "OnData", nil)
	h.in.Check(p)
	switch mrand.IntN(60) {
	case 0:
		c.KeyUpdate(true)
	case 1:
		c.KeyUpdate(false)
	case 2:
		c.Pause()
		time.AfterFunc(time.Millisecond, c.Resume)
	case 3:
		if c.State().Version == cssl.TLS12 && h.out.N%7 == 0 {
			c.Renegotiate()
		}
	case 4:
		if s := c.Session(); s != nil {
			h.s.clients.session.Store(s)
		}
	}
	switch {
	case h.leaves > 0 && h.in.N >= h.leaves, h.in.Bad != nil:
		h.left = cmp.Or(h.in.Bad, errLeft)
		c.Abort(h.left)
	case h.in.N == h.out.N:
		h.more(c)
	}
}

// OnClose implements reactor.Handler. A second one is a failure by itself, and must not block the loop.
func (h *caller) OnClose(c *reactor.Conn, err error) {
	h.s.lives.hears(c, side, "OnClose", err)
	select {
	case h.ended <- err:
	default:
	}
}

// wait is for the end, and judges it. Until then everything but ended is the loop's.
func (h *caller) wait() error {
	select {
	case err := <-h.ended:
		h.s.bytes.Add(int64(h.in.N))
		return h.judge(err)
	case <-time.After(tlstest.Hang):
		return fmt.Errorf("%d bytes there and back: no end: %w", h.total, os.ErrDeadlineExceeded)
	}
}

func (h *caller) judge(err error) error {
	switch {
	case h.in.Bad != nil:
		return h.in.Bad
	case h.left != nil && errors.Is(err, h.left):
		return nil
	case err == nil && h.in.N < h.total:
		return fmt.Errorf("%w after %d of %d bytes", errEarly, h.in.N, h.total)
	}
	return err
}

// converse has a conversation by Loop.Connect or by a Dialer.
func (k *clients) converse(s *soak, v *server, addr netip.AddrPort) error {
	cfg := cssl.ConnConfig{ServerName: "localhost", InsecureSkipNameCheck: true}
	if mrand.IntN(2) == 0 {
		cfg.Session = k.session.Swap(nil)
	}
	h := newCaller(s)
	if mrand.IntN(2) == 0 {
		if err := k.loop.Connect(addr, k.context, cfg, h, nil); err != nil {
			return err
		}
		return h.wait()
	}
	d := reactor.Dialer{Context: k.context, Config: cfg, Net: &net.Dialer{Timeout: tlstest.Hang}}
	if _, err := d.Dial(context.Background(), k.loop, "tcp", addr.String(), h, nil); err != nil {
		return err
	}
	return h.wait()
}
