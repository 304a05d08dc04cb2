package cssl

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"plain":  {"-passout", "pass:secret"},
		"legacy": {"-legacy", "-passout", "pass:secret"},
		"nomac":  {"-nomac", "-passout", "pass:secret"},
		"none":   {"-keypbe", "NONE", "-certpbe", "NONE", "-passout", "pass:secret"},
		"empty":  {"-passout", "pass:"},
	} {
		f := filepath.Join(dir, name+".p12")
		openssl(t, append([]string{"pkcs12", "-export", "-in", testcerts.Path("ecdsa.pem"), "-inkey", testcerts.Path("ecdsa.key"), "-out", f}, args...)...)
		for _, pass := range []string{"secret", "wrong", ""} {
			c := Config{Certificates: []Certificate{{ChainFile: f, Passphrase: func() ([]byte, error) { return []byte(pass), nil }}}}
			x, err := NewServerContext(c)
			t.Log(name, pass, err)
			if err == nil {
				x.Close()
			}
		}
		p, _ := os.ReadFile(f)
		_, err := NewServerContext(Config{Certificates: []Certificate{{ChainPEM: p[:len(p)/2], Passphrase: func() ([]byte, error) { return []byte("secret"), nil }}}})
		t.Log("cut", err)
	}
}
