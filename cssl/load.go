package cssl

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/internal/pkcs11uri"
)

// loaded is a certificate whose files have been read.
type loaded struct {
	from       *Certificate
	setting    string
	chain, key []byte
	ocsp       []byte
	signer     uint64 // tells Signers apart; 0 if the key is not one
}

// signers counts those that were loaded.
var signers atomic.Uint64

// load reads all files, so that C gets only bytes and the error for a missing
// file has its name.
func (b *builder) load() (certs []loaded, trust, crl []byte, err error) {
	for i := range b.cfg.Certificates {
		l, err := loadCertificate(fmt.Sprintf("Certificates[%d]", i), &b.cfg.Certificates[i])
		certs = append(certs, l)
		if err != nil {
			return certs, nil, nil, err
		}
	}
	if trust, err = contentOf("CAFile", b.cfg.CAFile, b.cfg.CAPEM, wantCA); err != nil {
		return
	}
	if b.peerKeys, err = contentOf("PeerKeysFile", b.cfg.PeerKeysFile, b.cfg.PeerKeysPEM, wantPeerKeys); err != nil {
		return
	}
	crl, err = contentOf("CRLFile", b.cfg.CRLFile, b.cfg.CRLPEM, wantCRL)
	return
}

// forget overwrites the content of files that may contain a key.
func (l *loaded) forget() {
	if l.from == nil {
		return
	}
	if l.from.KeyFile != "" || l.from.Signer != nil {
		clear(l.key)
	}
	if l.from.ChainFile != "" {
		clear(l.chain)
	}
}

// loadCertificate reads the files of a certificate. setting is its name in
// errors.
func loadCertificate(setting string, c *Certificate) (l loaded, err error) {
	l = loaded{from: c, setting: setting}
	if l.chain, err = contentOf(setting+".ChainFile", c.ChainFile, c.ChainPEM, wantChain); err != nil {
		return
	}
	if len(l.chain) == 0 && c.ChainFile == "" {
		err = &ConfigError{Setting: setting, Err: errors.New("neither ChainFile nor ChainPEM is set")}
		return
	}
	if l.key, err = contentOf(setting+".KeyFile", c.KeyFile, c.KeyPEM, wantKey); err != nil {
		return
	}
	if c.KeyURI != "" && c.ownKey() {
		err = &ConfigError{Setting: setting + ".KeyURI", Value: pkcs11uri.Redact(c.KeyURI), Err: errors.New("set together with KeyFile or KeyPEM; use one")}
		return
	}
	if !c.ownKey() && c.KeyURI == "" && c.Signer == nil {
		l.key = l.chain
	}
	if c.Signer != nil && (c.ownKey() || c.KeyURI != "") {
		err = &ConfigError{Setting: setting + ".Signer", Err: errors.New("set together with KeyFile, KeyPEM or KeyURI; use one")}
		return
	}
	if c.calls() {
		l.signer = signers.Add(1)
	} else if c.Signer != nil {
		if l.key = inMemory(c.Signer); l.key == nil {
			err = &ConfigError{Setting: setting + ".Signer", Err: fmt.Errorf("a %T that has no PKCS #8 form: it is nil, incomplete, or of an unknown curve", c.Signer)}
			return
		}
	}
	if l.ocsp, err = contentOf(setting+".OCSPFile", c.OCSPFile, c.OCSP, wantOCSP); err != nil {
		return
	}
	return
}

// contentOf returns the content of a setting, from a file or from memory. want
// is what an error says that the file should contain.
func contentOf(setting, file string, content []byte, want string) ([]byte, error) {
	if file == "" {
		return content, nil
	}
	if len(content) > 0 {
		return nil, &ConfigError{Setting: setting, Value: file, Err: errors.New("set as a file and as bytes; use one")}
	}
	p, err := os.ReadFile(file)
	if err != nil {
		return nil, &ConfigError{Setting: setting, Err: fmt.Errorf("%w; want %s", err, want)}
	}
	return p, nil
}
