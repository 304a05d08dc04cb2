package tlsconf

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
)

// library makes what OpenSSL is to consist of, once: a reload cannot change it.
func (b *Builder) library(t *config.TLS) (err error) {
	if b.lib != nil || len(t.Providers) == 0 && t.ProviderPath == "" && t.OpenSSLConfig == "" {
		return nil
	}
	b.lib, err = cssl.NewLibrary(cssl.LibraryConfig{ConfigFile: t.OpenSSLConfig, Providers: t.Providers, ProviderPath: t.ProviderPath})
	if err != nil {
		return byFlag(err, t)
	}
	return nil
}

// pin reads the PIN when a token asks for it. A file that everybody can read is refused.
func pin(file string) func(string) ([]byte, error) {
	if file == "" {
		return nil
	}
	return func(string) ([]byte, error) {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("%w; want %s", err, wantPIN)
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if fi.Mode().Perm()&0o007 != 0 {
			return nil, fmt.Errorf("%s: everybody can read or change it: chmod o= %s", file, filepath.Base(file))
		}
		p, err := io.ReadAll(f)
		if err != nil {
			return nil, fmt.Errorf("%w; want %s", err, wantPIN)
		}
		return oneLine(file, wantPIN, p)
	}
}
