package cssl

import (
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/internal/filetype"
	"github.com/spacemonad/go-openssl/internal/pkcs11uri"
)

// loaded is a certificate whose files have been read.
type loaded struct {
	from       *Certificate
	setting    string
	chain, key []byte
	ocsp       []byte
	signer     uint64   // tells Signers apart; 0 if the key is not one
	secrets    [][]byte // may contain a key, and are not the caller's
}

// signers counts those that were loaded.
var signers atomic.Uint64

// load reads all files, so that C gets only bytes and the error for a missing
// file has its name.
func (b *builder) load() (certs []loaded, trust, crl []byte, err error) {
	for i := range b.cfg.Certificates {
		l, err := b.loadCertificate(fmt.Sprintf("Certificates[%d]", i), &b.cfg.Certificates[i])
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

// forget overwrites what may contain a key, unless it is the caller's.
func (l *loaded) forget() {
	for _, p := range l.secrets {
		clear(p)
	}
}

// source returns the file or URI of the chain, or an empty string.
func (l *loaded) source() string {
	if l.from.ChainURI != "" {
		return pkcs11uri.Redact(l.from.ChainURI)
	}
	return l.from.ChainFile
}

// loadCertificate reads the files of a certificate. setting is its name in
// errors.
func (b *builder) loadCertificate(setting string, c *Certificate) (l loaded, err error) {
	l = loaded{from: c, setting: setting}
	if err = b.loadChain(&l); err != nil {
		return
	}
	if l.key, err = contentOf(setting+".KeyFile", c.KeyFile, c.KeyPEM, wantKey); err != nil {
		return
	}
	if c.KeyFile != "" {
		l.secrets = append(l.secrets, l.key)
	}
	if c.KeyURI != "" && c.ownKey() {
		err = &ConfigError{Setting: setting + ".KeyURI", Value: pkcs11uri.Redact(c.KeyURI), Err: errors.New("set together with KeyFile or KeyPEM; use one")}
		return
	}
	if !c.otherKey() && c.ChainURI == "" {
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
		l.secrets = append(l.secrets, l.key)
	}
	if l.ocsp, err = contentOf(setting+".OCSPFile", c.OCSPFile, c.OCSP, wantOCSP); err != nil {
		return
	}
	return
}

// loadChain reads the chain of a certificate, in PEM. The key follows it if the
// chain is PKCS#12 and no other key is set.
func (b *builder) loadChain(l *loaded) (err error) {
	c := l.from
	if l.chain, err = contentOf(l.setting+".ChainFile", c.ChainFile, c.ChainPEM, wantChain); err != nil {
		return err
	}
	if c.ChainFile != "" {
		l.secrets = append(l.secrets, l.chain)
	}
	switch empty := len(l.chain) == 0 && c.ChainFile == ""; {
	case empty && c.ChainURI == "":
		return &ConfigError{Setting: l.setting, Err: errors.New("neither ChainFile nor ChainPEM nor ChainURI is set")}
	case !empty && c.ChainURI != "":
		return &ConfigError{Setting: l.setting + ".ChainURI", Value: l.source(), Err: errors.New("set together with ChainFile or ChainPEM; use one")}
	case c.ChainURI != "":
		l.chain, err = b.chainByURI(l.setting, c)
	case filetype.PKCS12(l.chain):
		l.chain, err = b.fromPKCS12(l)
		l.secrets = append(l.secrets, l.chain)
	}
	return err
}

// ReadChain reads the chain of certificates as a Context with this Library does,
// and returns them in DER, leaf first: for what depends on their content, such as
// their dates. It may block, and call Passphrase or PIN. Errors are *ConfigError.
func (c *Certificate) ReadChain(library *Library) (chain [][]byte, err error) {
	b, l := &builder{cfg: &Config{Library: library}}, loaded{from: c, setting: "Certificate"}
	defer l.forget()
	if err := b.loadChain(&l); err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(l.chain); block != nil; block, rest = pem.Decode(rest) {
		var one asn1.RawValue
		if !strings.HasSuffix(block.Type, "CERTIFICATE") { // there is TRUSTED CERTIFICATE too, with more behind it
			continue
		}
		if _, err := asn1.Unmarshal(block.Bytes, &one); err != nil {
			return nil, &ConfigError{Setting: "Certificate", Value: l.source(), Err: err}
		}
		chain = append(chain, one.FullBytes)
	}
	return chain, nil
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
