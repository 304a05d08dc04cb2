package tlsconf

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// names are --sni settings, each with files of its own that have this content.
func names(t *testing.T, n int, cert string) (list []config.ServerName) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		c := config.Certificate{Chain: filepath.Join(dir, fmt.Sprint(i, ".pem")), Key: filepath.Join(dir, fmt.Sprint(i, ".key"))}
		fill(t, c, cert)
		list = append(list, config.ServerName{Name: fmt.Sprintf("h%d.example", i), Certificates: []config.Certificate{c}})
	}
	return list
}

// fill writes the files of c, which get the content of cert.
func fill(t *testing.T, c config.Certificate, cert string) {
	t.Helper()
	tlstest.Must(t, os.WriteFile(c.Chain, testcerts.Read(t, cert+".pem"), 0o600))
	tlstest.Must(t, os.WriteFile(c.Key, testcerts.Read(t, cert+".key"), 0o600))
}

// TestNamesShareOneContext: a thousand names are one SSL_CTX, and reloads leave
// no more certificates behind than there are. Files that have not changed are
// known from before, those that have are read (P58).
func TestNamesShareOneContext(t *testing.T) {
	contexts, certs := live.Contexts(), live.Certificates()
	var b Builder
	c := with("rsa")
	c.SNI = names(t, 1000, "ecdsa")
	built := tlstest.Value(b.Build(&c))(t)
	serial := built.Certificates[7].Serial
	for i := range 20 {
		if n, m := live.Contexts()-contexts, live.Certificates()-certs; n != 1 || m != 2 {
			t.Fatalf("after %d reloads there are %d SSL_CTX and %d certificates, want 1 and 2", i, n, m)
		}
		if n := len(built.Certificates); n != 1001 {
			t.Fatalf("after %d reloads %d certificates are known, want 1001", i, n)
		}
		next := tlstest.Value(b.Build(&c))(t)
		built.Context.Close()
		built = next
	}
	changed := c.SNI[7].Certificates[0]
	fill(t, changed, "ed25519")
	next := tlstest.Value(b.Build(&c))(t)
	built.Context.Close()
	if n := live.Certificates() - certs; n != 3 {
		t.Errorf("%d certificates after one file has changed, want 3", n)
	}
	if next.Certificates[7].Serial == serial || next.Certificates[8].Serial != serial {
		t.Error("what has changed is not known, or is of another file")
	}
	// A build that fails leaves all as it was, for the next one too.
	bad := c
	bad.CipherList = "NOPE"
	if _, err := b.Build(&bad); err == nil {
		t.Fatal("accepted")
	}
	again := tlstest.Value(b.Build(&c))(t)
	next.Context.Close()
	again.Context.Close()
	if n, m := live.Contexts()-contexts, live.Certificates()-certs; n != 0 || m != 0 {
		t.Errorf("%d SSL_CTX and %d certificates are left", n, m)
	}
}
