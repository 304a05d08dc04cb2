package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// makeCertificates writes TYPE.pem for each type of key: a certificate for
// localhost that signs itself, and its key. Clients trust all, in roots.pem.
func makeCertificates(dir string) error {
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rsa, err2 := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	var roots []byte
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	for name, key := range map[string]crypto.Signer{"ecdsa": ec, "rsa": rsa, "ed25519": ed} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sslbench " + name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 2),
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
		}
		der, err1 := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		pkcs8, err2 := x509.MarshalPKCS8PrivateKey(key)
		chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		roots = append(roots, chain...)
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
		if err := errors.Join(err1, err2, write(name+".pem", chain)); err != nil {
			return err
		}
	}
	return write("roots.pem", roots)
}
