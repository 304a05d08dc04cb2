package tlsconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// names are --sni settings, each with files of its own that have this content.
func names(t *testing.T, n int, cert string) (list []config.ServerName) {
	t.Helper()
	dir := t.TempDir()
	chain, key := of(cert)
	for i := range n {
		c := config.Certificate{Chain: filepath.Join(dir, fmt.Sprint(i, ".pem")), Key: filepath.Join(dir, fmt.Sprint(i, ".key"))}
		for to, from := range map[string]string{c.Chain: chain, c.Key: key} {
			tlstest.Must(t, os.WriteFile(to, []byte(read(t, from)), 0o600))
		}
		list = append(list, config.ServerName{Name: fmt.Sprintf("h%d.example", i), Certificates: []config.Certificate{c}})
	}
	return list
}

// TestNamesShareOneContext: a thousand names are one SSL_CTX, and reloads leave no more certificates behind than there are; files that
// have not changed are known from before, those that have are read (P58).
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
	chain, key := of("ed25519")
	for to, from := range map[string]string{changed.Chain: chain, changed.Key: key} {
		tlstest.Must(t, os.WriteFile(to, []byte(read(t, from)), 0o600))
	}
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

// TestNamesRefused: what is refused of a name, or of two certificates of a type, is told with the flag and both files (P47).
func TestNamesRefused(t *testing.T) {
	ecdsa, _ := of("ecdsa")
	for name, tt := range map[string]struct {
		change func(*config.TLS)
		want   []string
	}{
		"two of a type": {func(c *config.TLS) {
			chain, key := of("ecdsa")
			c.Certs, c.Keys = append(c.Certs, chain), append(c.Keys, key)
		}, []string{"--cert", ecdsa, "same type"}},
		"two of a type for a name": {func(c *config.TLS) {
			s := names(t, 2, "ecdsa")
			s[0].Certificates = append(s[0].Certificates, s[1].Certificates...)
			c.SNI = s[:1]
		}, []string{"--sni h0.example", "1.pem", "0.pem", "same type"}},
		"bad name":         {func(c *config.TLS) { c.SNI = names(t, 1, "ecdsa"); c.SNI[0].Name = "a*.example" }, []string{"--sni", "a*.example"}},
		"another spelling": {func(c *config.TLS) { c.SNI = names(t, 2, "ecdsa"); c.SNI[0].Name = "H1.example." }, []string{"--sni", "another spelling"}},
	} {
		c := with("ecdsa")
		tt.change(&c)
		var b Builder
		built, err := b.Build(&c)
		if err == nil {
			built.Context.Close()
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", name, err, want)
			}
		}
	}
}
