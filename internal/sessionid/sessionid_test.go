package sessionid

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"math/big"
	"testing"
)

// issue makes a self-signed certificate in PEM.
func issue(t *testing.T, key *ecdsa.PrivateKey, subject string, names ...string) []byte {
	t.Helper()
	c := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: subject}, DNSNames: names}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key))(t)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestContext: what makes another context and what does not. The handshakes are
// in cssl's TestRenewal.
func TestContext(t *testing.T) {
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	of := func(server bool, chain, trust []byte, demands ...string) [32]byte {
		return Context(server, [][]byte{chain}, trust, demands...)
	}
	leaf, ca := issue(t, keys[0], "x", "a", "b"), issue(t, keys[0], "ca")
	marked := func(chain []byte) []byte { return append([]byte("\xef\xbb\xbf"), chain...) }
	for name, tt := range map[string]struct {
		x, y [32]byte
		same bool
	}{
		"another key, order and subject of a server": {of(true, leaf, nil), of(true, issue(t, keys[1], "y", "b", "a"), nil), true},
		"another subject of a client":                {of(false, leaf, nil), of(false, issue(t, keys[0], "y", "a", "b"), nil), false},
		"another name":                               {of(true, leaf, nil), of(true, issue(t, keys[0], "x", "a", "c"), nil), false},
		"no name, another subject":                   {of(true, issue(t, keys[0], "x"), nil), of(true, issue(t, keys[0], "y"), nil), false},
		"no name, no subject, another key":           {of(true, issue(t, keys[0], ""), nil), of(true, issue(t, keys[1], ""), nil), false},
		"twice":                                      {of(true, leaf, nil), Context(true, [][]byte{leaf, leaf}, nil), true},
		"a CA renewed":                               {of(true, leaf, ca), of(true, leaf, issue(t, keys[0], "ca", "z")), true},
		"a CA with another key":                      {of(true, leaf, ca), of(true, leaf, issue(t, keys[1], "ca")), false},
		"what encoding/pem cannot see":               {of(true, marked(leaf), nil), of(true, marked(issue(t, keys[0], "x", "c")), nil), false},
		"not PEM":                                    {of(true, []byte("x"), nil), of(true, []byte("y"), nil), false},
		"another demand":                             {of(true, leaf, nil, "a", "b"), of(true, leaf, nil, "a", "c"), false},
		"demands cut elsewhere":                      {of(true, leaf, nil, "ab", "c"), of(true, leaf, nil, "a", "bc"), false},
		"a server name":                              {ForName([]byte("x"), "a"), ForName([]byte("x"), "b"), false},
	} {
		if tt.x == tt.y != tt.same {
			t.Errorf("%s: the same: %v", name, !tt.same)
		}
	}
}

// TestList: what stands in two parts of a list is another one than
// the same text in one of them (P39).
func TestList(t *testing.T) {
	if a, b := list([]byte("ab"), []byte("c")), list([]byte("a"), []byte("bc")); bytes.Equal(a, b) {
		t.Errorf("both are %q", a)
	}
}
