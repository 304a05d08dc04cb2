package fuzz

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// contextFrom builds a Context, which must succeed or fail with a *ConfigError, and tries a
// connection with it. In the end no more Contexts and connections may live than before.
func contextFrom(t *testing.T, cfg cssl.Config, server bool, name string) {
	t.Helper()
	build := cssl.NewClientContext
	if server {
		build = cssl.NewServerContext
	}
	x, err := build(cfg)
	var refused *cssl.ConfigError
	if err != nil {
		if !errors.As(err, &refused) || refused.Error() == "" || x != nil {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	defer x.Close()
	c, err := x.NewEngineConn(cssl.ConnConfig{ServerName: name})
	if err != nil {
		if !errors.As(err, &refused) || c != nil {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	defer c.Close()
	if r := c.Handshake(); r.Err == nil && r.Want != tlsio.WantRead {
		t.Fatalf("handshake: %+v", r)
	}
}

// nothingLeft fails the test if f leaves a Context or a connection behind.
func nothingLeft(t *testing.T, f func()) {
	t.Helper()
	contexts, alive := live.Contexts(), live.Conns()
	f()
	if c, l := live.Contexts(), live.Conns(); c != contexts || l != alive {
		t.Fatalf("%d contexts and %d connections, %d and %d before", c, l, contexts, alive)
	}
}

// FuzzConfig fills all of a Config that are strings and numbers.
func FuzzConfig(f *testing.F) {
	for _, server := range []bool{false, true} {
		f.Add(server, "", "", "", "", "", "", "localhost", uint16(0), uint16(0), byte(0), 0, 0, 0)
		f.Add(server, "HIGH:!aNULL:@SECLEVEL=2", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", "X25519:P-256",
			"ed25519:RSA-PSS+SHA256", "h2,http/1.1", "a.example,*.example", "192.0.2.1", uint16(0x303), uint16(0x304), byte(2), 4, -1, 1<<20)
		f.Add(server, "no such\x00", "TLS_NONE", "x448:?", "RSA+", ","+strings.Repeat("x", 256), "*.*,b..c", "a\x00b",
			uint16(0x300), uint16(1), byte(9), -5, 1<<31, -1<<63)
	}
	for _, name := range []string{"a\x00b", strings.Repeat("x", 300)} {
		f.Add(false, "", "", "", "", "", "", name, uint16(0), uint16(0), byte(0), 0, 0, 0)
	}
	root := testcerts.Read(f, "root.pem")
	certs := []cssl.Certificate{{ChainPEM: testcerts.Read(f, "ed25519.pem"), KeyPEM: testcerts.Read(f, "ed25519.key")}}
	inner := tlstest.Value(cssl.NewServerContext(cssl.Config{Certificates: certs}))(f)
	f.Cleanup(inner.Close)
	f.Fuzz(func(t *testing.T, server bool, ciphers, suites, groups, sigalgs, alpn, sni, name string, low, high uint16, flags byte,
		a, b, c int) {
		nothingLeft(t, func() {
			cfg := cssl.Config{
				CAPEM: root, CipherList: ciphers, CipherSuites: suites, Groups: groups, SignatureAlgorithms: sigalgs,
				MinVersion: cssl.TLSVersion(low), MaxVersion: cssl.TLSVersion(high), Verify: cssl.VerifyMode(flags & 7),
				NoTickets: flags&8 != 0, Renegotiation: flags&16 != 0, ReleaseBuffers: flags&32 != 0, NoReadAhead: flags&64 != 0,
				Tickets: a, SessionCache: b, VerifyDepth: c, MaxMessages: b, MaxRenegotiations: a, Tail: c,
			}
			if alpn != "" {
				cfg.ALPN = strings.Split(alpn, ",")
			}
			if sni != "" {
				cfg.SNI = map[string]*cssl.Context{}
				for _, n := range strings.Split(sni, ",") {
					cfg.SNI[n] = inner
				}
			}
			// To read a key takes most of the time, and is FuzzPEM's.
			if flags&128 != 0 || server && sni == "" {
				cfg.Certificates = certs
			}
			contextFrom(t, cfg, server, name)
		})
		if a < 1<<24 && b < 1<<24 && c < 1<<24 {
			s := &session.Config{HighWater: a, LowWater: b, MaxQueue: c, TurnBytes: a, LingerBytes: b}
			new(session.Session).Init(nil, nil, s)
			if s.LowWater > s.HighWater || s.HighWater <= 0 || s.MaxQueue <= 0 || s.TurnBytes <= 0 || s.LingerBytes <= 0 {
				t.Fatalf("session settings: %+v", *s)
			}
		}
		if v, err := cssl.ParseTLSVersion(name); err == nil && v != 0 && v != cssl.TLS12 && v != cssl.TLS13 {
			t.Fatalf("ParseTLSVersion(%q) = %v", name, v)
		}
	})
}

// FuzzPEM reads certificates, keys, CAs and revocation lists from bytes.
func FuzzPEM(f *testing.F) {
	read := func(name string) []byte { return testcerts.Read(f, name) }
	root, crl, encrypted := read("root.pem"), read("crl.pem"), read("encrypted.key")
	for _, name := range []string{"ecdsa", "ed25519", "rsa", "client"} {
		f.Add(true, read(name+".pem"), read(name+".key"), []byte(nil), root, crl)
		f.Add(false, append(read(name+".pem"), read(name+".key")...), []byte(nil), []byte(nil), crl, root)
	}
	f.Add(true, read("ecdsa.pem"), read("rsa.key"), []byte(nil), []byte("-----BEGIN CERTIFICATE-----\n"), []byte(nil))
	f.Add(true, read("rsa.pem"), encrypted, []byte("secret"), root, crl)
	f.Add(false, read("rsa.pem"), encrypted, []byte{0}, []byte(nil), []byte("y"))
	f.Fuzz(func(t *testing.T, server bool, chain, key, pass, ca, crl []byte) {
		if bytes.Contains(chain, []byte("ENCRYPTED")) || bytes.Contains(key, []byte("ENCRYPTED")) && !bytes.Equal(key, encrypted) {
			t.Skip("its number of iterations may be any, which takes hours and shows nothing")
		}
		nothingLeft(t, func() {
			contextFrom(t, cssl.Config{
				Certificates: []cssl.Certificate{{ChainPEM: chain, KeyPEM: key, Passphrase: func() ([]byte, error) { return bytes.Clone(pass), nil }}},
				CAPEM:        ca, CRLPEM: crl,
			}, server, "localhost")
		})
	})
}
