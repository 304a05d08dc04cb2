package tlsconf

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/filetype"
	"github.com/spacemonad/go-openssl/internal/pkcs11uri"
)

// Certificate is what is known of one that is in use.
type Certificate struct {
	File     string // where it came from
	Name     string // its first DNS name or IP address, or else its subject
	Serial   string // in hexadecimal
	NotAfter time.Time

	chain  []*x509.Certificate
	unread error // what is behind chain in the file could not be read for this
}

// soon is how long before its end something is warned of. What lives for less
// than three times as long is warned of in the last third of its life.
const soon = 30 * 24 * time.Hour

// describe adds what is to be known of a certificate that OpenSSL has taken.
func (b *Built) describe(flag string, t *config.TLS, f config.Certificate, library *cssl.Library) {
	p := content(f.Chain)
	ders, packed := blocks(p, "CERTIFICATE"), filetype.PKCS12(p)
	var unread error
	if packed || config.IsURI(f.Chain) {
		ders, unread = certificates(t, []config.Certificate{f})[0].ReadChain(library)
	}
	c := parseChain(ders)
	c.File, c.unread = pkcs11uri.Redact(f.Chain), cmp.Or(unread, c.unread)
	b.Certificates = append(b.Certificates, c)
	if c.unread != nil {
		b.unreadable(fmt.Sprintf("%s: certificate %d", c.File, len(c.chain)+1), c.unread)
	}
	for i, x := range c.chain {
		switch {
		case i == 0:
			b.look(true, dated{c.File + ": " + c.Name, x.NotBefore, x.NotAfter, "clients will refuse it"})
		case !selfIssued(x): // clients have their own roots
			b.look(true, dated{c.File + ": intermediate " + nameOf(x), x.NotBefore, x.NotAfter, "clients will refuse the chain"})
		}
	}
	b.staple(f.OCSP, &c)
	if packed {
		b.readableByAll(flag, f.Chain)
	}
	if keyFlag, key := certificateFlag(flag, "Key", f, ""); bytes.Contains(content(key), []byte("PRIVATE KEY")) {
		b.readableByAll(keyFlag, key)
	}
}

// warn adds a warning, once.
func (b *Built) warn(text string) {
	if !slices.Contains(b.Warnings, text) {
		b.Warnings = append(b.Warnings, text)
	}
}

// unreadable says that something with a date is not looked at. OpenSSL reads
// some that crypto/x509 refuses; it has the last word.
func (b *Built) unreadable(what string, err error) {
	b.warn(what + ": its dates are not watched, for it cannot be read: " + err.Error())
}

// readableByAll warns of a file with a secret that is.
func (b *Built) readableByAll(flag, file string) {
	if fi, err := os.Stat(file); err == nil && fi.Mode().Perm()&0o004 != 0 {
		b.warn(fmt.Sprintf("%s %s: everybody can read it: chmod o-r %s", flag, file, filepath.Base(file)))
	}
}

// content is a file's content, or nothing: that it cannot be read is somebody
// else's to tell, and what is no file, such as a pipe, somebody else's to read.
func content(file string) []byte {
	if fi, err := os.Stat(file); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	p, _ := os.ReadFile(file)
	return p
}

// parseChain reads a chain in DER, leaf first.
func parseChain(ders [][]byte) (c Certificate) {
	for _, der := range ders {
		x, err := parseCertificate(der)
		if c.unread = err; err != nil {
			break
		}
		c.chain = append(c.chain, x)
	}
	if len(c.chain) == 0 {
		return c
	}
	leaf := c.chain[0]
	c.Name, c.Serial, c.NotAfter = leaf.Subject.String(), fmt.Sprintf("%x", leaf.SerialNumber), leaf.NotAfter
	if len(leaf.DNSNames) > 0 {
		c.Name = leaf.DNSNames[0]
	} else if len(leaf.IPAddresses) > 0 {
		c.Name = leaf.IPAddresses[0].String()
	}
	return c
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

// incomplete says what is missing in the chain. The root may be left out:
// clients have it. Where there is the leaf alone, though, its issuer must be a
// root that is known here, for a client that lacks an intermediate cannot go
// on.
func (c *Certificate) incomplete() string {
	for i := range max(0, len(c.chain)-1) {
		if x, next := c.chain[i], c.chain[i+1]; x.CheckSignatureFrom(next) != nil {
			return fmt.Sprintf("certificate %d (%s) was not issued by the one behind it (%s): put them in order, leaf first",
				i+1, nameOf(x), nameOf(next))
		}
	}
	if len(c.chain) != 1 || c.unread != nil || selfIssued(c.chain[0]) {
		return ""
	}
	leaf := c.chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		return ""
	}
	return fmt.Sprintf("the chain may be incomplete: %q, which issued the certificate, is not in the file and is no root of this system; "+
		"add it behind the certificate", leaf.Issuer.String())
}

func selfIssued(x *x509.Certificate) bool { return bytes.Equal(x.RawSubject, x.RawIssuer) }

func nameOf(x *x509.Certificate) string {
	if x.Subject.CommonName != "" {
		return x.Subject.CommonName
	}
	return x.Subject.String()
}

// dated is something that is good for a time.
type dated struct {
	what        string    // with its file, such as "chain.pem: localhost"
	from, until time.Time // without until it is good for ever
	then        string    // what follows when it is out of date
}

// finding says that it is out of date at now, or soon will be, or is empty.
func (d dated) finding(now time.Time) (text string, outOfDate bool) {
	const minute = "2006-01-02 15:04 UTC"
	left := d.until.Sub(now)
	switch {
	case now.Before(d.from):
		return fmt.Sprintf("%s is not valid before %s: %s", d.what, d.from.UTC().Format(minute), d.then), true
	case d.until.IsZero() || left >= min(soon, d.until.Sub(d.from)/3):
		return "", false
	case left < 0:
		return fmt.Sprintf("%s expired on %s: %s", d.what, d.until.UTC().Format(minute), d.then), true
	}
	span := cmp.Or(strings.TrimSuffix(left.Truncate(time.Minute).String(), "0s"), "0m")
	if days := int(left / (24 * time.Hour)); days > 1 {
		span = fmt.Sprint(days, " days")
	}
	return fmt.Sprintf("%s expires in %s, on %s", d.what, span, d.until.UTC().Format(minute)), false
}

// look adds a finding about each of ds to b, once. Clients are refused when all
// of what is needed is out of date.
func (b *Built) look(needed bool, ds ...dated) {
	now := time.Now()
	needed = needed && !slices.ContainsFunc(ds, func(d dated) bool { _, out := d.finding(now); return !out })
	for _, d := range ds {
		switch text, _ := d.finding(now); {
		case text == "":
		case !needed:
			b.warn(text)
		case !slices.Contains(b.OutOfDate, text):
			b.OutOfDate = append(b.OutOfDate, text)
		}
	}
}

// clientDates looks at the CAs and revocation lists for clients' certificates,
// if any are asked for.
func (b *Built) clientDates(t *config.TLS) {
	if !t.AsksClients() {
		return
	}
	var cas, crls []dated
	for _, der := range blocks(content(t.CAFile), "CERTIFICATE") {
		if x, err := parseCertificate(der); err != nil {
			b.unreadable("--client-ca "+t.CAFile+": a CA", err)
		} else {
			cas = append(cas, dated{"--client-ca " + t.CAFile + ": CA " + nameOf(x), x.NotBefore, x.NotAfter,
				"clients' certificates from it are refused, unless a newer one is there too"})
		}
	}
	for _, der := range blocks(content(t.CRLFile), "X509 CRL") {
		if l, err := x509.ParseRevocationList(der); err != nil {
			b.unreadable("--client-crl "+t.CRLFile+": a CRL", err)
		} else {
			crls = append(crls, dated{"--client-crl " + t.CRLFile + ": CRL of " + nameOf(&x509.Certificate{Subject: l.Issuer}),
				l.ThisUpdate, l.NextUpdate, "certificates of its issuer are refused, unless a newer one is there too"})
		}
	}
	b.look(true, cas...)
	b.look(true, crls...)
}

// staple looks at the OCSP responses of a chain.
func (b *Built) staple(file string, c *Certificate) {
	p, what := content(file), "--ocsp-file "+file
	for i, x := range c.chain {
		var one asn1.RawValue
		rest, err := asn1.Unmarshal(p, &one)
		if len(p) == 0 || err != nil {
			return
		}
		r, err := ocsp.ParseResponseForCert(one.FullBytes, x, nil)
		if err != nil {
			b.unreadable(what, err)
			return
		}
		name := nameOf(x)
		if i == 0 {
			name = c.Name
		}
		b.look(false, dated{what + ": the response for " + name, r.ThisUpdate, r.NextUpdate, "clients that want one refuse it"})
		p = rest
	}
}

// blocks are the contents of the PEM blocks of a type, and of its variants with
// a word in front.
func blocks(p []byte, kind string) (ders [][]byte) {
	for {
		var block *pem.Block
		if block, p = pem.Decode(p); block == nil {
			return ders
		}
		if block.Type == kind || strings.HasSuffix(block.Type, " "+kind) { // "TRUSTED CERTIFICATE"
			ders = append(ders, block.Bytes)
		}
	}
}

// parseCertificate reads one, and leaves out what stands behind it in a trusted
// certificate of OpenSSL.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw.FullBytes)
}
