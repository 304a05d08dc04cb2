package sslnet

import (
	"bytes"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
)

// TestPSK: a key is all that both sides have, and State says whose it is.
func TestPSK(t *testing.T) {
	key := cssl.PSK{Identity: []byte("meter 17"), Key: bytes.Repeat([]byte{7}, 32)}
	client, server := connect(t, networks["tcp"], func(s, c *cssl.Config) {
		*s, *c = cssl.Config{PSKs: []cssl.PSK{key}}, cssl.Config{PSKs: []cssl.PSK{key}}
	})
	for _, c := range []*Conn{client, server} {
		s := c.State()
		if chain, _ := s.PeerCertificates(); string(s.PSK) != "meter 17" || s.VerifyError != nil || chain != nil {
			t.Errorf("%+v", s)
		}
	}
}
