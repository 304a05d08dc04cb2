package cssl

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// inForm is c with its key in the form of old ("EC PRIVATE KEY", "RSA PRIVATE KEY").
func inForm(t testing.TB, c Certificate) Certificate {
	t.Helper()
	block, _ := pem.Decode(c.KeyPEM)
	key := tlstest.Value(x509.ParsePKCS8PrivateKey(block.Bytes))(t)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		block = &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	case *ecdsa.PrivateKey:
		der := tlstest.Value(x509.MarshalECPrivateKey(k))(t)
		block = &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	}
	c.KeyPEM = pem.EncodeToMemory(block)
	return c
}

// TestPlainKeys: a key in the clear is read with its chain, in whatever form it is, and not by OpenSSL's search through all decoders,
// which costs more than all the rest (P58).
func TestPlainKeys(t *testing.T) {
	const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	ec, rsa, ed := selfSigned(t, "EC", "ec"), selfSigned(t, "RSA", "rsa"), selfSigned(t, "ED25519", "ed")
	with := func(chain Certificate, key string) *loaded {
		return &loaded{from: &Certificate{}, chain: chain.ChainPEM, key: []byte(key)}
	}
	ca := testcerts.Read(t, "intermediate.pem")
	x := mustServer(t, Config{Certificates: []Certificate{ec}})
	before := live.Certificates()
	s := &certificates{byText: map[content]*certificate{}, reading: map[content]*reading{}}
	tlstest.Must(t, s.start(x.ptr, 1))
	for name, tt := range map[string]struct {
		l    *loaded
		want bool
	}{
		"EC":                   {with(ec, string(ec.KeyPEM)), true},
		"RSA":                  {with(rsa, string(rsa.KeyPEM)), true},
		"Ed25519":              {with(ed, string(ed.KeyPEM)), true},
		"SEC 1":                {with(ec, string(inForm(t, ec).KeyPEM)), true},
		"SEC 1, parameters":    {with(ec, parameters+string(inForm(t, ec).KeyPEM)), true},
		"PKCS #1":              {with(rsa, string(inForm(t, rsa).KeyPEM)), true},
		"text before":          {with(rsa, "Bag Attributes\r\n"+string(inForm(t, rsa).KeyPEM)), true},
		"behind a chain":       {with(ec, string(ec.ChainPEM)+string(ca)+string(inForm(t, ec).KeyPEM)), true},
		"of another type":      {with(ec, string(rsa.KeyPEM)), false},
		"the other type first": {with(ec, string(rsa.KeyPEM)+string(ec.KeyPEM)), false},
		"encrypted":            {with(ec, string(testcerts.Read(t, "encrypted.key"))), false},
		"encrypted first":      {with(ec, string(testcerts.Read(t, "encrypted.key"))+string(ec.KeyPEM)), false},
		"none":                 {with(ec, string(ca)), false},
		"empty":                {with(ec, ""), false},
	} {
		r := s.begin(tt.l)
		<-r.parsed
		if r.ptr == nil {
			t.Fatalf("%s: the chain is refused", name)
		}
		if got := r.ptr.key != nil; got != tt.want {
			t.Errorf("%s: read with its chain: %v, want %v", name, got, tt.want)
		}
	}
	s.done()
	if n := live.Certificates(); n != before {
		t.Errorf("%d certificates are left", n-before)
	}
}

// TestNamesFirstError: among faults of many names the first in order is told, though they are read at once; what comes later changes
// nothing, and nothing is left.
func TestNamesFirstError(t *testing.T) {
	good, other := selfSigned(t, "EC", "good"), selfSigned(t, "EC", "other")
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		tlstest.Must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	chain, key := file("good.pem", good.ChainPEM), file("good.key", good.KeyPEM)
	faults := []struct {
		c    Certificate
		text string
	}{
		{Certificate{ChainFile: file("no.pem", []byte("nothing")), KeyFile: key}, "no.pem"},
		{Certificate{ChainFile: chain, KeyFile: file("no.key", []byte("nothing"))}, "no.key"},
		{Certificate{ChainFile: chain, KeyFile: file("other.key", other.KeyPEM)}, "other.key"},
		{Certificate{ChainFile: filepath.Join(dir, "missing.pem")}, "missing.pem"},
		{Certificate{ChainFile: chain, KeyFile: testcerts.Path("encrypted.key")}, "Passphrase is not set"},
	}
	alive, contexts := live.Certificates(), live.Contexts()
	for first := range faults {
		s := Config{Names: map[string][]Certificate{}}
		for i := range 3 * ahead {
			s.Names[fmt.Sprintf("h%03d.example", i)] = []Certificate{selfSigned(t, "EC", "x")}
		}
		for i := range faults { // in another order each time
			s.Names[fmt.Sprintf("h%03d.example", ahead+10+i)] = []Certificate{faults[(first+i)%len(faults)].c}
		}
		s.Names["i*.example"] = []Certificate{good} // no name, and the last one
		_, err := NewServerContext(s)
		var e *ConfigError
		if !errors.As(err, &e) || !strings.HasPrefix(e.Setting, fmt.Sprintf("Names[\"h%03d.example\"][0]", ahead+10)) || !strings.Contains(err.Error(), faults[first].text) {
			t.Errorf("%v, want a fault of name %d that has %q", err, ahead+10, faults[first].text)
		}
		if n, x := live.Certificates(), live.Contexts(); n != alive || x != contexts {
			t.Errorf("%d certificates and %d contexts are left", n-alive, x-contexts)
		}
	}
}
