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
	"slices"
	"time"
)

// makeCertificates writes TYPE.pem, TYPE.key and TYPE.both for each type of key: a
// certificate for localhost that signs itself. Clients trust all, in roots.pem.
func makeCertificates(dir string) error {
	var roots []byte
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	for i, name := range []string{"ecdsa", "rsa", "ed25519"} {
		var key crypto.Signer
		var err error
		switch name {
		case "ecdsa":
			key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		case "rsa":
			key, err = rsa.GenerateKey(rand.Reader, 2048)
		default:
			_, key, err = ed25519.GenerateKey(rand.Reader)
		}
		if err != nil {
			return err
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "sslbench " + name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 2),
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return err
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
		roots = append(roots, chain...)
		if err := errors.Join(write(name+".pem", chain), write(name+".key", private), write(name+".both", slices.Concat(chain, private))); err != nil {
			return err
		}
	}
	return write("roots.pem", roots)
}
