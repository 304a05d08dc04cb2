package cssl

/*
#include "certs.h"
#include "conn.h"
#include "signer.h"
#include <stdlib.h>
*/
import "C"

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"runtime/cgo"
	"sync"
	"unsafe"
)

// ErrSigner is returned when Certificate.Signer failed: its Sign or Decrypt
// returned an error, panicked, or returned what its public key does not verify.
// The connection's error wraps that error too.
var ErrSigner = errors.New("the certificate's Signer failed")

// inMemory returns the key of a Signer whose key is in memory, in PEM, for
// OpenSSL to use. It returns nil for other Signers, which this package calls.
func inMemory(s crypto.Signer) (key []byte) {
	defer func() {
		if recover() != nil {
			key = nil // it is incomplete
		}
	}()
	switch k := s.(type) {
	case *rsa.PrivateKey:
		if k == nil {
			return nil
		}
	case *ecdsa.PrivateKey:
		if k == nil {
			return nil
		}
	case ed25519.PrivateKey:
		if len(k) != ed25519.PrivateKeySize {
			return nil
		}
	default:
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(s)
	if err != nil {
		return nil // such as a curve that has no name in X.509
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// calls reports whether c has a Signer that signs itself: its key is not in
// memory.
func (c *Certificate) calls() bool {
	switch c.Signer.(type) {
	case nil, *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return false
	}
	return true
}

// signsOnly reports whether a Signer has an RSA key and cannot decrypt with it.
func (c *Config) signsOnly() bool {
	all := append([]Certificate(nil), c.Certificates...)
	for _, certs := range c.Names {
		all = append(all, certs...)
	}
	for i := range all {
		if !all[i].calls() {
			continue
		}
		if _, ok := all[i].Signer.(crypto.Decrypter); ok {
			continue
		}
		if pub, err := publicKey(all[i].Signer); err == nil {
			if _, ok := pub.(*rsa.PublicKey); ok {
				return true
			}
		}
	}
	return false
}

// publicKey returns the Signer's public key.
func publicKey(s crypto.Signer) (pub crypto.PublicKey, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("its Public panicked: %v", v)
		}
	}()
	if v := reflect.ValueOf(s); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, fmt.Errorf("is a nil %T", s)
	}
	return s.Public(), nil
}

var loadSigners = sync.OnceValue(func() error {
	var reasons C.cssl_reasons
	if C.cssl_signer_init(&reasons) == 0 {
		return errors.New(reasonText(&reasons))
	}
	return nil
})

// keyBySigner returns the key of a certificate whose Signer this package calls;
// the caller frees it.
func (b *builder) keyBySigner(l *loaded, cert *C.cssl_cert) (*C.EVP_PKEY, error) {
	refuse := func(err error) error {
		return &ConfigError{Setting: l.setting + ".Signer", Value: l.source(), Err: err}
	}
	var p *C.uchar
	n := C.cssl_put_chain(cert.leaf, nil, 0, &p)
	chain, err := parseChain(takeBytes(p, n))
	if err == nil && len(chain) == 0 {
		err = errors.New("out of memory")
	}
	if err != nil {
		return nil, refuse(err)
	}
	pub, err := publicKey(l.from.Signer)
	if err != nil {
		return nil, refuse(err)
	}
	switch chain[0].PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, refuse(fmt.Errorf("a Signer can have an RSA, ECDSA or Ed25519 key; this certificate has one for %v", chain[0].PublicKeyAlgorithm))
	}
	if same, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(chain[0].PublicKey) {
		return nil, refuse(fmt.Errorf("its public key, a %T, is not that of the certificate, a %T", pub, chain[0].PublicKey))
	}
	if err := loadSigners(); err != nil {
		return nil, refuse(err)
	}
	s := &signer{key: l.from.Signer, pub: pub}
	s.decrypter, _ = l.from.Signer.(crypto.Decrypter)
	key := C.cssl_signer_key(b.cfg.Library.pointer(), b.properties, C.X509_get0_pubkey(cert.leaf), C.uintptr_t(cgo.NewHandle(s)),
		cbool(s.decrypter != nil), &b.reasons)
	switch {
	case key != nil:
		return key, nil
	case b.cfg.Properties != "":
		err = fmt.Errorf("its signatures do not have the Properties %s: make them optional, as in ?fips=yes", b.cfg.Properties)
	default:
		err = errors.New("its key cannot be used")
	}
	return nil, b.failFor(l.setting+".Signer", l.source(), err)
}

// signer is a Signer that C calls.
type signer struct {
	key       crypto.Signer
	decrypter crypto.Decrypter // nil if it cannot decrypt
	pub       crypto.PublicKey
}

// sign signs a message, and checks the signature: a faulty one of RSA reveals
// the key.
func (s *signer) sign(hash crypto.Hash, pss bool, message []byte) (sig []byte, err error) {
	defer recovered(&err)
	digest, opts := bytes.Clone(message), crypto.SignerOpts(hash)
	switch {
	case hash == crypto.MD5SHA1: // TLS 1.1 and older
		m, s1 := md5.Sum(message), sha1.Sum(message)
		digest = append(m[:], s1[:]...)
	case hash != 0:
		h := hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	if pss {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	if whole, can := s.key.(crypto.MessageSigner); can && hash != crypto.MD5SHA1 {
		sig, err = whole.SignMessage(rand.Reader, bytes.Clone(message), opts)
	} else {
		sig, err = s.key.Sign(rand.Reader, bytes.Clone(digest), opts)
	}
	if err != nil {
		return nil, err
	}
	ok := false
	switch pub := s.pub.(type) {
	case *rsa.PublicKey:
		if pss {
			err = rsa.VerifyPSS(pub, hash, digest, sig, opts.(*rsa.PSSOptions))
		} else {
			err = rsa.VerifyPKCS1v15(pub, hash, digest, sig)
		}
		ok = err == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, digest, sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, digest, sig)
	}
	if !ok {
		return nil, fmt.Errorf("its signature of %d bytes is not valid for the certificate's key", len(sig))
	}
	return sig, nil
}

// premaster decrypts the secret of RSA key exchange into out. A peer must not
// learn whether padding and version are right (RFC 5246, section 7.4.7.1): if
// not, out is random. So it is on an error, which may say the same: the
// handshake then fails at the peer's Finished.
func (s *signer) premaster(in []byte, version, other uint16, out []byte) (err error) {
	defer recovered(&err)
	random := make([]byte, len(out))
	rand.Read(random)
	copy(out, random)
	//lint:ignore SA1019 static RSA key exchange has no other padding
	secret, err := s.decrypter.Decrypt(rand.Reader, bytes.Clone(in), &rsa.PKCS1v15DecryptOptions{SessionKeyLen: len(out)})
	defer clear(secret)
	switch {
	case err != nil:
		return err
	case len(secret) != len(out):
		return fmt.Errorf("its Decrypt returned %d bytes, want %d", len(secret), len(out))
	}
	is := func(v uint16) int {
		return subtle.ConstantTimeByteEq(secret[0], byte(v>>8)) & subtle.ConstantTimeByteEq(secret[1], byte(v))
	}
	right := is(version)
	if other != 0 {
		right |= is(other)
	}
	subtle.ConstantTimeCopy(right, out, secret)
	return nil
}

// recovered makes a panic of a Signer its error.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("%w: %v", ErrCallbackPanic, v)
	}
}

// failed returns the handle of an error of a Signer.
func failed(err error) C.uintptr_t {
	return C.uintptr_t(cgo.NewHandle(fmt.Errorf("%w: %w", ErrSigner, err)))
}

// The exported functions run inside a handshake. They recover from panics of
// the Signer.

//export cssl_go_sign
func cssl_go_sign(handle C.uintptr_t, hash, pss C.int, message *C.uchar, n C.size_t, sig *C.uchar, size C.size_t, failure *C.uintptr_t) C.size_t {
	s := cgo.Handle(handle).Value().(*signer)
	made, err := s.sign(crypto.Hash(hash), pss != 0, unsafe.Slice((*byte)(unsafe.Pointer(message)), int(n)))
	if err == nil && (len(made) == 0 || len(made) > int(size)) {
		err = fmt.Errorf("its signature has %d bytes; there is room for %d", len(made), size)
	}
	if err != nil {
		*failure = failed(err)
		return 0
	}
	return C.size_t(copy(unsafe.Slice((*byte)(unsafe.Pointer(sig)), int(size)), made))
}

//export cssl_go_decrypt
func cssl_go_decrypt(handle C.uintptr_t, in *C.uchar, n C.size_t, version, other C.uint, out *C.uchar, failure *C.uintptr_t) {
	s := cgo.Handle(handle).Value().(*signer)
	err := s.premaster(unsafe.Slice((*byte)(unsafe.Pointer(in)), int(n)), uint16(version), uint16(other),
		unsafe.Slice((*byte)(unsafe.Pointer(out)), C.CSSL_PREMASTER))
	if err != nil {
		*failure = failed(err)
	}
}

//export cssl_go_signer_free
func cssl_go_signer_free(handle C.uintptr_t) { cgo.Handle(handle).Delete() }

// signerError returns the error of the Signer that made an operation of the
// connection fail, or nil. It forgets it.
func signerError(c *C.cssl_conn) error {
	h := C.cssl_conn_signer_failure(c)
	if h == 0 {
		return nil
	}
	defer cgo.Handle(h).Delete()
	return cgo.Handle(h).Value().(error)
}
