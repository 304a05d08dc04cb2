package ja4

import (
	"encoding/binary"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
)

func TestFingerprint(t *testing.T) {
	// The example of the format's description: a browser's.
	h := &cssl.ClientHello{
		Versions: []cssl.TLSVersion{0x1a1a, cssl.TLS13, cssl.TLS12},
		ALPN:     []string{"h2", "http/1.1"},
		CipherSuites: []uint16{0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
			0x009c, 0x009d, 0x002f, 0x0035},
		Extensions: []uint16{0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
			0xff01, 0x000b, 0x000a, 0x0015, 0x4a4a},
		SignatureAlgorithms: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	}
	if got := Fingerprint(h); got != "t13d1516h2_8daaf6152771_e5627efa2ab1" {
		t.Error(got)
	}
	for _, c := range []struct {
		h    cssl.ClientHello
		want string
	}{
		{cssl.ClientHello{Versions: []cssl.TLSVersion{cssl.TLS12}}, "t12i000000_000000000000_000000000000"},
		{cssl.ClientHello{Versions: []cssl.TLSVersion{cssl.TLS10}, ALPN: []string{"\xab"}}, "t10i0000ab_000000000000_000000000000"},
		{cssl.ClientHello{Versions: []cssl.TLSVersion{cssl.TLS11}, Extensions: []uint16{0, 0x10}}, "t11d000200_000000000000_000000000000"},
		{cssl.ClientHello{Versions: []cssl.TLSVersion{0x7f1c}, ALPN: []string{"h\xcd"}}, "t00i00006d_000000000000_000000000000"},
		{cssl.ClientHello{Versions: []cssl.TLSVersion{0x0300}, ALPN: []string{"x"}}, "ts3i0000xx_000000000000_000000000000"},
	} {
		if got := Fingerprint(&c.h); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// FuzzFingerprint: a fingerprint has the length of its form, whatever the
// client sends.
func FuzzFingerprint(f *testing.F) {
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, protocol string, b []byte) {
		var numbers []uint16
		var versions []cssl.TLSVersion
		for ; len(b) > 1; b = b[2:] {
			numbers = append(numbers, binary.BigEndian.Uint16(b))
			versions = append(versions, cssl.TLSVersion(binary.BigEndian.Uint16(b)))
		}
		got := Fingerprint(&cssl.ClientHello{ALPN: []string{protocol}, Versions: versions, CipherSuites: numbers,
			Extensions: numbers, SignatureAlgorithms: numbers})
		if len(got) != 36 {
			t.Error(got)
		}
	})
}
