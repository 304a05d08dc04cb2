package filetype

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestDescribe: each kind of content is told by its first bytes, also when it is cut off, and what is secret in it is not shown.
func TestDescribe(t *testing.T) {
	der := func(name string) []byte {
		block, _ := pem.Decode(testcerts.Read(t, name))
		return block.Bytes
	}
	must := func(p []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ec := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	rsaKey, err := x509.ParsePKCS8PrivateKey(der("rsa.key"))
	if err != nil {
		t.Fatal(err)
	}
	list := &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now()}
	issuer := &x509.Certificate{KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	chain, key := string(testcerts.Read(t, "rsa.pem")), string(testcerts.Read(t, "rsa.key"))
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":             {nil, "nothing, it is empty"},
		"spaces":            {[]byte(" \r\n"), "nothing but white space"},
		"text":              {[]byte("SECRET words\nin two lines\n"), "text"},
		"zeros":             {make([]byte, 48), "binary data"},
		"Latin-1":           {[]byte("gr\xfc\xdfe"), "binary data"},
		"UTF-16":            {[]byte("\xff\xfe-\x00-\x00"), "UTF-16"},
		"PEM":               {[]byte("SECRET\n" + chain + chain + key), "CERTIFICATE (4), PRIVATE KEY in PEM"},
		"byte order mark":   {[]byte("\xef\xbb\xbf" + key), "PRIVATE KEY in PEM"},
		"indented":          {[]byte("  " + strings.ReplaceAll(key, "\n", "\n  ")), "start of a line"},
		"many labels":       {[]byte(manyLabels()), "L6, L7 and others in PEM"},
		"certificate":       {der("ecdsa.pem"), "a certificate in DER"},
		"version 1":         {[]byte{sequence, 0x82, 4, 0, sequence, 0x82, 3, 0, integer, 2, 0x11, 0x22, sequence}, "a certificate in DER"},
		"PKCS#8":            {der("ecdsa.key"), "a private key in DER"},
		"PKCS#1":            {x509.MarshalPKCS1PrivateKey(rsaKey.(*rsa.PrivateKey)), "a private key in DER"},
		"SEC 1":             {must(x509.MarshalECPrivateKey(ec)), "a private key in DER"},
		"encrypted":         {der("encrypted.key"), "an encrypted private key in DER"},
		"public":            {must(x509.MarshalPKIXPublicKey(ec.Public())), "a public key in DER"},
		"request":           {must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, ec)), "a certificate request in DER"},
		"revocation list":   {must(x509.CreateRevocationList(rand.Reader, list, issuer, ec)), "a revocation list in DER"},
		"PKCS#12":           {[]byte{sequence, 0x82, 4, 0, integer, 1, 3, sequence, 0x82}, "a PKCS#12 file"},
		"PKCS#12 in BER":    {[]byte{sequence, 0x80, integer, 1, 3, sequence, 0x80}, "a PKCS#12 file"},
		"PKCS#7":            {[]byte{sequence, 0x82, 4, 0, oid, 9, 0x2a}, "a PKCS#7 structure"},
		"OCSP":              {[]byte{sequence, 3, enumerated, 1, 6}, "an OCSP response in DER"},
		"something in DER":  {[]byte{sequence, 0x82, 4, 0, 0x13}, "data in DER"},
		"cut off":           {[]byte{sequence, 0x82, 4, 0}, "data in DER"},
		"zero with a digit": {[]byte("0 or more\n"), "text"}, // begins like DER
	} {
		s := Describe(tt.content)
		if !strings.HasPrefix(s, tt.want) && !strings.Contains(s, tt.want) || tt.want == "data in DER" && s != tt.want {
			t.Errorf("%s: %q, want %q", name, s, tt.want)
		}
		if strings.Contains(s, "SECRET") {
			t.Errorf("%s: a secret is shown: %s", name, s)
		}
		for i := range tt.content {
			Describe(tt.content[:i]) // nothing to go past the end of
		}
	}
}

// manyLabels is PEM of ten kinds.
func manyLabels() string {
	var b strings.Builder
	for _, d := range "0123456789" {
		b.WriteString("-----BEGIN L" + string(d) + "-----\n")
	}
	return b.String()
}
