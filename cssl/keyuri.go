package cssl

/*
#include "context.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime/cgo"
	"slices"
	"strings"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/pkcs11uri"
	"github.com/spacemonad/go-openssl/tlsio"
)

// keyURI returns the URI of the key: ChainURI if no key is set.
func (c *Certificate) keyURI() string {
	if !c.otherKey() {
		return c.ChainURI
	}
	return c.KeyURI
}

// keyByURI returns the key that a URI names; the caller frees it. setting is
// the certificate's name in errors. It blocks on the token.
func (b *builder) keyByURI(setting string, c *Certificate) (key *C.EVP_PKEY, err error) {
	name := "KeyURI"
	if c.KeyURI == "" {
		name = "ChainURI"
	}
	err = b.byURI(setting, name, c.keyURI(), "private key", c.PIN, func(library *C.OSSL_LIB_CTX, uri *C.char, pin C.uintptr_t) (ok bool, wrong string) {
		var keys C.int
		if key = C.cssl_keystore_key(library, b.properties, uri, pin, &keys, &b.reasons); keys > 1 {
			wrong = fmt.Sprintf("names %d private keys: add attributes until it names one", keys)
		}
		return key != nil, wrong
	})
	return key, err
}

// chainByURI returns the chain that a URI names, in PEM.
func (b *builder) chainByURI(setting string, c *Certificate) (chain []byte, err error) {
	err = b.byURI(setting, "ChainURI", c.ChainURI, "certificate", c.PIN, func(library *C.OSSL_LIB_CTX, uri *C.char, pin C.uintptr_t) (ok bool, wrong string) {
		var found C.cssl_keystore
		if chain = takePEM(C.cssl_keystore_chain(library, b.properties, uri, pin, &found, &b.reasons)); found.outside > 0 {
			wrong = outsideChain(found)
		}
		return chain != nil, wrong
	})
	return chain, err
}

// byURI calls load for a URI, which the field name of the certificate setting
// has. load returns whether it found what, or else what is wrong with the URI, if
// it knows.
func (b *builder) byURI(setting, name, uri, what string, pin func(string) ([]byte, error),
	load func(library *C.OSSL_LIB_CTX, uri *C.char, pin C.uintptr_t) (ok bool, wrong string)) error {
	refuse := func(part string, reasons []tlsio.Reason, format string, args ...any) error {
		return &ConfigError{Setting: setting + "." + part, Value: pkcs11uri.Redact(uri), Reasons: reasons, Err: fmt.Errorf(format, args...)}
	}
	scheme, _, ok := strings.Cut(uri, ":")
	switch {
	case strings.IndexByte(uri, 0) >= 0:
		return refuse(name, nil, "contains a NUL byte")
	case !ok || scheme == "" || strings.ContainsAny(scheme, "/?;"):
		return refuse(name, nil, "has no scheme, such as pkcs11: or file:; use %s for a file name", strings.Replace(name, "URI", "File", 1))
	case pkcs11uri.HasPIN(uri):
		return refuse(name, nil, "has a pin-value: use PIN, or pin-source with a file, to keep the PIN out of the URI")
	}
	cURI, cScheme := C.CString(uri), C.CString(scheme)
	defer C.free(unsafe.Pointer(cURI))
	defer C.free(unsafe.Pointer(cScheme))
	library := b.cfg.Library.pointer()
	if C.cssl_keystore_known(library, b.properties, cScheme) == 0 {
		return refuse(name, nil, "no provider reads %s: URIs%s", scheme, b.searched())
	}
	ask := &pinRequest{uri: uri, pin: pin}
	h := cgo.NewHandle(ask)
	defer h.Delete()
	ok, wrong := load(library, cURI, C.uintptr_t(h))
	if ok {
		return nil
	}
	reasons := storeReasons(goReasons(&b.reasons), uri)
	switch {
	case wrong != "":
		return refuse(name, nil, "%s", wrong)
	case ask.err != nil:
		return refuse("PIN", nil, "%w", ask.err)
	case ask.times > 0:
		return refuse(name, reasons, "there is no such %s, or the PIN is wrong", what)
	}
	return refuse(name, reasons, "there is no such %s%s", what, foundBy(uri, what))
}

// pinRequest is the state of cssl_go_pin.
type pinRequest struct {
	uri   string
	pin   func(string) ([]byte, error)
	times int
	err   error
}

// errNoPIN is returned when a PIN is needed and Certificate.PIN is nil.
var errNoPIN = errors.New("the key needs a PIN or a passphrase and PIN is not set")

// answer writes the PIN to buf and returns its length, or -1. It calls PIN only
// once: a token that refused a PIN and gets the same one again may lock itself.
func (r *pinRequest) answer(buf []byte) (n int) {
	n = -1
	if r.times++; r.times > 1 {
		return
	}
	if r.pin == nil {
		r.err = errNoPIN
		return
	}
	defer func() {
		if p := recover(); p != nil {
			n, r.err = -1, errors.New("PIN panicked") // without its value, which may be secret
		}
	}()
	pin, err := r.pin(r.uri)
	defer clear(pin)
	switch {
	case err != nil:
		r.err = err
	case len(pin) > len(buf):
		r.err = fmt.Errorf("has %d bytes; OpenSSL takes at most %d", len(pin), len(buf))
	default:
		n = copy(buf, pin)
	}
	return
}

//export cssl_go_pin
func cssl_go_pin(handle C.uintptr_t, buf *C.char, size C.int) C.int {
	r := cgo.Handle(handle).Value().(*pinRequest)
	return C.int(r.answer(unsafe.Slice((*byte)(unsafe.Pointer(buf)), int(size))))
}

// storeReasons removes OpenSSL's errors about trying the URI as a file name and
// about legacy loaders, and redacts the PIN's location.
func storeReasons(all []tlsio.Reason, uri string) []tlsio.Reason {
	var out []tlsio.Reason
	for _, r := range all {
		if r.Text == "unregistered scheme" || r.Data == "calling stat("+uri+")" {
			continue
		}
		r.Data = strings.ReplaceAll(r.Data, uri, pkcs11uri.Redact(uri))
		out = append(out, r)
	}
	return out
}

// slow reports whether a signature with one of the keys may take long.
func (c *Config) slow() bool {
	if slices.ContainsFunc(c.Certificates, Certificate.slow) {
		return true
	}
	for _, certs := range c.Names {
		if slices.ContainsFunc(certs, Certificate.slow) {
			return true
		}
	}
	return false
}

// slow reports whether a signature with the key may take long.
func (c Certificate) slow() bool {
	if c.calls() {
		return true
	}
	uri := c.keyURI()
	scheme, _, _ := strings.Cut(uri, ":")
	return uri != "" && !strings.EqualFold(scheme, "file")
}
