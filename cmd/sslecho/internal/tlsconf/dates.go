package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/filetype"
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

const (
	// wantChain is what errors say that a chain's file should hold.
	wantChain = "certificates in PEM, leaf first"
	// soon is how long before its end something is warned of. What lives for
	// less than three times as long is warned of in the last third of its life.
	soon = 30 * 24 * time.Hour
)

// read reads the chains of files, which flag names ("--cert", "--sni
// a.example"), and looks at their dates. What has not changed since last is not
// parsed again.
func (b *Built) read(flag string, files []config.Certificate, last *Built) error {
	for _, f := range files {
		p, err := os.ReadFile(f.Chain)
		if err != nil {
			return fmt.Errorf("%s: %w; want %s", flag, err, wantChain)
		}
		sum := sha256.Sum256(p)
		c, ok := b.cache[sum]
		if !ok && last != nil {
			c, ok = last.cache[sum]
		}
		if !ok {
			if c, err = parseChain(p); err != nil {
				return fmt.Errorf("%s %q: %w", flag, f.Chain, err)
			}
		}
		b.cache[sum] = c
		c.File = f.Chain
		b.Certificates = append(b.Certificates, c)
		if c.unread != nil {
			b.warn(fmt.Sprintf("%s: certificate %d: %s%v", c.File, len(c.chain)+1, notWatched, c.unread))
		}
		now := time.Now()
		b.look(now, c.dates()...)
		b.staple(f.OCSP, &c, now)
		keyFlag, key := certificateFlag(flag, "Key", f, "")
		if w := readableByAll(keyFlag, key); w != "" && bytes.Contains(content(key), []byte("PRIVATE KEY")) {
			b.warn(w)
		}
	}
	return nil
}

// notWatched is what is said of something with a date that cannot be read.
const notWatched = "its dates are not watched, for it cannot be read: "

// warn adds a warning, once.
func (b *Built) warn(text string) {
	if text != "" && !b.told[text] {
		b.told[text] = true
		b.Warnings = append(b.Warnings, text)
	}
}

// readableByAll says so of a file with a secret, or nothing.
func readableByAll(flag, file string) string {
	if fi, err := os.Stat(file); err == nil && fi.Mode().Perm()&0o004 != 0 {
		return fmt.Sprintf("%s %s: everybody can read it: chmod o-r %s", flag, file, filepath.Base(file))
	}
	return ""
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

// parseChain reads a chain, leaf first.
func parseChain(p []byte) (c Certificate, _ error) {
	for _, der := range blocks(p, certificateTypes...) {
		x, err := parseCertificate(der)
		if c.unread = err; err != nil {
			break // OpenSSL reads some that crypto/x509 refuses; it has the last word
		}
		c.chain = append(c.chain, x)
	}
	if len(c.chain) == 0 {
		if c.unread != nil {
			return c, nil
		}
		return c, fmt.Errorf("want %s; found %s", wantChain, filetype.Describe(p))
	}
	leaf := c.chain[0]
	c.Name, c.Serial, c.NotAfter = leaf.Subject.String(), fmt.Sprintf("%x", leaf.SerialNumber), leaf.NotAfter
	if len(leaf.DNSNames) > 0 {
		c.Name = leaf.DNSNames[0]
	} else if len(leaf.IPAddresses) > 0 {
		c.Name = leaf.IPAddresses[0].String()
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

// incomplete says what is missing in the chain. The root may be left out:
// clients have it. Where there is the leaf alone, though, its issuer must be a
// root that is known here, for a client that lacks an intermediate cannot go
// on.
func (c *Certificate) incomplete() string {
	for i := range max(0, len(c.chain)-1) {
		if x, next := c.chain[i], c.chain[i+1]; x.CheckSignatureFrom(next) != nil {
			return fmt.Sprintf("certificate %d (%s) was not issued by the one behind it (%s): put them in order, leaf first", i+1, nameOf(x), nameOf(next))
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
	key         string    // what may replace each other has the same one
	from, until time.Time // without until it is good for ever
	then        string    // what follows when it is out of date
	needed      bool      // clients are refused without it
}

// finding says that it is out of date at now, or soon will be, or is empty.
func (d *dated) finding(now time.Time) (text string, outOfDate bool) {
	minute := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
	left := d.until.Sub(now)
	switch {
	case now.Before(d.from):
		return fmt.Sprintf("%s is not valid before %s: %s", d.what, minute(d.from), d.then), true
	case d.until.IsZero():
		return "", false
	case left < 0:
		return fmt.Sprintf("%s expired on %s: %s", d.what, minute(d.until), d.then), true
	case left >= min(soon, d.until.Sub(d.from)/3):
		return "", false
	}
	span := fmt.Sprintf("%d minutes", int(left.Minutes()))
	if left >= 48*time.Hour {
		span = fmt.Sprintf("%d days", int(left.Hours()/24))
	} else if left >= 2*time.Hour {
		span = fmt.Sprintf("%d hours", int(left.Hours()))
	}
	return fmt.Sprintf("%s expires in %s, on %s", d.what, span, minute(d.until)), false
}

// look adds a finding about each of ds to b, once.
func (b *Built) look(now time.Time, ds ...dated) {
	for _, d := range ds {
		text, out := d.finding(now)
		switch {
		case text == "":
		case !out || !d.needed:
			b.warn(text)
		case !b.told[text]:
			b.told[text] = true
			b.OutOfDate = append(b.OutOfDate, text)
		}
	}
}

// dates are those of a chain: of the leaf, and of what is sent with it.
func (c *Certificate) dates() (ds []dated) {
	for i, x := range c.chain {
		d := dated{what: c.File + ": " + c.Name, from: x.NotBefore, until: x.NotAfter, then: "clients will refuse it", needed: true}
		switch {
		case i == 0:
		case selfIssued(x):
			d.what, d.then, d.needed = c.File+": root "+nameOf(x), "leave it out, for clients have their own", false
		default:
			d.what, d.then = c.File+": intermediate "+nameOf(x), "clients will refuse the chain"
		}
		ds = append(ds, d)
	}
	return ds
}

// clientDates looks at the CAs and revocation lists for clients' certificates,
// if any are asked for.
func (b *Built) clientDates(t *config.TLS, now time.Time) {
	if !t.AsksClients() {
		return
	}
	b.needOne(now, "--client-ca "+t.CAFile, blocks(content(t.CAFile), certificateTypes...), parseCA)
	b.needOne(now, "--client-crl "+t.CRLFile, blocks(content(t.CRLFile), "X509 CRL"), parseCRL)
}

// needOne looks at what is in a file: some clients get in while one of it is in
// date.
func (b *Built) needOne(now time.Time, where string, ders [][]byte, parse func(der []byte) (dated, error)) {
	var ds []dated
	for _, der := range ders {
		d, err := parse(der)
		d.what = where + ": " + d.what
		if err != nil {
			b.warn(d.what + ": " + notWatched + err.Error())
			continue
		}
		i := slices.IndexFunc(ds, func(other dated) bool { return other.key == d.key })
		if i < 0 {
			ds = append(ds, d)
		} else if d.until.IsZero() || !ds[i].until.IsZero() && d.until.After(ds[i].until) {
			ds[i] = d
		}
	}
	none := !slices.ContainsFunc(ds, func(d dated) bool { _, out := d.finding(now); return !out })
	for i := range ds {
		ds[i].needed = none
	}
	b.look(now, ds...)
}

// parseCA gives the dates of a CA. A renewed one has the same key.
func parseCA(der []byte) (dated, error) {
	x, err := parseCertificate(der)
	if err != nil {
		return dated{what: "a CA"}, err
	}
	return dated{what: "CA " + nameOf(x), key: string(x.RawSubject) + string(x.RawSubjectPublicKeyInfo), from: x.NotBefore,
		until: x.NotAfter, then: "clients' certificates from it are refused"}, nil
}

// distributionPoint is the extension that says which part of a CA's
// certificates a revocation list is about (RFC 5280, section 5.2.5).
var distributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// parseCRL gives the dates of a revocation list. The next one of its issuer
// replaces it.
func parseCRL(der []byte) (dated, error) {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return dated{what: "a CRL"}, err
	}
	d := dated{what: "CRL of " + nameOf(&x509.Certificate{Subject: l.Issuer}), key: string(l.RawIssuer), from: l.ThisUpdate, until: l.NextUpdate,
		then: "certificates of its issuer are refused"}
	for _, e := range l.Extensions {
		if e.Id.Equal(distributionPoint) {
			d.key += string(e.Value)
		}
	}
	return d, nil
}

// staple looks at the OCSP response of a certificate.
func (b *Built) staple(file string, c *Certificate, now time.Time) {
	p := content(file)
	if len(p) == 0 {
		return
	}
	var leaf *x509.Certificate
	if len(c.chain) > 0 {
		leaf = c.chain[0]
	}
	what := "--ocsp-file " + file
	r, err := ocsp.ParseResponseForCert(p, leaf, nil)
	if err != nil {
		b.warn(what + ": " + notWatched + err.Error())
		return
	}
	b.look(now, dated{what: what + ": the response for " + c.Name, from: r.ThisUpdate, until: r.NextUpdate, then: "clients that want one refuse it"})
}

// certificateTypes are those of PEM blocks that OpenSSL takes for certificates.
var certificateTypes = []string{"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"}

// blocks are the contents of the PEM blocks of these types.
func blocks(p []byte, types ...string) (ders [][]byte) {
	for {
		var block *pem.Block
		if block, p = pem.Decode(p); block == nil {
			return ders
		}
		if slices.Contains(types, block.Type) {
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
