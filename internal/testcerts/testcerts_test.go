package testcerts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) { Check(t) }

func TestPath(t *testing.T) {
	if path := Path("rsa.pem"); !filepath.IsAbs(path) {
		t.Errorf("%s is not absolute", path)
	}
}

// expiredAtItsTime is a day on which the certificate in expired.pem was good.
var expiredAtItsTime = time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC)

func TestProblemsOfCertificate(t *testing.T) {
	until := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	content := newCertificate(t, until.AddDate(-1, 0, 0), until)
	for name, tt := range map[string]struct {
		file string
		now  time.Time
		want string
	}{
		"good":                    {"rsa.pem", until.AddDate(0, 0, -31), ""},
		"good to the second":      {"rsa.pem", until.Add(-margin), ""},
		"near its end":            {"rsa.pem", until.Add(-margin + time.Second), "rsa.pem expires on 2030-05-01"},
		"ended":                   {"rsa.pem", until.AddDate(1, 0, 0), "rsa.pem expires on 2030-05-01"},
		"not begun":               {"rsa.pem", until.AddDate(-2, 0, 0), "rsa.pem is not valid before 2029-05-01"},
		"expired as it should be": {expiredFile, until.AddDate(0, 0, 1), ""},
		"should be expired":       {expiredFile, until.AddDate(0, 0, -1), "expired.pem has to be expired but is valid until 2030-05-01"},
	} {
		want := ""
		if tt.want != "" {
			want = "testdata/certs/" + tt.want + ": run make certs"
		}
		tlstest.Equal(t, name, strings.Join(problemsIn(tt.file, content, tt.now), "\n"), want)
	}
}

// TestProblemsOfFolder moves the clock instead of the certificates: at the end
// of the century that they are good for, every file except the expired leaf
// has to be named, the CRLs and the CA certificates among them.
func TestProblemsOfFolder(t *testing.T) {
	dir := filepath.Dir(Path("root.pem"))
	late := strings.Join(problems(dir, time.Date(2124, 12, 24, 0, 0, 0, 0, time.UTC)), "\n")
	files := tlstest.Value(filepath.Glob(filepath.Join(dir, "*.pem")))(t)
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(late, name+" expires on 2125-01-01") {
			t.Errorf("%s is not reported a week before its end", name)
		}
	}
	if n := strings.Count(late, expiredFile); n != 1 {
		t.Errorf("%s is reported %d times; want only its intermediate", expiredFile, n)
	}
	early := problems(dir, expiredAtItsTime)
	if len(early) != 1 || !strings.Contains(early[0], "expired.pem has to be expired") {
		t.Errorf("when expired.pem was good: got %q, want it reported alone", early)
	}
}

func TestProblemsOfBadContent(t *testing.T) {
	now := time.Now()
	for content, want := range map[string]string{
		"nothing": "holds no certificate",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): "cannot be read",
		string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")})):    "cannot be read",
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})): "not expected",
	} {
		got := problemsIn("rsa.pem", []byte(content), now)
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want one problem with %q", got, want)
		}
	}
	if got := problems(t.TempDir(), now); len(got) != 1 {
		t.Errorf("an empty folder: got %q, want one problem", got)
	}
}

// TestBigFits holds the big chain between its two bounds: a socket buffer that
// a test made small, and what OpenSSL accepts as a peer's certificates.
func TestBigFits(t *testing.T) {
	total := 0
	for rest := Read(t, "big.pem"); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		total += len(block.Bytes) + 5 // The length and the extensions' length of TLS 1.3.
	}
	if total < 80_000 || total >= 100*1024 {
		t.Errorf("the certificates of big.pem take %d bytes", total)
	}
}

func newCertificate(t *testing.T, from, until time.Time) []byte {
	t.Helper()
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
