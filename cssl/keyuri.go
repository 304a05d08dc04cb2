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

// keyByURI returns the key that a URI names; the caller frees it. setting is
// the certificate's name in errors. It blocks on the token.
func (b *builder) keyByURI(setting string, c *Certificate) (*C.EVP_PKEY, error) {
	refuse := func(part string, reasons []tlsio.Reason, format string, args ...any) error {
		return &ConfigError{Setting: setting + "." + part, Value: pkcs11uri.Redact(c.KeyURI), Reasons: reasons, Err: fmt.Errorf(format, args...)}
	}
	scheme, _, ok := strings.Cut(c.KeyURI, ":")
	switch {
	case strings.IndexByte(c.KeyURI, 0) >= 0:
		return nil, refuse("KeyURI", nil, "contains a NUL byte")
	case !ok || scheme == "" || strings.ContainsAny(scheme, "/?;"):
		return nil, refuse("KeyURI", nil, "has no scheme, such as pkcs11: or file:; use KeyFile for a file name")
	case pkcs11uri.HasPIN(c.KeyURI):
		return nil, refuse("KeyURI", nil, "has a pin-value: use PIN, or pin-source with a file, to keep the PIN out of the URI")
	}
	cURI, cScheme := C.CString(c.KeyURI), C.CString(scheme)
	defer C.free(unsafe.Pointer(cURI))
	defer C.free(unsafe.Pointer(cScheme))
	lib := b.cfg.Library.pointer()
	if C.cssl_keystore_known(lib, b.properties, cScheme) == 0 {
		return nil, refuse("KeyURI", nil, "no provider reads %s: URIs%s", scheme, b.searched())
	}
	ask := &pinRequest{uri: c.KeyURI, pin: c.PIN}
	h := cgo.NewHandle(ask)
	defer h.Delete()
	var keys C.int
	key := C.cssl_keystore_key(lib, b.properties, cURI, C.uintptr_t(h), &keys, &b.reasons)
	if key != nil {
		return key, nil
	}
	reasons := storeReasons(goReasons(&b.reasons), c.KeyURI)
	switch {
	case keys > 1:
		return nil, refuse("KeyURI", nil, "names %d private keys: add attributes until it names one", keys)
	case ask.err != nil:
		return nil, refuse("PIN", nil, "%w", ask.err)
	case ask.times > 0:
		return nil, refuse("KeyURI", reasons, "there is no such private key, or the PIN is wrong")
	}
	return nil, refuse("KeyURI", reasons, "there is no such private key%s", foundBy(c.KeyURI))
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
	scheme, _, _ := strings.Cut(c.KeyURI, ":")
	return c.KeyURI != "" && !strings.EqualFold(scheme, "file")
}
