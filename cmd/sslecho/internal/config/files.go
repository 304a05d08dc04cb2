package config

import "slices"

// Files are the files that a reload reads: the configuration file, and those
// that settings name.
func (c *Config) Files() []string {
	t := &c.TLS
	files := []string{c.File, t.PassphraseFile, t.PINFile, t.ClientCA, t.ClientCRL, t.TicketKeysFile}
	certificates := t.Certificates()
	for _, n := range t.SNI {
		certificates = append(certificates, n.Certificates...)
	}
	for _, x := range certificates {
		files = append(files, x.Chain, x.OCSP)
		if !IsURI(x.Key) {
			files = append(files, x.Key)
		}
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}
