package sslnet

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

func mutual(server, client *cssl.Config) {
	server.CAFile, server.Verify = testcerts.Path("root.pem"), cssl.VerifyRequire
	server.DecisionTimeout, client.DecisionTimeout = tlstest.Hang, tlstest.Hang
	client.Certificates = certificate("client")
}

// TestDecisions: the application decides later, in each place where it can, and handshakes run off their callers' goroutines.
func TestDecisions(t *testing.T) {
	owners := make(chan any, 3)
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		flows(t, client, server, 100_000, 10_000)
		seen := map[any]int{}
		for range 3 {
			seen[<-owners]++
		}
		if seen[client] != 1 || seen[server] != 2 {
			t.Errorf("owners %v", seen)
		}
	}, mutual, func(s, c *cssl.Config) {
		c.Offload = true
		s.ClientHello = func(h *cssl.ClientHello) { owners <- h.Owner; go h.Accept(nil) }
		s.VerifyPeer = func(v *cssl.PeerVerification) { owners <- v.Owner; go v.Accept() }
		c.VerifyPeer = func(v *cssl.PeerVerification) { owners <- v.Owner; go v.Accept() }
	})
}

// TestDecisionDeadline: deadlines and Close hold while the application has not decided.
func TestDecisionDeadline(t *testing.T) {
	each(t, networks, func(t *testing.T, network network) {
		held := make(chan *cssl.ClientHello, 1)
		client, server := pair(t, network, mutual, func(s, _ *cssl.Config) {
			s.ClientHello = func(h *cssl.ClientHello) { held <- h }
		})
		ended := tlstest.Later(client.Handshake)
		answered := tlstest.Later(server.Handshake)
		h := tlstest.Receive(t, held, "the question")
		expires(t, server.SetReadDeadline, answered, "the server's handshake")
		answered = tlstest.Later(server.Handshake)
		waiting(t, server, &server.reader, tlsio.WantClientHello)
		tlstest.Must(t, server.Close())
		if err := tlstest.Receive(t, answered, "the server's handshake"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		h.Accept(nil)
		if tlstest.Receive(t, ended, "the client's handshake") == nil {
			t.Error("the client's handshake succeeded")
		}
	})
}

// TestCloseAtAnyTime: a connection whose handshake is worked on elsewhere, or waits for a decision, can be closed at any moment.
func TestCloseAtAnyTime(t *testing.T) {
	each(t, networks, func(t *testing.T, network network) {
		before := live.Conns()
		wait := func() {
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
				func() { wait(); server.Close() },
				func() { wait(); client.Close() },
			} {
				all.Go(f)
			}
			all.Wait()
		}
		tlstest.Until(t, "all connections are freed", func() bool { return live.Conns() <= before })
	})
}
