package sslnet

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

func mutual(server, client *cssl.Config) {
	server.CAFile, server.Verify = testcerts.Path("root.pem"), cssl.VerifyRequire
	server.DecisionTimeout, client.DecisionTimeout = hang, hang
	client.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}}
}

// TestDecisions: the application decides later, in each place where it can, and handshakes run off their callers' goroutines.
func TestDecisions(t *testing.T) {
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		owners := make(chan any, 3)
		client, server := connect(mutual, func(s, c *cssl.Config) {
			c.Offload = true
			s.ClientHello = func(h *cssl.ClientHello) { owners <- h.Owner; go h.Accept(nil) }
			s.VerifyPeer = func(v *cssl.PeerVerification) { owners <- v.Owner; go v.Accept() }
			c.VerifyPeer = func(v *cssl.PeerVerification) { owners <- v.Owner; go v.Accept() }
		})
		written := later(func() error { return send(client, 100_000, 10_000) })
		take(t, client, server, 100_000)
		must(t, receive(t, written, "Write"))
		seen := map[any]int{}
		for range 3 {
			seen[<-owners]++
		}
		if seen[client] != 1 || seen[server] != 2 {
			t.Errorf("owners %v", seen)
		}
	})
}

// TestDecisionDeadline: deadlines and Close hold while the application has not decided.
func TestDecisionDeadline(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			held := make(chan *cssl.ClientHello, 1)
			client, server := pair(t, network, mutual, func(s, _ *cssl.Config) {
				s.ClientHello = func(h *cssl.ClientHello) { held <- h }
			})
			ended := later(client.Handshake)
			answered := later(server.Handshake)
			h := receive(t, held, "the question")
			must(t, server.SetReadDeadline(time.Now()))
			timedOut(t, receive(t, answered, "the server's handshake"))
			must(t, server.SetReadDeadline(time.Time{}))
			answered = later(server.Handshake)
			waiting(t, server, &server.reader, tlsio.WantClientHello)
			must(t, server.Close())
			if err := receive(t, answered, "the server's handshake"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			h.Accept(nil)
			if receive(t, ended, "the client's handshake") == nil {
				t.Error("the client's handshake succeeded")
			}
		})
	}
}
