package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/filetype"
)

// Certificate is what is known of one that is in use.
type Certificate struct {
	// File is where it came from.
	File string
	// Name is its first DNS name or IP address, or else its subject.
	Name string
	// Serial in hexadecimal.
	Serial              string
	NotBefore, NotAfter time.Time

	chain  []*x509.Certificate
	unread error // what is behind chain in the file could not be read for this
}

// wantChain is what errors say that a chain's file should hold.
const wantChain = "certificates in PEM, leaf first"

// add reads the facts of files, which flag names: "--cert" or "--sni a.example".
func (b *Built) add(flag string, files []config.Certificate) error {
	for _, f := range files {
		c, err := b.factsIn(f.Chain)
		if err != nil {
			return fmt.Errorf("%s%w", flag, err)
		}
		b.Certificates = append(b.Certificates, c)
		if c.unread != nil {
			b.unreadable(fmt.Sprintf("%s: certificate %d", c.File, len(c.chain)+1), c.unread)
		}
		b.look(time.Now(), c.dates()...)
		b.staple(f.OCSP, &c, time.Now())
		keyFlag, key := certificateFlag(flag, "Key", f, "")
		if b.keys[key] || config.IsURI(key) {
			continue
		}
		b.keys[key] = true
		if w := readableByAll(keyFlag, key); w != "" && bytes.Contains(mustRead(key), []byte("PRIVATE KEY")) {
			b.Warnings = append(b.Warnings, w)
		}
	}
	return nil
}

// chainFile is what is known of a file with a chain, and what it was read from.
type chainFile struct {
	content [sha256.Size]byte
	facts   Certificate
}

// factsIn reads a chain's file, once, and its content if that has changed. An
// error goes behind a flag: the next one may name the same file.
func (b *Built) factsIn(file string) (Certificate, error) {
	if f, ok := b.files[file]; ok {
		return f.facts, nil
	}
	p, err := os.ReadFile(file)
	if err != nil {
		return Certificate{}, fmt.Errorf(": %w; want %s", err, wantChain)
	}
	f, ok := b.before[file]
	if sum := sha256.Sum256(p); !ok || f.content != sum {
		f.content = sum
		if f.facts, err = factsOf(file, p, b.issuers); err != nil {
			return Certificate{}, err
		}
	}
	b.files[file] = f
	return f.facts, nil
}

// mustRead is a file's content, or nothing: that it cannot be read is somebody
// else's to tell, and what is no file, such as a pipe, somebody else's to read.
func mustRead(file string) []byte {
	if fi, err := os.Stat(file); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	p, _ := os.ReadFile(file)
	return p
}

// factsOf reads a chain, leaf first. What is behind the leaf is parsed once, and
// kept in issuers by its content. An error goes behind a flag.
func factsOf(file string, p []byte, issuers map[string]*x509.Certificate) (Certificate, error) {
	c := Certificate{File: file}
	for i, der := range blocks(p, certificateTypes...) {
		x := issuers[string(der)]
		if x == nil {
			if x, c.unread = parseCertificate(der); c.unread != nil {
				break // OpenSSL reads some that crypto/x509 refuses; it has the last word
			}
		}
		if i > 0 {
			issuers[string(der)] = x
		}
		c.chain = append(c.chain, x)
	}
	switch {
	case len(c.chain) > 0:
	case c.unread != nil:
		return c, nil
	default:
		return c, fmt.Errorf(" %q: want %s; found %s", file, wantChain, filetype.Describe(p))
	}
	leaf := c.chain[0]
	c.Serial, c.NotBefore, c.NotAfter = fmt.Sprintf("%x", leaf.SerialNumber), leaf.NotBefore, leaf.NotAfter
	switch {
	case len(leaf.DNSNames) > 0:
		c.Name = leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		c.Name = leaf.IPAddresses[0].String()
	default:
		c.Name = leaf.Subject.String()
	}
	return c, nil
}

// Check is what --check asks beyond Build: nothing that is needed out of date,
// chains complete and in order.
func (b *Built) Check() error {
	var faults []error
	for _, s := range b.OutOfDate {
		faults = append(faults, errors.New(s))
	}
	for _, c := range b.Certificates {
		if s := c.incomplete(); s != "" {
			faults = append(faults, fmt.Errorf("%s: %s", c.File, s))
		}
	}
	return errors.Join(faults...)
}

// incomplete says what is missing in the chain. The root may be left out: clients have it. Where there is the leaf alone, though, its issuer must
// be a root that is known here, for a client that lacks an intermediate cannot go on.
func (c *Certificate) incomplete() string {
	for i, x := range c.chain {
		if i+1 < len(c.chain) {
			if err := x.CheckSignatureFrom(c.chain[i+1]); err != nil {
				return fmt.Sprintf("certificate %d (%s) was not issued by the one behind it (%s): put them in order, leaf first",
					i+1, nameOf(x), nameOf(c.chain[i+1]))
			}
		}
	}
	if len(c.chain) != 1 || c.unread != nil || bytes.Equal(c.chain[0].RawSubject, c.chain[0].RawIssuer) {
		return ""
	}
	leaf := c.chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		return ""
	}
	return fmt.Sprintf("the chain may be incomplete: %q, which issued the certificate, is not in the file and is no root of this system; add it behind the certificate",
		leaf.Issuer.String())
}

func nameOf(x *x509.Certificate) string {
	if x.Subject.CommonName != "" {
		return x.Subject.CommonName
	}
	return x.Subject.String()
}
