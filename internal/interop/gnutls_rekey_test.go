package interop

import (
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// inline gives gnutls-cli one of its commands, which it knows only at the beginning of a line: anywhere else it is data.
// The end of the line before is data too, which our side ignores.
func (c *command) inline(command string) error {
	if err := c.command(""); err != nil {
		return err
	}
	return c.command(command)
}

// TestGnuTLSRenegotiation: gnutls-cli starts renegotiations while both sides stream.
func TestGnuTLSRenegotiation(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	var hs handshakes
	sc, _ := rekeyConfigs(cssl.TLS12, "ecdsa", &hs, nil)
	srv := newServer(t, sc, 0, 0)
	s := gnutlsParty()
	srv.expect(s)
	o := startProgram(t, combo{features[1], cssl.TLS12}.gnutlsClient(t, srv.addr, "--inline-commands"))
	s.opened(t)
	asked := int64(1)
	o.every = 100 * volume / 10_000_003
	o.pause = func() error {
		if err := o.inline("^renegotiate^"); err != nil {
			return err
		}
		asked++
		return eventually("renegotiation", func() bool { return hs.n.Load() >= asked || len(s.done) > 0 })
	}
	o.exchangeUneven(upSeed, downSeed, volume, slowVolume).wait2(t, s)
	o.end()
	if n := hs.n.Load(); n < 4 || n != asked || o.status != nil {
		t.Errorf("%d handshakes, want %d and more than 3; gnutls-cli: %v", n, asked, o.status)
	}
}

// TestGnuTLSRekey: KeyUpdates that gnutls-cli makes (^rekey1^) or makes and asks for (^rekey^) while both stream, and
// ours between them. We ask for none where it does: GnuTLS takes a request that crosses its own for an illegal parameter.
// And it refuses more than eight in a second, so there are three of each.
func TestGnuTLSRekey(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	for _, inline := range []string{"^rekey^", "^rekey1^"} {
		t.Run(inline, func(t *testing.T) {
			c := combo{features[1], cssl.TLS13}
			sc, _ := rekeyConfigs(cssl.TLS13, c.cert, nil, nil)
			srv := newServer(t, sc, 0, 0)
			s := gnutlsParty()
			srv.expect(s)
			o := startProgram(t, c.gnutlsClient(t, srv.addr, "--inline-commands", "--debug", "4")) // it logs to standard error
			conn := s.opened(t)
			asked, sends := 0, "sending key update ("+map[string]string{"^rekey^": "1", "^rekey1^": "0"}[inline]+")"
			o.every = 300 * volume / 10_000_003
			o.pause = func() error {
				asked++
				if err := o.inline(inline); err != nil {
					return err
				}
				conn.KeyUpdate(inline == "^rekey1^")
				return eventually("KeyUpdates", func() bool {
					ours := srv.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone]
					return ours >= uint64(asked) && strings.Count(o.text.String(), sends) >= asked || len(s.done) > 0
				})
			}
			o.exchangeUneven(upSeed, downSeed, volume, slowVolume).wait2(t, s)
			o.end()
			sent, received := strings.Count(o.text.String(), sends), strings.Count(o.text.String(), "received TLS 1.3 key update")
			t.Logf("gnutls-cli sent %d KeyUpdates and received %d", sent, received)
			if asked < 3 || sent < asked || received < asked || o.status != nil {
				t.Errorf("%d commands, gnutls-cli sent %d KeyUpdates and received %d: %v", asked, sent, received, o.status)
			}
		})
	}
}
