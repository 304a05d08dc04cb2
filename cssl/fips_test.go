package cssl

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
)

// fipsLibrary has the fips and base providers alone.
func fipsLibrary(t testing.TB) *Library {
	t.Helper()
	return mustLibrary(t, LibraryConfig{ConfigFile: testtoken.FIPSConfig(t)})
}

// TestFIPS: with the fips and base providers, our defaults serve in both versions, with tickets of our keys, and nothing that is
// not approved is negotiated.
func TestFIPS(t *testing.T) {
	l := fipsLibrary(t)
	names := l.Providers()
	slices.Sort(names)
	if !slices.Equal(names, []string{"base", "fips"}) {
		t.Fatal(names)
	}
	for _, cert := range []string{"ecdsa", "rsa"} {
		for _, v := range []TLSVersion{TLS12, TLS13} {
			t.Run(cert+" "+v.String(), func(t *testing.T) {
				s, c := serverConfig(cert), clientConfig()
				s.Library, s.Properties, s.TicketKeys = l, "fips=yes", [][]byte{bytes.Repeat([]byte{1}, 80)}
				s.CAFile, s.CRLFile, s.Verify = testcerts.Path("root.pem"), testcerts.Path("crl.pem"), VerifyOptional
				c.MinVersion, c.MaxVersion = v, v
				server := mustServer(t, s)
				p := newPair(t, mustClient(t, c), server).shaken()
				t.Log(p.server.State(), p.server.State().Group)
				if n := p.server.State(); strings.Contains(n.Cipher, "CHACHA20") {
					t.Error(n)
				}
				c.Library, c.Properties = l, "fips=yes"
				client := mustClient(t, c)
				p = newPair(t, client, server).opened()
				p = p.again(client, server, "localhost")
				p.handshake()
				if !p.client.State().Resumed {
					t.Error("not resumed")
				}
			})
		}
	}
}

// TestFIPSRefused: what is not approved is refused when the Context is built.
func TestFIPSRefused(t *testing.T) {
	l := fipsLibrary(t)
	for setting, change := range map[string]func(*Config){
		"CipherSuites":    func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256" },
		"CipherList":      func(c *Config) { c.CipherList = "ECDHE-ECDSA-CHACHA20-POLY1305" },
		"Groups":          func(c *Config) { c.Groups = "X25519" },
		"Certificates[0]": func(c *Config) { c.Certificates[0] = smallRSA(t, "1024") },
	} {
		for _, properties := range []string{"fips=yes", ""} {
			c := serverConfig("ecdsa")
			c.Library, c.Properties = l, properties
			change(&c)
			checkRefused(t, fmt.Sprintf("%q", properties), true, c, setting)
		}
	}
}

// TestFIPSSmallKey: where the security level lets a small RSA key through, its handshakes fail all the same.
func TestFIPSSmallKey(t *testing.T) {
	const weak = "DEFAULT:@SECLEVEL=0"
	key := smallRSA(t, "1024")
	for _, l := range []*Library{nil, fipsLibrary(t)} {
		for _, v := range versions {
			client := mustClient(t, Config{Verify: VerifyNone, CipherList: weak, MaxVersion: v})
			err := handshakeError(newPair(t, client, mustServer(t, Config{Library: l, CipherList: weak, Certificates: []Certificate{key}})))
			if (err == nil) != (l == nil) {
				t.Errorf("%v, %v: %v", l.Providers(), v, err)
			}
			t.Log(err)
		}
	}
}

func openssl(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// smallRSA is a certificate of an RSA key of so many bits.
func smallRSA(t testing.TB, bits string) Certificate {
	t.Helper()
	dir := t.TempDir()
	c := Certificate{ChainFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	openssl(t, "req", "-x509", "-newkey", "rsa:"+bits, "-nodes", "-subj", "/CN=localhost", "-keyout", c.KeyFile, "-out", c.ChainFile)
	return c
}
