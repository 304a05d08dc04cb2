package cssl

/*
#include "context.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"slices"
	"strings"
	"unsafe"
)

// ciphers are the cipher suites that can be agreed on, in their order.
func (b *builder) ciphers() []*C.SSL_CIPHER {
	s := (*C.OPENSSL_STACK)(unsafe.Pointer(C.SSL_CTX_get_ciphers(b.ptr)))
	all := make([]*C.SSL_CIPHER, max(C.OPENSSL_sk_num(s), 0))
	for i := range all {
		all[i] = (*C.SSL_CIPHER)(C.OPENSSL_sk_value(s, C.int(i)))
	}
	return all
}

func cipherName(c *C.SSL_CIPHER) string { return C.GoString(C.SSL_CIPHER_get_name(c)) }

// defaultCiphers takes from the TLS 1.2 ciphers that OpenSSL or the system's
// policy chose those without forward secrecy (static RSA, PSK) and those that
// are not AEAD (CBC). It picks among them, so that a stricter policy stays in
// force. A policy with nothing of the kind is left as it is.
func (b *builder) defaultCiphers() bool {
	var names []string
	for _, c := range b.ciphers() {
		if C.SSL_CIPHER_is_aead(c) == 0 {
			continue
		}
		kx, auth := C.SSL_CIPHER_get_kx_nid(c), C.SSL_CIPHER_get_auth_nid(c)
		if (kx == C.NID_kx_ecdhe || kx == C.NID_kx_dhe) && (auth == C.NID_auth_rsa || auth == C.NID_auth_ecdsa) {
			names = append(names, cipherName(c))
		}
	}
	return names == nil || b.command("CipherString", strings.Join(names, ":"))
}

// defaultGroups sets the groups on elliptic curves, and the hybrid with ML-KEM
// where there is one. OpenSSL's own default has ffdhe2048 to ffdhe8192 too,
// among which the client may choose: the largest costs a server 77 times as
// much as X25519 (CVE-2002-20001). A provider may lack some, and those are left
// out.
//
// From 3.5 on the list has OpenSSL's own form: a client sends a key share for
// each group with an asterisk, so that a server without ML-KEM costs it no
// second round trip; a server takes from the first part (up to a slash) that
// has a group in common, and there one that the client sent a share for.
//
// From 4.0 on a server makes a DHE of TLS 1.2 only in a group of its list, if
// the client names any such group (RFC 7919, section 4), so where DHE is among
// the ciphers, the two smallest come last. Before, it makes one in the group of
// SSL_CTX_set_dh_auto.
func (b *builder) defaultGroups() bool {
	const hybrid, dhe = "?*X25519MLKEM768 / ?*X25519:?P-256 / ?X448:?P-384:?P-521", " / ?ffdhe2048:?ffdhe3072"
	switch v := linked.Run.series(); {
	case v >= 0x400 && b.server && b.cfg.CipherList != "" && slices.ContainsFunc(b.ciphers(),
		func(c *C.SSL_CIPHER) bool { return C.SSL_CIPHER_get_kx_nid(c) == C.NID_kx_dhe }):
		return b.command("Groups", hybrid+dhe)
	case v >= 0x305:
		return b.command("Groups", hybrid)
	}
	there := slices.DeleteFunc([]string{"X25519", "P-256", "X448", "P-384", "P-521"}, func(name string) bool { return !b.command("Groups", name) })
	return len(there) == 0 || b.command("Groups", strings.Join(there, ":"))
}

// legacy checks that TLS 1.0 or 1.1, if MinVersion asks for it, can be agreed
// on. They need security level 0, since their signatures are of SHA-1 and MD5
// (SSL_CTX_set_security_level(3)), the digest of those, which no FIPS provider
// has, and a suite that is not of TLS 1.2.
func (b *builder) legacy() error {
	if b.lowest >= TLS12 {
		return nil
	}
	const list = `"DEFAULT:@SECLEVEL=0"`
	md5sha1 := C.CString("MD5-SHA1")
	defer C.free(unsafe.Pointer(md5sha1))
	if C.cssl_library_digest(b.cfg.Library.pointer(), b.properties, md5sha1) == 0 {
		return refused("MinVersion", b.lowest, "it needs the digest MD5-SHA1, which no provider has%s", b.searched())
	}
	if level := C.SSL_CTX_get_security_level(b.ptr); level > 0 {
		return refused("MinVersion", b.lowest, "OpenSSL speaks it at security level 0 alone, and the level is %d: "+
			"set a cipher list with @SECLEVEL=0, such as %s", level, list)
	}
	if !slices.ContainsFunc(b.ciphers(), func(c *C.SSL_CIPHER) bool {
		since := C.GoString(C.SSL_CIPHER_get_version(c))
		return since != "TLSv1.2" && since != "TLSv1.3"
	}) {
		return refused("CipherList", b.cfg.CipherList, "has no suite of %v, the lowest version; %s has", b.lowest, list)
	}
	return nil
}
