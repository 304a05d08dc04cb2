package interop

import (
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
)

// old is what OpenSSL needs for TLS 1.0 and 1.1.
const old = "DEFAULT:@SECLEVEL=0"

// legacy are the rows for old peers: TLS 1.0 and 1.1, and finite field Diffie-Hellman.
var legacy = []combo{
	{feature{name: "RSA", cert: "rsa", ciphers: old}, cssl.TLS10},
	{feature{name: "ECDSA, mTLS and resumption", cert: "ecdsa", mtls: true, resume: true, ciphers: old}, cssl.TLS10},
	{feature{name: "static RSA", cert: "rsa", ciphers: "AES128-SHA:@SECLEVEL=0"}, cssl.TLS10},
	{feature{name: "DHE", cert: "rsa", ciphers: "DHE-RSA-AES256-SHA:@SECLEVEL=0"}, cssl.TLS11},
	{feature{name: "ALPN", cert: "ecdsa", alpn: true, ciphers: old}, cssl.TLS11},
	{feature{name: "SNI", cert: "ecdsa", sni: true, ciphers: old}, cssl.TLS10},
	{feature{name: "resumption", cert: "rsa", resume: true, ciphers: old}, cssl.TLS11},
	{feature{name: "DHE", cert: "rsa", ciphers: "DHE-RSA-AES128-GCM-SHA256"}, cssl.TLS12},
	// The ECDSA suite is never used. Without one OpenSSL 4.0's client names no curve, so that its certificate's is refused.
	{feature{name: "DHE, mTLS and resumption", cert: "rsa", mtls: true, resume: true,
		ciphers: "DHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"}, cssl.TLS12},
}

// TestLegacy: old versions and DHE, with the openssl program at either end and between our ends.
func TestLegacy(t *testing.T) {
	for name, f := range map[string]func(*testing.T, combo){"s_client": sClient, "s_server": sServer, "ours": oursWithOurs} {
		t.Run(name, func(t *testing.T) {
			for _, c := range legacy {
				t.Run(c.version.String()+"/"+c.name, func(t *testing.T) { f(t, c) })
			}
		})
	}
}
