package config

import (
	"slices"

	"github.com/spacemonad/go-openssl/internal/filetype"
)

// Files are the files that a reload reads: the configuration file, and those
// that settings name, those of file: URIs too.
func (c *Config) Files() []string {
	t := &c.TLS
	files := []string{c.File, t.PassphraseFile, t.PINFile, t.ClientCA, t.ClientCRL, t.TicketKeysFile}
	certificates := t.Certificates()
	for _, n := range t.SNI {
		certificates = append(certificates, n.Certificates...)
	}
	for _, x := range certificates {
		key := x.Key
		if IsURI(key) {
			key = filetype.PathOf(key)
		}
		files = append(files, x.Chain, x.OCSP, key)
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}
