// Command certs makes the certificates that the tests use.
//
// It is run from the module's root, as `make certs` does, and overwrites every
// .pem and .key file in testdata/certs. The names, the serial numbers and the
// dates are always the same; the keys are new each time.
package main

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The dates are whole seconds because ASN.1 times have no fractions in a
// certificate. Those from 2050 on are encoded as GeneralizedTime, as RFC 5280
// wants it; crypto/x509 makes that choice by itself.
var (
	notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2125, 1, 1, 0, 0, 0, 0, time.UTC)
	expiredAt = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
)

// The certificates of the big chain carry bulkSize bytes each of an extension
// that means nothing. With five of them in the message, the whole is a little
// under 90 kB: far more than a small socket buffer takes, and still less than
// the 100 kB that OpenSSL peers accept at most unless they are told otherwise.
const (
	bulkSize = 17200
	bulkCAs  = 4
)

// revokedSerial is the serial number that crl.pem lists.
const revokedSerial = 0x2007

// oidBulk is under the enterprise number that RFC 5612 sets aside for examples.
var oidBulk = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}

// authority is a CA that can sign: its certificate and its private key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("certs: ")
	dir := flag.String("dir", filepath.Join("testdata", "certs"), "the folder to write to; it has to exist")
	flag.Parse()
	if info, err := os.Stat(*dir); err != nil || !info.IsDir() {
		log.Fatalf("there is no folder %s; run this from the module's root", *dir)
	}
	if err := generate(*dir); err != nil {
		log.Fatal(err)
	}
}

// generate makes the whole PKI and writes it to dir.
func generate(dir string) error {
	root, err := newAuthority("go-openssl test root", 0x1001, -1, nil, nil)
	if err != nil {
		return err
	}
	intermediate, err := newAuthority("go-openssl test intermediate", 0x1002, 0, nil, root)
	if err != nil {
		return err
	}
	otherRoot, err := newAuthority("go-openssl unrelated root", 0x1003, -1, nil, nil)
	if err != nil {
		return err
	}
	for name, ca := range map[string]*authority{
		"root.pem": root, "intermediate.pem": intermediate, "other-root.pem": otherRoot,
	} {
		if err := writeCerts(filepath.Join(dir, name), ca.cert.Raw); err != nil {
			return err
		}
	}

	leaves := []struct {
		name     string
		template *x509.Certificate
		newKey   func() (crypto.Signer, error)
	}{
		{"rsa", server(0x2001, "RSA server"), newRSA},
		{"ecdsa", server(0x2002, "ECDSA server"), newECDSA},
		{"ed25519", server(0x2003, "Ed25519 server"), newEd25519},
		{"client", client(0x2004, "client"), newECDSA},
		{"expired", expired(server(0x2005, "expired server")), newECDSA},
		{"wrongname", named(server(0x2006, "server of another name"), "other.test"), newECDSA},
		{"revoked", server(revokedSerial, "revoked server"), newECDSA},
	}
	for _, leaf := range leaves {
		key, err := leaf.newKey()
		if err != nil {
			return err
		}
		if err := writeLeaf(dir, leaf.name, leaf.template, key, intermediate, intermediate.cert.Raw); err != nil {
			return fmt.Errorf("%s: %w", leaf.name, err)
		}
		if leaf.name == "ecdsa" {
			if err := writeEncrypted(filepath.Join(dir, "encrypted.key"), key, "secret"); err != nil {
				return err
			}
		}
	}
	if err := writeBig(dir, root); err != nil {
		return err
	}
	if err := writeMLDSA(dir); err != nil {
		return err
	}
	return writeCRLs(filepath.Join(dir, "crl.pem"), intermediate, root)
}

// server is the template of a server certificate with the names that most
// tests connect to.
func server(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      subject("go-openssl test " + name),
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost", "example.test", "*.wild.test"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},

		BasicConstraintsValid: true,
	}
}

// client is the template of a certificate that only a client may present.
func client(serial int64, name string) *x509.Certificate {
	t := server(serial, name)
	t.Subject = subject(name)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.DNSNames, t.IPAddresses = nil, nil
	return t
}

func expired(t *x509.Certificate) *x509.Certificate {
	t.NotAfter = expiredAt
	return t
}

func named(t *x509.Certificate, dnsName string) *x509.Certificate {
	t.DNSNames, t.IPAddresses = []string{dnsName}, nil
	return t
}

func subject(name string) pkix.Name {
	return pkix.Name{Organization: []string{"go-openssl tests"}, CommonName: name}
}

func newRSA() (crypto.Signer, error)   { return rsa.GenerateKey(rand.Reader, 2048) }
func newECDSA() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
func newEd25519() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// newAuthority makes a CA that parent signs, or one that signs itself when
// parent is nil. A negative pathLen means that there is no limit.
func newAuthority(name string, serial int64, pathLen int, extra []pkix.Extension, parent *authority) (*authority, error) {
	key, err := newECDSA()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(serial),
		Subject:         subject(name),
		NotBefore:       notBefore,
		NotAfter:        notAfter,
		KeyUsage:        x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtraExtensions: extra,

		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}
	if parent == nil {
		parent = &authority{cert: template, key: key}
	}
	cert, err := sign(template, key, parent)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &authority{cert: cert, key: key}, nil
}

// sign makes a certificate for key. crypto/x509 fills in the authority key
// identifier from the parent, but the subject key identifier only for a CA,
// so it is set here.
func sign(template *x509.Certificate, key crypto.Signer, parent *authority) (*x509.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(spki)
	template.SubjectKeyId = id[:20]
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// writeLeaf writes name.pem, with the leaf first and chain after it, and
// name.key.
func writeLeaf(dir, name string, template *x509.Certificate, key crypto.Signer, ca *authority, chain ...[]byte) error {
	if _, ok := key.(*rsa.PrivateKey); ok {
		// The RSA key exchange of TLS 1.2 encrypts with the server's key.
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	cert, err := sign(template, key, ca)
	if err != nil {
		return err
	}
	if err := writeCerts(filepath.Join(dir, name+".pem"), append([][]byte{cert.Raw}, chain...)...); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", der)
}

// writeBig writes a server certificate whose path to the root is long and
// heavy. The path is a valid one, so that a handshake over it succeeds; it has
// CAs of its own because the ordinary intermediate allows no CA below it.
func writeBig(dir string, root *authority) error {
	ca := root
	var chain [][]byte
	for i := range bulkCAs {
		next, err := newAuthority(fmt.Sprintf("go-openssl test big CA %d", i+1), int64(0x3001+i),
			bulkCAs-1-i, []pkix.Extension{bulk(byte(i + 1))}, ca)
		if err != nil {
			return err
		}
		chain = append([][]byte{next.cert.Raw}, chain...)
		ca = next
	}
	template := server(0x2008, "server with a big chain")
	template.ExtraExtensions = []pkix.Extension{bulk(0)}
	key, err := newECDSA()
	if err != nil {
		return err
	}
	return writeLeaf(dir, "big", template, key, ca, chain...)
}

// bulk is an extension, not critical, that every peer skips. Its content is a
// hash chain and not zeros, so that a peer that knows certificate compression
// cannot shrink the message.
func bulk(seed byte) pkix.Extension {
	var content []byte
	for i := uint32(0); len(content) < bulkSize; i++ {
		block := sha256.Sum256(binary.BigEndian.AppendUint32([]byte{seed}, i))
		content = append(content, block[:]...)
	}
	value, err := asn1.Marshal(content[:bulkSize])
	if err != nil {
		panic(err) // An octet string can always be encoded.
	}
	return pkix.Extension{Id: oidBulk, Value: value}
}

// writeCRLs writes one CRL of each CA to the same file. OpenSSL wants both
// when it checks the whole path (X509_V_FLAG_CRL_CHECK_ALL), although the
// root has revoked nothing.
func writeCRLs(path string, intermediate, root *authority) error {
	var out bytes.Buffer
	for _, ca := range []*authority{intermediate, root} {
		list := &x509.RevocationList{
			Number:     big.NewInt(1),
			ThisUpdate: notBefore,
			NextUpdate: notAfter,
		}
		if ca == intermediate {
			list.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber:   big.NewInt(revokedSerial),
				RevocationTime: notBefore,
				ReasonCode:     1, // keyCompromise
			}}
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
		if err != nil {
			return err
		}
		if err := pem.Encode(&out, &pem.Block{Type: "X509 CRL", Bytes: der}); err != nil {
			return err
		}
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func writeCerts(path string, certs ...[]byte) error {
	var out bytes.Buffer
	for _, der := range certs {
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644)
}

// The object identifiers of PKCS#5 version 2 (RFC 8018) that writeEncrypted uses.
var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// The structures of RFC 5958 (the outer one) and RFC 8018 (the parameters).
type (
	encryptedPrivateKeyInfo struct {
		Algorithm     pbes2Algorithm
		EncryptedData []byte
	}
	pbes2Algorithm struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters pbes2Params
	}
	pbes2Params struct {
		KeyDerivationFunc pbkdf2Algorithm
		EncryptionScheme  aesAlgorithm
	}
	pbkdf2Algorithm struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters pbkdf2Params
	}
	pbkdf2Params struct {
		Salt           []byte
		IterationCount int
		PRF            pkix.AlgorithmIdentifier
	}
	aesAlgorithm struct {
		Algorithm asn1.ObjectIdentifier
		IV        []byte
	}
)

// writeEncrypted writes key as an encrypted PKCS#8 file, which the standard
// library has no function for: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC,
// as the openssl command makes it by default.
func writeEncrypted(path string, key crypto.Signer, passphrase string) error {
	const iterations = 2048
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	rand.Read(salt)
	rand.Read(iv)
	derived, err := pbkdf2.Key(sha256.New, passphrase, salt, iterations, 32)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	data := append(plain, bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)

	der, err := asn1.Marshal(encryptedPrivateKeyInfo{
		Algorithm: pbes2Algorithm{oidPBES2, pbes2Params{
			KeyDerivationFunc: pbkdf2Algorithm{oidPBKDF2, pbkdf2Params{
				Salt:           salt,
				IterationCount: iterations,
				PRF:            pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue},
			}},
			EncryptionScheme: aesAlgorithm{oidAES256CBC, iv},
		}},
		EncryptedData: data,
	})
	if err != nil {
		return err
	}
	return writePEM(path, "ENCRYPTED PRIVATE KEY", der)
}
