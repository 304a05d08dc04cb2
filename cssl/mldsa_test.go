package cssl

import (
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// mldsaConfig is a server with a certificate of ML-DSA of a size ("44", "65", "87"), which signed itself.
func mldsaConfig(size string) Config { return serverConfig("mldsa" + size) }

// TestMLDSA: a handshake with a certificate of ML-DSA, with a client certificate of the same kind too. A chain and a
// signature of this size need several records.
func TestMLDSA(t *testing.T) {
	need35(t)
	for _, size := range []string{"44", "65", "87"} {
		for _, mutual := range []bool{false, true} {
			c, s := Config{CAFile: testcerts.Path("mldsa" + size + ".pem")}, mldsaConfig(size)
			if mutual {
				c.Certificates = s.Certificates
				s.CAFile, s.Verify = c.CAFile, VerifyRequire
			}
			p := pairOf(t, c, s)
			p.chunk = 1000
			p.opened()
			chain, err := p.client.State().VerifiedChain()
			if err != nil || len(chain) != 1 || chain[0].Subject.CommonName != "ML-DSA-"+size+" server" || p.client.State().VerifyError != nil {
				t.Errorf("ML-DSA-%s: %v, %v, %v", size, chain, err, p.client.State().VerifyError)
			}
			if chain, err = p.server.State().VerifiedChain(); err != nil || (len(chain) == 1) != mutual {
				t.Errorf("ML-DSA-%s from a client: %v, %v", size, chain, err)
			}
		}
	}
}

// TestMLDSABesideECDSA: a server with both takes what the client's signature algorithms allow, in the server's order.
func TestMLDSABesideECDSA(t *testing.T) {
	need35(t)
	s := serverConfig("ecdsa")
	s.Certificates = append(s.Certificates, mldsaConfig("65").Certificates...)
	both := mustServer(t, s)
	s.SignatureAlgorithms = "ecdsa_secp256r1_sha256:mldsa65"
	classic := mustServer(t, s)
	for _, tt := range []struct {
		server     *Context
		algorithms string // the client's
		version    TLSVersion
		want       string // the certificate's name
	}{
		{both, "", 0, "ML-DSA-65 server"},
		{both, "mldsa65:ecdsa_secp256r1_sha256", 0, "ML-DSA-65 server"},
		{both, "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256", 0, "ECDSA server"},
		{both, "mldsa44:ecdsa_secp256r1_sha256", 0, "ECDSA server"},
		{both, "", TLS12, "ECDSA server"}, // TLS 1.2 has no ML-DSA
		{classic, "", 0, "ECDSA server"},
	} {
		roots := slices.Concat(testcerts.Read(t, "root.pem"), testcerts.Read(t, "mldsa65.pem"))
		c := Config{CAPEM: roots, SignatureAlgorithms: tt.algorithms, MaxVersion: tt.version}
		p := newPair(t, mustClient(t, c), tt.server)
		p.handshake()
		chain, err := p.client.State().PeerCertificates()
		if err != nil || !strings.HasSuffix(chain[0].Subject.CommonName, tt.want) || p.client.State().VerifyError != nil {
			t.Errorf("client with %q, %v: %v %v, want %s", tt.algorithms, tt.version, chain[0].Subject, err, tt.want)
		}
	}
	// A client that knows neither is refused with an alert, not served something else.
	c := clientConfig()
	c.SignatureAlgorithms = "rsa_pss_rsae_sha256"
	cerr, serr := newPair(t, mustClient(t, c), both).try()
	checkAlert(t, serr, tlsio.AlertSent, 40)
	checkAlert(t, cerr, tlsio.AlertReceived, 40)
}
