package sslnet

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
)

// TestCloseAtAnyTime: a connection whose handshake is worked on elsewhere, or waits for a decision, can be closed at any moment.
func TestCloseAtAnyTime(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			before := live.Conns()
			later := func() {
				for range rand.IntN(3000) {
					runtime.Gosched()
				}
			}
			decide := func(f func()) {
				if rand.IntN(2) == 0 {
					f()
				} else {
					go f()
				}
			}
			for range 50 {
				client, server := pair(t, network, mutual, func(s, c *cssl.Config) {
					s.Offload, c.Offload = rand.IntN(2) == 0, rand.IntN(2) == 0
					s.ClientHello = func(h *cssl.ClientHello) { decide(func() { h.Accept(nil) }) }
					s.VerifyPeer = func(v *cssl.PeerVerification) { decide(v.Accept) }
					c.VerifyPeer = func(v *cssl.PeerVerification) { decide(v.Accept) }
				})
				var all sync.WaitGroup
				for _, f := range []func(){
					func() { server.Read(make([]byte, 1)) },
					func() { server.Write([]byte("x")) },
					func() { client.Write([]byte("x")) },
					func() { client.Read(make([]byte, 1)) },
					func() { later(); server.Close() },
					func() { later(); client.Close() },
				} {
					all.Go(f)
				}
				all.Wait()
			}
			for deadline := time.Now().Add(hang); live.Conns() > before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d connections are left", live.Conns()-before)
				}
			}
		})
	}
}
