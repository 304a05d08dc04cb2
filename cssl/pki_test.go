package cssl

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// rsaKey is the key in testdata/certs.
func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(testcerts.Read(t, "rsa.key"))
	key := tlstest.Value(x509.ParsePKCS8PrivateKey(block.Bytes))(t)
	return key.(crypto.Signer)
}

// authority signs certificates that testdata/certs does not have.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// newKey makes a P-256 key.
func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	return key
}

// newAuthority makes a CA with a key, signed by parent or, if that is nil, by itself.
func newAuthority(t testing.TB, name string, parent *authority, key crypto.Signer) *authority {
	t.Helper()
	a := &authority{t: t, key: key}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if parent == nil {
		parent = &authority{t: t, cert: template, key: key}
	}
	a.cert, a.pem = parent.sign(template, key)
	return a
}

// sign signs a certificate. Serial number and dates are made where there are none.
func (a *authority) sign(template *x509.Certificate, key crypto.Signer) (*x509.Certificate, []byte) {
	a.t.Helper()
	if template.SerialNumber == nil {
		n := tlstest.Value(rand.Int(rand.Reader, big.NewInt(1<<62)))(a.t)
		template.SerialNumber = n
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour)
	}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))(a.t)
	cert := tlstest.Value(x509.ParseCertificate(der))(a.t)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a leaf with a new key. The certificates of above are sent along with it.
func (a *authority) issue(template x509.Certificate, above ...*authority) Certificate {
	a.t.Helper()
	return a.issueFor(newKey(a.t), template, above...)
}

// issueFor is issue for a key.
func (a *authority) issueFor(key crypto.Signer, template x509.Certificate, above ...*authority) Certificate {
	a.t.Helper()
	_, chain := a.sign(&template, key)
	for _, x := range above {
		chain = append(chain, x.pem...)
	}
	der := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(a.t)
	return Certificate{ChainPEM: chain, KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// revoke makes a list of what the CA has revoked.
func (a *authority) revoke(until time.Time, serials ...*big.Int) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-1000 * time.Hour), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: list.ThisUpdate})
	}
	der := tlstest.Value(x509.CreateRevocationList(rand.Reader, list, a.cert, a.key))(a.t)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
