package cssl

/*
#include "byname.h"
#include "context.h"
#include <openssl/crypto.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spacemonad/go-openssl/internal/filetype"
)

// What errors say that a file should contain.
const (
	wantChain    = "certificates in PEM, leaf first, or PKCS#12"
	wantKey      = "a private key in PEM"
	wantCA       = "CA certificates in PEM"
	wantCRL      = "revocation lists in PEM"
	wantPeerKeys = "public keys in PEM"
	wantOCSP     = "a successful OCSP response in DER"
)

// wrongContent returns the error for content that OpenSSL cannot parse, from
// file, or from memory if file is empty. setting is the start of the field's
// name; "File" or suffix completes it.
func (b *builder) wrongContent(setting, suffix, file string, p []byte, want string) error {
	return b.failFor(field(setting, suffix, file), file, fmt.Errorf("want %s; found %s", want, filetype.Describe(p)))
}

func field(setting, suffix, file string) string {
	if file != "" {
		suffix = "File"
	}
	return setting + suffix
}

// ownKey reports whether the key is separate from the chain.
func (c *Certificate) ownKey() bool { return c.KeyFile != "" || len(c.KeyPEM) > 0 }

// otherKey reports whether a key is set that is not in the chain.
func (c *Certificate) otherKey() bool { return c.ownKey() || c.KeyURI != "" || c.Signer != nil }

// key returns the key of a chain; the caller frees it. asked is set if a token
// or a passphrase was needed. OpenSSL detects an encrypted key: it requests a
// passphrase.
func (b *builder) key(c *loaded, cert *C.cssl_cert) (key *C.EVP_PKEY, asked bool, err error) {
	switch {
	case c.from.keyURI() != "":
		key, err = b.keyByURI(c.setting, c.from)
		return key, true, err
	case c.signer != 0:
		key, err = b.keyBySigner(c, cert)
		return key, true, err
	}
	setting, file, want := c.setting+".Key", c.from.KeyFile, wantKey
	if !c.from.ownKey() {
		setting, file, want = c.setting+".Chain", c.from.ChainFile, "certificates and their private key in PEM, since no other key is set"
	}
	var most C.int
	key = C.cssl_ctx_read_key(b.ptr, bytesPtr(c.key), C.int(len(c.key)), nil, -1, &most, &b.reasons)
	switch {
	case key != nil:
		return key, false, nil
	case c.from.Signer != nil:
		return nil, false, b.failFor(c.setting+".Signer", "", fmt.Errorf("OpenSSL cannot use this %T", c.from.Signer))
	case most == 0:
		err := b.wrongContent(setting, "PEM", file, c.key, want)
		if _, lacks := needsForKeys(c.key); lacks != nil {
			err.(*ConfigError).Err = lacks
		}
		return nil, false, err
	case c.from.Passphrase == nil:
		return nil, false, &ConfigError{Setting: field(setting, "PEM", file), Value: file, Err: errors.New("the key is encrypted and Passphrase is not set")}
	}
	pass, err := c.from.Passphrase()
	defer clear(pass)
	if err == nil && len(pass) > int(most) {
		err = fmt.Errorf("has %d bytes; OpenSSL takes at most %d", len(pass), most)
	}
	if err != nil {
		return nil, false, &ConfigError{Setting: c.setting + ".Passphrase", Err: err}
	}
	key = C.cssl_ctx_read_key(b.ptr, bytesPtr(c.key), C.int(len(c.key)), bytesPtr(pass), C.int(len(pass)), &most, &b.reasons)
	if key == nil {
		return nil, false, b.failFor(field(setting, "PEM", file), file, errors.New("the key cannot be decrypted: the passphrase may be wrong"))
	}
	return key, true, nil
}

// foundBy returns the end of an error about what is not found by URI: what the
// file contains, if the URI names one.
func foundBy(uri, want string) string {
	file := filetype.PathOf(uri)
	if fi, err := os.Stat(file); err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	p, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return "; want a " + want + ", found " + filetype.Describe(p)
}

// errNoProvider returns the error for a library context without active
// providers.
func errNoProvider() error {
	file := os.Getenv("OPENSSL_CONF")
	if file == "" {
		file = filepath.Join(strings.Trim(strings.TrimPrefix(C.GoString(C.OpenSSL_version(C.OPENSSL_DIR)), "OPENSSLDIR: "), `"`), "openssl.cnf")
	}
	return fmt.Errorf("no provider is active: check which ones %s activates, and whether their modules exist", file)
}
