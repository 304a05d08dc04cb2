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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// makeCertificates writes TYPE.pem, TYPE.key and TYPE.both for each type of key:
// a leaf for localhost that the CA in root.pem has signed directly.
func makeCertificates(dir string) error {
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sslbench root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 2),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sslbench"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	sign := func(c *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
		der, err := x509.CreateCertificate(rand.Reader, c, root, pub, ca)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
	}
	text, err := sign(root, ca.Public())
	if err != nil {
		return err
	}
	if err := write("root.pem", text); err != nil {
		return err
	}
	for name, generate := range keyTypes {
		key, err := generate()
		if err != nil {
			return err
		}
		chain, err := sign(leaf, key.Public())
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		for ext, text := range map[string][]byte{".pem": chain, ".key": private, ".both": slices.Concat(chain, private)} {
			if err := write(name+ext, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// keyTypes are those of the servers' certificates.
var keyTypes = map[string]func() (crypto.Signer, error){
	"rsa":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	"ecdsa": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ed25519": func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	},
}
