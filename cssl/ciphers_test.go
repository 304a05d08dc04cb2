package cssl

import (
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestDefaultCiphers: without a CipherList nothing but forward secrecy and AEAD is spoken in TLS 1.2, by either
// side and with either key; with one, whatever it names.
func TestDefaultCiphers(t *testing.T) {
	for _, weak := range []struct{ cert, name string }{
		{"ecdsa", "ECDHE-ECDSA-AES128-SHA"},
		{"ecdsa", "ECDHE-ECDSA-AES256-SHA384"},
		{"rsa", "ECDHE-RSA-AES128-SHA256"},
		{"rsa", "AES256-GCM-SHA384"},
		{"rsa", "AES128-SHA"},
	} {
		for _, side := range []string{"server", "client"} {
			t.Run(side+"/"+weak.name, func(t *testing.T) {
				sc, cc := serverConfig(weak.cert), clientConfig()
				cc.MaxVersion = TLS12
				tested, peer := &sc, &cc
				if side == "client" {
					tested, peer = peer, tested
				}
				peer.CipherList = weak.name
				cerr, serr := pairOf(t, cc, sc).try()
				checkAlert(t, serr, tlsio.AlertSent, 40)
				checkAlert(t, cerr, tlsio.AlertReceived, 40)
				tested.CipherList = "DEFAULT"
				p := pairOf(t, cc, sc)
				p.handshake()
				if got := p.server.State().Cipher; got != weak.name {
					t.Errorf("with DEFAULT: %s", got)
				}
			})
		}
	}
	for _, good := range []struct{ cert, name string }{
		{"ecdsa", "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"ecdsa", "ECDHE-ECDSA-AES128-GCM-SHA256"},
		{"ecdsa", "ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"rsa", "ECDHE-RSA-AES256-GCM-SHA384"},
		{"rsa", "ECDHE-RSA-AES128-GCM-SHA256"},
		{"rsa", "ECDHE-RSA-CHACHA20-POLY1305"},
	} {
		t.Run(good.name, func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion, cc.CipherList = TLS12, good.name
			p := newPair(t, mustClient(t, cc), mustServer(t, serverConfig(good.cert)))
			p.handshake()
			if got := p.server.State().Cipher; got != good.name {
				t.Errorf("cipher %s", got)
			}
		})
	}
}

// TestDefaultGroups: without Groups no finite field is taken, by either side, since a peer could choose one that costs
// much; with Groups, whatever they name. The curves and X25519 are there.
func TestDefaultGroups(t *testing.T) {
	for _, dear := range []string{"ffdhe2048", "ffdhe8192"} {
		for _, side := range []string{"server", "client"} {
			t.Run(side+"/"+dear, func(t *testing.T) {
				sc, cc := serverConfig("ecdsa"), clientConfig()
				tested, peer := &sc, &cc
				if side == "client" {
					tested, peer = peer, tested
				}
				peer.Groups = dear
				cerr, serr := pairOf(t, cc, sc).try()
				checkAlert(t, serr, tlsio.AlertSent, 40)
				checkAlert(t, cerr, tlsio.AlertReceived, 40)
				if dear == "ffdhe2048" { // the other takes its time
					tested.Groups = dear
					pairOf(t, cc, sc).handshake()
				}
			})
		}
	}
	for _, good := range []string{"X25519", "P-256", "X448", "P-384", "P-521"} {
		t.Run(good, func(t *testing.T) {
			cc := clientConfig()
			cc.Groups = good
			newPair(t, mustClient(t, cc), mustServer(t, serverConfig("ecdsa"))).handshake()
		})
	}
}
