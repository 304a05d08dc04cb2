package cssl_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// Two devices that share a key and have no certificates. A key comes from a source of randomness, and a file.
func ExampleConfig_PSKs() {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	server := cssl.Config{PSKs: []cssl.PSK{
		{Identity: []byte("meter 17"), Key: key(17)},
		{Identity: []byte("meter 18"), Key: key(18)},
	}}
	for _, k := range []cssl.PSK{
		{Identity: []byte("meter 18"), Key: key(18)},
		{Identity: []byte("meter 19"), Key: key(19)}, // which the server does not know
		{Identity: []byte("meter 17"), Key: key(99)},
	} {
		c, s, errs := pair(cssl.Config{PSKs: []cssl.PSK{k}}, server, "")
		fmt.Printf("%s: known as %q, refused: %v %v\n", k.Identity, s.State().PSK, errors.Is(errs[0], tlsio.ErrPSK), errors.Is(errs[1], tlsio.ErrPSK))
		c.Close()
		s.Close()
	}
	// Output:
	// meter 18: known as "meter 18", refused: false false
	// meter 19: known as "", refused: true true
	// meter 17: known as "", refused: true true
}
