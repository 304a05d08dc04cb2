package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const days = 24 * time.Hour

// issued is a certificate of this test and its key.
type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate that began ago and ends in left, by a CA or by
// itself.
func issue(t *testing.T, name string, ca *issued, ago, left time.Duration) *issued {
	t.Helper()
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	return reissue(t, name, key, ca, ago, left)
}

func reissue(t *testing.T, name string, key crypto.Signer, ca *issued, ago, left time.Duration) *issued {
	t.Helper()
	leaf := strings.Contains(name, ".")
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-ago), NotAfter: time.Now().Add(left),
		BasicConstraintsValid: true, IsCA: !leaf, SubjectKeyId: []byte(name),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if leaf {
		tmpl.DNSNames = []string{name}
	}
	parent, signer := tmpl, key
	if ca != nil {
		parent, signer = ca.Certificate, ca.key
	}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer))(t)
	return &issued{tlstest.Value(x509.ParseCertificate(der))(t), key}
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pems(cs []*issued) (all string) {
	for _, c := range cs {
		all += pemOf("CERTIFICATE", c.Raw)
	}
	return all
}

// chain is a file of certificates, leaf first, and its key.
func chain(t *testing.T, cs ...*issued) string {
	t.Helper()
	der := tlstest.Value(x509.MarshalPKCS8PrivateKey(cs[0].key))(t)
	return file(t, "chain.pem", pems(cs)+pemOf("PRIVATE KEY", der))
}

func bundle(t *testing.T, cas ...*issued) string { t.Helper(); return file(t, "cas.pem", pems(cas)) }

// crl is a revocation list that began ago and whose next one is due in left.
func crl(t *testing.T, ca *issued, ago, left time.Duration) string {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-ago), NextUpdate: time.Now().Add(left)}
	der := tlstest.Value(x509.CreateRevocationList(rand.Reader, tmpl, ca.Certificate, ca.key))(t)
	return pemOf("X509 CRL", der)
}

// staple is an OCSP response about a certificate; without left it has no end.
func staple(t *testing.T, about, ca *issued, ago, left time.Duration) string {
	t.Helper()
	r := ocsp.Response{Status: ocsp.Good, SerialNumber: about.SerialNumber, ThisUpdate: time.Now().Add(-ago)}
	if left != 0 {
		r.NextUpdate = time.Now().Add(left)
	}
	der := tlstest.Value(ocsp.CreateResponse(ca.Certificate, ca.Certificate, r, ca.key))(t)
	return file(t, "staple.der", string(der))
}

// TestSoon: what is warned of is out of date, or has fewer than 30 days or a
// third of its life left.
func TestSoon(t *testing.T) {
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		ago, left time.Duration
		want      string
		out       bool
	}{
		{ago: 300 * days, left: 31 * days},
		{ago: 300 * days, left: 30 * days},
		{ago: 300 * days, left: 30*days - time.Second, want: "x expires in 29 days, on 2030-05-31 11:59 UTC"},
		{ago: 300 * days, left: 30 * time.Hour, want: "x expires in 30h0m, on"},
		{ago: 300 * days, left: 90 * time.Minute, want: "x expires in 1h30m, on"},
		{ago: 300 * days, left: 0, want: "x expires in 0m, on"},
		{ago: 300 * days, left: -time.Second, want: "x expired on 2030-05-01 11:59 UTC: then", out: true},
		{ago: -time.Second, left: days, want: "x is not valid before 2030-05-01 12:00 UTC: then", out: true},
		{ago: 4 * days, left: 2 * days},
		{ago: 4*days + 3, left: 2*days - 3, want: "x expires in 47h59m, on"},
		{ago: time.Hour, left: 40 * time.Minute},
		{ago: time.Hour, left: 29 * time.Minute, want: "x expires in 29m, on"},
	} {
		d := dated{what: "x", from: now.Add(-tt.ago), until: now.Add(tt.left), then: "then"}
		got, out := d.finding(now)
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" || out != tt.out {
			t.Errorf("%v ago, %v left: %q, %v", tt.ago, tt.left, got, out)
		}
	}
	if got, _ := (&dated{from: now}).finding(now.Add(1e6 * time.Hour)); got != "" {
		t.Errorf("without an end: %q", got)
	}
}

// TestDates: everything that settings name and that has an end is warned of,
// once. What clients are refused for fails --check.
func TestDates(t *testing.T) {
	root := issue(t, "Root", nil, 1000*days, 1000*days)
	old := issue(t, "Old Root", nil, 1000*days, -days)
	ca := issue(t, "Inter", root, 500*days, 500*days)
	good := issue(t, "good.example", ca, 50*days, 300*days)
	ending := issue(t, "ending.example", ca, 300*days, 20*days)
	endingCA := issue(t, "Ending CA", root, 500*days, 10*days)
	expiredCA := issue(t, "Expired CA", root, 500*days, -10*days)
	other := issue(t, "Other CA", nil, 500*days, 500*days)
	sni := func(files ...string) []config.ServerName {
		var all []config.ServerName
		for i, f := range files {
			all = append(all, config.ServerName{Name: string(rune('a'+i)) + ".example", Certificates: []config.Certificate{{Chain: f}}})
		}
		return all
	}
	asking := config.TLS{Config: cssl.Config{Verify: cssl.VerifyRequire, CAFile: bundle(t, ca)}}
	inDate := chain(t, good, ca)
	for name, tt := range map[string]struct {
		t        config.TLS
		warnings []string // parts of each
		faults   []string
	}{
		"in date":            {t: config.TLS{Certs: []string{inDate}}},
		"leaf soon":          {t: config.TLS{Certs: []string{chain(t, ending, ca)}}, warnings: []string{"chain.pem: ending.example expires in 19 days"}},
		"leaf expired":       {t: config.TLS{Certs: []string{chain(t, issue(t, "gone.example", ca, 20*days, -days), ca)}}, faults: []string{"gone.example expired on"}},
		"leaf of the future": {t: config.TLS{Certs: []string{chain(t, issue(t, "new.example", ca, -days, 20*days), ca)}}, faults: []string{"new.example is not valid before"}},
		"PKCS#12": {t: config.TLS{Certs: []string{p12(t, chain(t, issue(t, "a.example", expiredCA, 300*days, 20*days), expiredCA), "")}},
			warnings: []string{"site.p12: a.example expires in 19 days"}, faults: []string{"site.p12: intermediate Expired CA expired on"}},
		"URI":                  {t: config.TLS{Certs: []string{"file:" + p12(t, chain(t, ending, ca), "")}}, warnings: []string{"site.p12: ending.example expires in 19 days"}},
		"intermediate soon":    {t: config.TLS{Certs: []string{chain(t, issue(t, "a.example", endingCA, 0, 90*days), endingCA)}}, warnings: []string{"chain.pem: intermediate Ending CA expires in 9 days"}},
		"intermediate expired": {t: config.TLS{Certs: []string{chain(t, issue(t, "a.example", expiredCA, 0, 90*days), expiredCA)}}, faults: []string{"intermediate Expired CA expired on"}},
		"root expired":         {t: config.TLS{Certs: []string{chain(t, issue(t, "a.example", old, 0, 90*days), old)}}},
		"names, once": {t: config.TLS{Certs: []string{inDate}, SNI: sni(chain(t, ending, ca), inDate, chain(t, issue(t, "gone.example", ca, 20*days, -days), ca))},
			warnings: []string{"ending.example expires"}, faults: []string{"gone.example expired on"}},
		"the same file twice": {t: func() config.TLS {
			f := chain(t, ending, ca)
			return config.TLS{Certs: []string{f}, SNI: sni(f, f)}
		}(), warnings: []string{"ending.example expires"}},
		"trusted certificate": {t: config.TLS{Certs: []string{file(t, "t.pem", strings.Replace(read(t, chain(t, ending)), pemOf("CERTIFICATE", ending.Raw),
			pemOf("TRUSTED CERTIFICATE", append(slices.Clone(ending.Raw), 0x30, 0)), 1))}}, warnings: []string{"ending.example expires"}, faults: []string{"may be incomplete"}},

		"CA in date": {t: asking},
		"CA soon":    {t: config.TLS{Config: cssl.Config{Verify: cssl.VerifyOptional, CAFile: bundle(t, endingCA)}}, warnings: []string{"--client-ca … CA Ending CA expires in 9 days"}},
		"one CA expired": {t: config.TLS{Config: cssl.Config{Verify: cssl.VerifyRequire, CAFile: bundle(t, expiredCA, ca, endingCA)}},
			warnings: []string{"CA Expired CA expired on", "CA Ending CA expires"}},
		"all CAs expired": {t: config.TLS{Config: cssl.Config{Verify: cssl.VerifyRequire, CAFile: bundle(t, expiredCA, old)}}, faults: []string{"CA Expired CA expired on", "CA Old Root expired on"}},
		"CA renewed": {t: config.TLS{Config: cssl.Config{Verify: cssl.VerifyRequire, CAFile: bundle(t, expiredCA, reissue(t, "Expired CA", expiredCA.key, root, 0, 500*days), endingCA, reissue(t, "Ending CA", endingCA.key, root, 0, 400*days))}},
			warnings: []string{"CA Expired CA expired on … unless a newer one", "CA Ending CA expires in 9 days"}},
		"nobody is asked":    {t: config.TLS{Config: cssl.Config{Verify: cssl.VerifyNone, CAFile: bundle(t, expiredCA)}}},
		"CRL in date":        {t: withCRL(t, asking, crl(t, ca, days, 6*days))},
		"CRL soon":           {t: withCRL(t, asking, crl(t, ca, 5*days, 2*days)), warnings: []string{"--client-crl … CRL of Inter expires in 47h59m"}},
		"CRL expired":        {t: withCRL(t, asking, crl(t, ca, 5*days, -days)), faults: []string{"CRL of Inter expired on"}},
		"one CRL expired":    {t: withCRL(t, asking, crl(t, ca, 5*days, -days)+crl(t, root, days, 60*days)), warnings: []string{"CRL of Inter expired on"}},
		"CRL renewed":        {t: withCRL(t, asking, crl(t, ca, 5*days, -days)+crl(t, ca, days, 6*days)), warnings: []string{"CRL of Inter expired on … unless a newer one"}},
		"CRLs and CAs":       {t: withCRL(t, config.TLS{Config: cssl.Config{Verify: cssl.VerifyRequire, CAFile: bundle(t, other, endingCA)}}, crl(t, ca, 5*days, 2*days)), warnings: []string{"CA Ending CA expires", "CRL of Inter expires"}},
		"staple in date":     {t: config.TLS{Certs: []string{inDate}, OCSPFiles: []string{staple(t, good, ca, days, 6*days)}}},
		"staple without end": {t: config.TLS{Certs: []string{inDate}, OCSPFiles: []string{staple(t, good, ca, 400*days, 0)}}},
		"staple soon":        {t: config.TLS{Certs: []string{inDate}, OCSPFiles: []string{staple(t, good, ca, 5*days, 2*days)}}, warnings: []string{"--ocsp-file … response for good.example expires in 47h59m"}},
		"staple expired":     {t: config.TLS{Certs: []string{inDate}, OCSPFiles: []string{staple(t, good, ca, 5*days, -days)}}, warnings: []string{"response for good.example expired on"}},
		"staple of another":  {t: config.TLS{Certs: []string{inDate}, OCSPFiles: []string{staple(t, ending, ca, days, 6*days)}}, warnings: []string{"--ocsp-file … cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			built := build(t, tt.t)
			expect := func(what string, got, want []string) {
				ok := len(got) == len(want)
				for i := 0; ok && i < len(want); i++ {
					for part := range strings.SplitSeq(want[i], " … ") {
						ok = ok && strings.Contains(got[i], part)
					}
				}
				if !ok {
					t.Errorf("%s %q, want %q", what, got, want)
				}
			}
			var faults []string
			if err := built.Check(); err != nil {
				faults = strings.Split(err.Error(), "\n")
			}
			expect("warnings", built.Warnings, tt.warnings)
			expect("faults", faults, tt.faults)
		})
	}
}

func withCRL(t *testing.T, c config.TLS, lists string) config.TLS {
	t.Helper()
	c.CRLFile = file(t, "crl.pem", lists)
	return c
}
