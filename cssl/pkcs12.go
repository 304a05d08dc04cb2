package cssl

/*
#include "library.h"
#include <openssl/bio.h>
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/features"
	"github.com/spacemonad/go-openssl/tlsio"
)

// fromPKCS12 returns the certificates of a chain that is PKCS#12, in PEM, and
// its key behind them if no other key is set. The caller overwrites it.
func (b *builder) fromPKCS12(l *loaded) ([]byte, error) {
	wantKey := !l.from.otherKey()
	refuse := func(format string, args ...any) ([]byte, error) {
		return nil, b.failFor(field(l.setting+".Chain", "PEM", l.from.ChainFile), l.from.ChainFile, fmt.Errorf("the PKCS#12 file "+format, args...))
	}
	var found C.cssl_keystore
	open := func(passphrase *C.char) []byte {
		return takePEM(C.cssl_keystore_pkcs12(b.cfg.Library.pointer(), b.properties, bytesPtr(l.chain), C.int(len(l.chain)), passphrase,
			cbool(wantKey), &found, &b.reasons))
	}
	unsupported := func() bool {
		return slices.ContainsFunc(goReasons(&b.reasons), func(r tlsio.Reason) bool { return r.Text == "unsupported" })
	}
	p := open(nil)
	if found.read != 0 && found.slow == 0 && found.open == 0 && !unsupported() {
		if l.from.Passphrase == nil {
			return refuse("is encrypted and Passphrase is not set")
		}
		pass, err := l.from.Passphrase()
		defer clear(pass)
		if err == nil && bytes.IndexByte(pass, 0) >= 0 {
			err = errors.New("contains a NUL byte, which a PKCS#12 file cannot have in it")
		}
		if err != nil {
			return nil, &ConfigError{Setting: l.setting + ".Passphrase", Err: err}
		}
		text := make([]byte, len(pass)+1)
		defer clear(text)
		copy(text, pass)
		p = open((*C.char)(bytesPtr(text)))
	}
	switch {
	case p != nil:
		return p, nil
	case found.read == 0:
		return refuse("is damaged")
	case found.slow != 0:
		return refuse("has a MAC of more than %d rounds", C.CSSL_PKCS12_ROUNDS)
	case found.open == 0 && unsupported():
		return refuse("needs an algorithm that no provider has%s; old files need the provider \"legacy\" in Providers, or a new export", b.searched())
	case found.open == 0 && found.mac == 0 && needsFeature(features.UnauthenticatedPKCS12) != nil:
		return refuse("cannot be read: %w", needsFeature(features.UnauthenticatedPKCS12))
	case found.open == 0:
		return refuse("cannot be decrypted: the passphrase may be wrong")
	case wantKey && found.key == 0:
		return refuse("has no private key, and no other key is set")
	case found.certs == 0:
		return refuse("has no certificate")
	case found.outside > 0:
		return refuse("%s", outsideChain(found))
	}
	return refuse("cannot be read")
}

// outsideChain is the end of an error about certificates that are not in a chain.
func outsideChain(found C.cssl_keystore) string {
	return fmt.Sprintf("has %d certificates that are not in the chain of its first leaf, of %d: leave one leaf and its chain", found.outside, found.certs)
}

// takePEM returns the content of a BIO, which it frees, or nil.
func takePEM(bio *C.BIO) []byte {
	if bio == nil {
		return nil
	}
	defer C.BIO_free(bio)
	var p *C.char
	n := C.BIO_ctrl(bio, C.BIO_CTRL_INFO, 0, unsafe.Pointer(&p))
	return C.GoBytes(unsafe.Pointer(p), C.int(n))
}
