package interop

import (
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// TestBothWriteFromOnDrain: two peers that stream to each other, both by the handler's own
// means (write until above the high watermark, go on in OnDrain), must not wait for each
// other for ever: above the watermark neither reads, so nothing falls below it.
func TestBothWriteFromOnDrain(t *testing.T) {
	combo := combo{features[1], cssl.TLS13}
	srv := newServer(t, combo.serverConfig(t), 4096, 4096)
	s := srv.expect(newParty(false, false, 4_000_000))
	p := newParty(true, false, 4_000_000)
	p.closes = true
	dial(t, newLoop(t, nil), srv.addr, clientContext(t, combo.clientConfig()), cssl.ConnConfig{ServerName: "localhost"}, 4096, 4096, p)
	for _, side := range []*party{p, s} {
		select {
		case err := <-side.done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(limit):
			t.Fatalf("deadlock: the client got %d bytes, the server %d, of %d", p.got.Load(), s.got.Load(), p.want)
		}
	}
}
