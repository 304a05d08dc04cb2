package testcerts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	Check(t)
}

func TestPath(t *testing.T) {
	if path := Path("rsa.pem"); !filepath.IsAbs(path) {
		t.Errorf("%s is not absolute", path)
	}
	if !strings.HasPrefix(string(Read(t, "rsa.pem")), "-----BEGIN CERTIFICATE-----") {
		t.Error("rsa.pem does not begin with a certificate")
	}
}

// expiredAtItsTime is a day on which the certificate in expired.pem was good.
var expiredAtItsTime = time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC)

func TestProblemsOfCertificate(t *testing.T) {
	until := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	content := newCertificate(t, until.AddDate(-1, 0, 0), until)
	tests := []struct {
		name string
		file string
		now  time.Time
		want string
	}{
		{"good", "rsa.pem", until.AddDate(0, 0, -31), ""},
		{"good to the second", "rsa.pem", until.Add(-margin), ""},
		{"near its end", "rsa.pem", until.Add(-margin + time.Second), "testdata/certs/rsa.pem expires on 2030-05-01: run make certs"},
		{"ended", "rsa.pem", until.AddDate(1, 0, 0), "testdata/certs/rsa.pem expires on 2030-05-01: run make certs"},
		{"not begun", "rsa.pem", until.AddDate(-2, 0, 0), "testdata/certs/rsa.pem is not valid before 2029-05-01: run make certs"},
		{"expired as it should be", expiredFile, until.AddDate(0, 0, 1), ""},
		{"should be expired", expiredFile, until.AddDate(0, 0, -1), "testdata/certs/expired.pem has to be expired but is valid until 2030-05-01: run make certs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(problemsIn(tt.file, content, tt.now), "\n")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestProblemsOfFolder moves the clock instead of the certificates: at the end
// of the century that they are good for, every file except the expired leaf
// has to be named, the CRLs and the CA certificates among them.
func TestProblemsOfFolder(t *testing.T) {
	dir := filepath.Dir(Path("root.pem"))
	late := strings.Join(problems(dir, time.Date(2124, 12, 24, 0, 0, 0, 0, time.UTC)), "\n")
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		t.Fatal(err)
	}
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

func TestExpiredIsExpired(t *testing.T) {
	block, _ := pem.Decode(Read(t, expiredFile))
	if block == nil {
		t.Fatal("expired.pem holds no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !time.Now().After(cert.NotAfter) {
		t.Errorf("expired.pem is valid until %v", cert.NotAfter)
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

// TestFiles makes sure that every leaf comes with its key.
func TestFiles(t *testing.T) {
	for _, name := range []string{"rsa", "ecdsa", "ed25519", "big", "client", "expired", "wrongname", "revoked"} {
		for _, ext := range []string{".pem", ".key"} {
			if _, err := os.Stat(Path(name + ext)); err != nil {
				t.Error(err)
			}
		}
	}
}

func newCertificate(t *testing.T, from, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
