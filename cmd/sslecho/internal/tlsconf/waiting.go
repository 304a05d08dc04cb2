package tlsconf

import (
	"os"
	"strings"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
)

// maxNamed is how many files are named as what a build may wait for.
const maxNamed = 5

// look tells At what the build may have to wait for. A file system that does not answer holds up look itself, which has just named the
// file. A FIFO, a socket or a device may hold up the build, and so may a token.
func (b *Builder) look(t *config.TLS) {
	if b.At == nil {
		return
	}
	var slow []string
	look := func(flag, name string) {
		if name == "" {
			return
		}
		what := flag + name
		if !config.IsURI(name) {
			b.At(what)
			if fi, err := os.Stat(name); err != nil || fi.Mode().IsRegular() || fi.IsDir() {
				return
			}
		}
		if len(slow) < maxNamed {
			slow = append(slow, what)
		}
	}
	for _, c := range t.Certificates() {
		look("--cert ", c.Chain)
		look("--key ", c.Key)
		look("--ocsp-file ", c.OCSP)
	}
	for _, s := range t.SNI {
		for _, c := range s.Certificates {
			look("--sni "+s.Name+"=", c.Chain)
			look("--sni "+s.Name+"=", c.Key)
		}
	}
	look("--key-passphrase-file ", t.PassphraseFile)
	look("--pin-file ", t.PINFile)
	look("--client-ca ", t.ClientCA)
	look("--client-crl ", t.ClientCRL)
	look("--ticket-keys ", t.TicketKeysFile)
	if b.keyLog == nil {
		look("--keylog ", t.KeyLogFile)
	}
	if b.lib == nil {
		look("--openssl-config ", t.OpenSSLConfig)
	}
	if len(slow) == 0 {
		slow = []string{"the files of the TLS settings"}
	}
	b.At(strings.Join(slow, ", "))
}
