package tlsconf

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
)

// soon is how long before its end something is warned of. What lives for less
// than three times as long is warned of in the last third of its life.
const soon = 30 * 24 * time.Hour

// dated is something that is good for a time.
type dated struct {
	what        string    // with its file, such as "chain.pem: localhost"
	from, until time.Time // without until it is good for ever
	then        string    // what follows when it is out of date
	needed      bool      // clients are refused without it
}

// finding says that it is out of date at now, or soon will be, or is empty.
func (d *dated) finding(now time.Time) (text string, outOfDate bool) {
	left := d.until.Sub(now)
	switch {
	case now.Before(d.from):
		return fmt.Sprintf("%s is not valid before %s: %s", d.what, minute(d.from), d.then), true
	case d.until.IsZero():
	case left < 0:
		return fmt.Sprintf("%s expired on %s: %s", d.what, minute(d.until), d.then), true
	case left < min(soon, d.until.Sub(d.from)/3):
		return fmt.Sprintf("%s expires in %s, on %s", d.what, span(left), minute(d.until)), false
	}
	return "", false
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// span is a duration in days, or if it is short in hours or minutes.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()))
}

// look adds a finding about each of ds to b, once.
func (b *Built) look(now time.Time, ds ...dated) {
	for _, d := range ds {
		text, out := d.finding(now)
		if text == "" || b.told[text] {
			continue
		}
		if b.told == nil {
			b.told = map[string]bool{}
		}
		b.told[text] = true
		if out && d.needed {
			b.OutOfDate = append(b.OutOfDate, text)
		} else {
			b.Warnings = append(b.Warnings, text)
		}
	}
}

// unreadable warns of dates that are not known.
func (b *Built) unreadable(what string, err error) {
	b.Warnings = append(b.Warnings, fmt.Sprintf("%s: its dates are not watched, for it cannot be read: %v", what, err))
}

// dates are those of a chain: of the leaf, and of what is sent with it.
func (c *Certificate) dates() []dated {
	var ds []dated
	for i, x := range c.chain {
		d := dated{what: c.File + ": " + c.Name, from: x.NotBefore, until: x.NotAfter, then: "clients will refuse it", needed: true}
		switch {
		case i == 0:
		case selfSignedRoot(x):
			d.what, d.then, d.needed = c.File+": root "+nameOf(x), "leave it out, for clients have their own", false
		default:
			d.what, d.then = c.File+": intermediate "+nameOf(x), "clients will refuse the chain"
		}
		ds = append(ds, d)
	}
	return ds
}

func selfSignedRoot(x *x509.Certificate) bool { return string(x.RawSubject) == string(x.RawIssuer) }

// clientDates looks at the CAs and revocation lists for clients' certificates,
// if any are asked for.
func (b *Built) clientDates(t *config.TLS, now time.Time) {
	if t.ClientAuth != cssl.VerifyOptional && t.ClientAuth != cssl.VerifyRequire {
		return
	}
	for _, f := range []struct {
		flag, file string
		parse      func(der []byte) (dated, string, error)
		types      []string
	}{
		{"--client-ca", t.ClientCA, parseCA, certificateTypes},
		{"--client-crl", t.ClientCRL, parseCRL, []string{"X509 CRL"}},
	} {
		var ds []dated
		at := map[string]int{} // in ds, by what may replace each other
		for _, der := range blocks(mustRead(f.file), f.types...) {
			d, key, err := f.parse(der)
			d.what = f.flag + " " + f.file + ": " + d.what
			if err != nil {
				b.unreadable(d.what, err)
				continue
			}
			i, ok := at[key]
			switch {
			case !ok:
				at[key] = len(ds)
				ds = append(ds, d)
			case d.until.IsZero() || !ds[i].until.IsZero() && d.until.After(ds[i].until):
				ds[i] = d
			}
		}
		// While one of them is in date some clients get in.
		none := !slices.ContainsFunc(ds, func(d dated) bool { _, out := d.finding(now); return !out })
		for i := range ds {
			ds[i].needed = none
		}
		b.look(now, ds...)
	}
}

// parseCA gives the dates of a CA. A renewed one has the same key, and replaces it.
func parseCA(der []byte) (d dated, key string, err error) {
	x, err := parseCertificate(der)
	if err != nil {
		return dated{what: "a CA"}, "", err
	}
	return dated{what: "CA " + nameOf(x), from: x.NotBefore, until: x.NotAfter, then: "clients' certificates from it are refused"},
		string(x.RawSubject) + string(x.RawSubjectPublicKeyInfo), nil
}

// distributionPoint is the extension that says which part of a CA's
// certificates a revocation list is about (RFC 5280, section 5.2.5).
var distributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// parseCRL gives the dates of a revocation list. The next one of the same
// issuer replaces it.
func parseCRL(der []byte) (d dated, key string, err error) {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return dated{what: "a CRL"}, "", err
	}
	key = string(l.RawIssuer)
	for _, e := range l.Extensions {
		if e.Id.Equal(distributionPoint) {
			key += string(e.Value)
		}
	}
	issuer := l.Issuer.CommonName
	if issuer == "" {
		issuer = l.Issuer.String()
	}
	return dated{what: "CRL of " + issuer, from: l.ThisUpdate, until: l.NextUpdate, then: "certificates of its issuer are refused"}, key, nil
}

// staple looks at the OCSP response of a certificate.
func (b *Built) staple(file string, c *Certificate, now time.Time) {
	p := mustRead(file)
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
		b.unreadable(what, err)
		return
	}
	b.look(now, dated{what: what + ": the response for " + c.Name, from: r.ThisUpdate, until: r.NextUpdate,
		then: "clients that want one refuse it"})
}

// certificateTypes are those of PEM blocks that OpenSSL takes for certificates.
var certificateTypes = []string{pemCertificate, "X509 CERTIFICATE", "TRUSTED CERTIFICATE"}

const pemCertificate = "CERTIFICATE"

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

// parseCertificate reads one, and leaves out what stands behind it in a
// trusted certificate of OpenSSL.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw.FullBytes)
}
