package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// made is the file of a certificate for a name that ends in left, with its key.
// It has lived for a year.
func made(t *testing.T, name string, left time.Duration) string {
	t.Helper()
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(left)}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))(t)
	pkcs8 := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(t)
	return writeFile(t, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

// TestCheckDates: --check warns on standard error of what ends soon, and fails
// when something has ended. A start and a reload log the same.
func TestCheckDates(t *testing.T) {
	const day = 24 * time.Hour
	good, ending, gone := made(t, "good.example", 300*day), made(t, "ending.example", 20*day), made(t, "gone.example", -day)
	sni := func(file string) []string { return []string{"--cert", good, "--sni", "a.example=" + file} }
	for _, tt := range []struct {
		file   string
		status int
		want   string
	}{
		{good, 0, ""},
		{ending, 0, "warning: " + ending + ": ending.example expires in 19 days"},
		{gone, 1, "sslecho: " + gone + ": gone.example expired on"},
	} {
		status, stdout, stderr := refused(t, append(sni(tt.file), "--check")...)
		if status != tt.status || strings.Contains(stdout, "is valid") != (status == 0) || strings.Contains(stdout, "warning") ||
			!strings.HasPrefix(stderr, tt.want) || tt.want == "" && stderr != "" {
			t.Errorf("%s: status %d, %q, %q", tt.file, status, stdout, stderr)
		}
		if tt.want == "" {
			continue
		}
		d := runDaemon(t, sni(tt.file)...)
		_, text, _ := strings.Cut(tt.want, ": ")
		text = `level=WARN msg="` + text
		d.err.expect(t, text)
		d.signal(syscall.SIGHUP)
		d.err.expect(t, "msg=reloaded")
		if n := strings.Count(d.err.String(), text); n != 2 {
			t.Errorf("logged %d times after a reload: %s", n, d.err.String())
		}
	}
}
